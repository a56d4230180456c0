//! Every frame as a value. Type codes are in `codec.rs`, beside the bytes.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use crate::step::Step;
use crate::stream::End;
use crate::{CnaptId, FlowId, Instance, LinkNumber, StreamId};

/// What a new connection between the modules is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The first conduit of a link: it carries the control frames.
    Control,
    /// Any other.
    Conduit,
}

/// The first frame on every conduit, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The lowest protocol version that the sender speaks.
    pub oldest: u16,
    /// The highest.
    pub newest: u16,
    /// What the connection is for; the SNAPT repeats the CNAPT's.
    pub role: Role,
    /// The sender's process.
    pub instance: Instance,
    /// The link that the conduit belongs to; the CNAPT numbers its links.
    pub link: LinkNumber,
}

/// TCP or UDP, in the spec's words connection-oriented or connectionless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportProtocol {
    /// Connection-oriented.
    Tcp,
    /// Connectionless.
    Udp,
}

/// One service as the other module hears of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CatalogueEntry {
    /// Its name, at most [`super::NAME_BYTES`] bytes.
    pub name: String,
    /// TCP or UDP.
    pub protocol: TransportProtocol,
    /// Where the application on the other side finds it: never port 0, and never no port.
    pub ports: RangeInclusive<u16>,
}

impl CatalogueEntry {
    /// Whether it is connectionless.
    pub fn is_connectionless(&self) -> bool {
        self.protocol == TransportProtocol::Udp
    }
}

/// What an application asked its module for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// The service's name.
    pub service: String,
    /// Which of the service's ports the application used.
    pub port: u16,
    /// Where the application is, seen by its module. A scope that means something on that host only does
    /// not travel.
    pub origin: SocketAddr,
}

/// What a numbered conduit carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Frames of streams.
    Streams,
    /// Datagrams, and nothing else.
    Datagrams,
}

/// One datagram of an application. It says all that is needed to make its flow: an earlier one may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// Its flow.
    pub flow: FlowId,
    /// Its place among those of the flow in this direction; only grows.
    pub sequence: u64,
    /// What the application that the flow was opened for asks for.
    pub request: Request,
    /// At most [`super::DATAGRAM_PAYLOAD_BYTES`], and possibly nothing.
    pub payload: Bytes,
}

/// The CNAPT joins or begins a session over a link; makes no link current.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attach {
    /// Compared with the key of the connection, never looked up.
    pub cnapt: CnaptId,
    /// The session it had, 0 for none.
    pub session: u64,
    /// The SNAPT instance it had it with, 0 for none.
    pub snapt: Instance,
    /// Credit that every stream begins with, in bytes.
    pub initial_limit: u32,
    /// How many streams opened by the SNAPT it takes.
    pub streams: u32,
    /// How long it keeps a flow on which nothing moves, in whole seconds.
    pub flow_idle: Duration,
    /// The client services.
    pub services: Vec<CatalogueEntry>,
}

/// The SNAPT's answer to ATTACH.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attached {
    /// The SNAPT process.
    pub snapt: Instance,
    /// The session that this link now belongs to.
    pub session: u64,
    /// The address of this CNAPT's client services at the SNAPT.
    pub virtual_ip: IpAddr,
    /// Credit that every stream begins with, in bytes.
    pub initial_limit: u32,
    /// How many streams opened by the CNAPT it takes.
    pub streams: u32,
    /// How long it keeps a flow on which nothing moves, in whole seconds.
    pub flow_idle: Duration,
    /// The server services.
    pub services: Vec<CatalogueEntry>,
}

/// What a switch message says of the old link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OldLink {
    /// Every conduit was ended by its marker.
    Drained,
    /// It was cut: what was under way is lost and is sent again.
    Dead,
    /// It lives: traffic moves over at once, and so many of its conduits are ended by their markers meanwhile.
    Draining {
        /// Those that are in use.
        conduits: u32,
    },
}

/// What moves the traffic to the link that it comes by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    /// The switch.
    pub number: u64,
    /// The switching CNAPT.
    pub cnapt: CnaptId,
    /// What became of the old link.
    pub old: OldLink,
    /// The links of the CNAPT that live on beside this one, at most [`super::KEPT_LINKS`]: all others are over.
    pub kept: Vec<LinkNumber>,
}

impl Move {
    /// One that keeps no other link.
    pub const fn new(number: u64, cnapt: CnaptId, old: OldLink) -> Self {
        let kept = Vec::new();
        Self {
            number,
            cnapt,
            old,
            kept,
        }
    }
}

/// How far one stream has come, seen by the sender of RENEW.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RenewEntry {
    /// Which stream.
    pub stream: StreamId,
    /// Contiguous offsets in the sender's memory, the virtual one of the end included.
    pub arrived: u64,
    /// How far the other side may send.
    pub limit: u64,
    /// The end of the direction in which the sender of RENEW sends.
    pub end: Option<End>,
    /// The sender can deliver no more.
    pub stop: Option<u16>,
}

/// One piece of RENEW.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Renew {
    /// The switch that it belongs to.
    pub number: u64,
    /// Every id of the sender's own opening below this index is settled.
    pub floor: u64,
    /// No piece follows.
    pub last: bool,
    /// Streams with unarrived bytes first. Absence says nothing.
    pub entries: Vec<RenewEntry>,
}

/// The steps that a side took in a switch, for the other's `handover trace`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trail {
    /// The switch.
    pub number: u64,
    /// The longest pause in deliveries that overlaps the switch, in microseconds.
    pub gap_micros: Option<u64>,
    /// Each step with its microseconds since this side's first.
    pub steps: Vec<(Step, u64)>,
}

/// What has become of one client service at the SNAPT.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OfferedService {
    /// Its name in ATTACH.
    pub name: String,
    /// Whether the server application can reach it.
    pub state: OfferState,
}

/// Whether the server application can reach a client service. A port is the first one that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OfferState {
    /// It is listened for on all its ports.
    Listening,
    /// The server's configuration does not allow this client that port.
    NotAllowed {
        /// Which.
        port: u16,
    },
    /// Another program has the port. It is tried again.
    PortTaken {
        /// Which.
        port: u16,
    },
    /// The server's host does not have the virtual IP. It is tried again.
    NoAddress {
        /// The port.
        port: u16,
    },
    /// The server's host refuses for another reason, which its log tells. It is tried again.
    Failed {
        /// Which port.
        port: u16,
    },
}

impl OfferState {
    /// In words why the server application cannot reach it, if it cannot.
    pub fn refusal(self) -> Option<String> {
        match self {
            Self::Listening => None,
            Self::NotAllowed { port } => Some(format!(
                "the server's configuration does not allow this client port {port} (`services` of its [[client]])"
            )),
            Self::PortTaken { port } => {
                Some(format!("another program at the server has port {port}"))
            }
            Self::NoAddress { port } => Some(format!(
                "the server's host does not have the virtual IP (port {port}): its log says what to do"
            )),
            Self::Failed { port } => Some(format!(
                "the server cannot listen on port {port}: its log says why"
            )),
        }
    }
}

/// Why the other module is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedCode {
    /// Another instance with the same key has taken the session over: stop.
    Superseded,
    /// No protocol version in common.
    Version,
    /// The key is known, but nothing can be given now: no virtual IP left, or too many sessions.
    Full,
    /// The frame or its content breaks the protocol.
    Protocol,
    /// The key is no longer allowed.
    Revoked,
}

/// Everything that travels but DATA, whose bytes the decoder hands out where they lie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// The first frame on every conduit.
    Hello(Hello),
    /// A spare conduit is used from now on, under this switch number.
    Use {
        /// The switch number.
        number: u64,
        /// What for.
        purpose: Purpose,
    },
    /// The CNAPT joins or begins a session.
    Attach(Attach),
    /// The SNAPT's answer.
    Attached(Attached),
    /// How far the streams have come.
    Renew(Renew),
    /// CNAPT-10.
    SwitchStep1 {
        /// The switch.
        number: u64,
        /// The switching CNAPT.
        cnapt: CnaptId,
        /// How many conduits it has numbered and not yet ended: so many markers will come.
        conduits: u32,
    },
    /// SNAPT-9.
    Ack {
        /// The switch.
        number: u64,
    },
    /// SNAPT-11.
    OkToRedirection {
        /// The switch.
        number: u64,
        /// Every marker of the CNAPT arrived.
        complete: bool,
    },
    /// CNAPT-18.
    ClientServicesReadyForRedirection {
        /// The switch.
        number: u64,
    },
    /// SNAPT-15.
    ServerServicesReadyForRedirection {
        /// The switch.
        number: u64,
    },
    /// CNAPT-29, on the new link.
    SwitchStep2(Move),
    /// CNAPT-17*, on the new link.
    SwitchUnexpected(Move),
    /// SNAPT-22, SNAPT-14*.
    AllRedirected {
        /// The switch.
        number: u64,
        /// Every marker of the CNAPT arrived.
        complete: bool,
    },
    /// Are you there?
    Probe {
        /// Comes back in the answer.
        token: u64,
    },
    /// I am.
    ProbeReply {
        /// The question's.
        token: u64,
    },
    /// The sender's steps in a switch.
    Trail(Trail),
    /// Turned away; the connection ends after it.
    Refused {
        /// Why.
        code: RefusedCode,
    },
    /// The CNAPT leaves for good: its session is released at once.
    Detach,
    /// The SNAPT, which cannot call a device behind a NAT, has a use for conduits.
    Dial {
        /// How many numbered ones of this link.
        conduits: u32,
    },
    /// What has become of the client services at the SNAPT.
    Offered {
        /// All of them.
        services: Vec<OfferedService>,
    },
    /// The SNAPT hears nothing by the link that carries, or has lost it: it asks for SWITCH_UNEXPECTED.
    Stalled {
        /// The last switch that it knows of.
        number: u64,
        /// Nothing carries any more, or it cannot follow that switch; else the link is only silent.
        lost: bool,
    },
    /// A stream begins; its first bytes may follow at once.
    Open {
        /// Its id.
        stream: StreamId,
        /// Every id of the opener below this index is settled.
        floor: u64,
        /// What the application asked for.
        request: Request,
    },
    /// The stream is known here. Does not wait for the application.
    Opened {
        /// Which.
        stream: StreamId,
    },
    /// The stream is not taken: no such service, or too many.
    OpenRefused {
        /// Which.
        stream: StreamId,
        /// Why: a code of [`crate::stream::code`].
        code: u16,
    },
    /// How far the receiver has come, and how far the sender may go.
    Received {
        /// Which stream.
        stream: StreamId,
        /// Contiguous offsets in memory, the virtual one of the end included.
        arrived: u64,
        /// How far the sender may go.
        limit: u64,
    },
    /// The direction ends, FIN or ABORT.
    End {
        /// Which stream.
        stream: StreamId,
        /// How and where.
        end: End,
    },
    /// The receiver can deliver no more.
    Stop {
        /// Which stream.
        stream: StreamId,
        /// Why.
        code: u16,
    },
    /// Your end is acknowledged, I need nothing more.
    Settled {
        /// Which stream.
        stream: StreamId,
    },
    /// Nothing more comes on this conduit.
    LastMessageBeforeRedirection,
    /// What an application sent over UDP.
    Datagram(Datagram),
}

/// What a frame is about, and so who handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The conduit that it comes by.
    Conduit,
    /// The link, the session and the switch: only on the control channel.
    Link,
    /// One stream.
    Stream,
    /// One flow.
    Flow,
}

impl Frame {
    /// What the frame is about.
    pub const fn layer(&self) -> Layer {
        match self {
            Self::Hello(_) | Self::Use { .. } | Self::LastMessageBeforeRedirection => {
                Layer::Conduit
            }
            Self::Attach(_)
            | Self::Attached(_)
            | Self::Renew(_)
            | Self::SwitchStep1 { .. }
            | Self::Ack { .. }
            | Self::OkToRedirection { .. }
            | Self::ClientServicesReadyForRedirection { .. }
            | Self::ServerServicesReadyForRedirection { .. }
            | Self::SwitchStep2(_)
            | Self::SwitchUnexpected(_)
            | Self::AllRedirected { .. }
            | Self::Probe { .. }
            | Self::ProbeReply { .. }
            | Self::Trail(_)
            | Self::Refused { .. }
            | Self::Detach
            | Self::Dial { .. }
            | Self::Offered { .. }
            | Self::Stalled { .. } => Layer::Link,
            Self::Open { .. }
            | Self::Opened { .. }
            | Self::OpenRefused { .. }
            | Self::Received { .. }
            | Self::End { .. }
            | Self::Stop { .. }
            | Self::Settled { .. } => Layer::Stream,
            Self::Datagram(_) => Layer::Flow,
        }
    }
}
