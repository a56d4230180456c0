//! The two session machines: which link carries, and the spec's steps from one to the next.
//!
//! [`Cnapt`] runs on the device and gives the orders, [`Snapt`] runs beside the server and follows.
//! Drive either like this:
//!
//! 1. call exactly one `handle_*` or command method (`now` comes last),
//! 2. call [`Cnapt::poll_output`] until it is empty and do what the outputs say,
//! 3. sleep until [`Cnapt::next_timeout`] or the next input, whichever is first, then go to 1.
//!
//! Every wait has a named bound in [`bound`] and a consequence in the machine's `handle_timer`. The
//! way out of every state, on either side, is SWITCH_UNEXPECTED with a higher number.

mod cnapt;
mod link;
mod snapt;
mod timer;

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

pub use cnapt::{Cnapt, Ordered, Phase};
pub use snapt::{Snapt, SnaptOptions, SnaptPhase};
pub use timer::Timer;

use crate::step::Step;
use crate::wire::{CatalogueEntry, OfferedService, RefusedCode, Request};
use crate::{ConduitId, FlowId, Instant, LinkNumber, StreamId};

/// Names a network in the CNAPT's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub usize);

/// How a conduit is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// At once, with a reset: nothing of it may arrive later.
    Reset,
    /// In order: what is queued goes out, then the end, then the other's end is awaited (bounded).
    Drain,
}

/// Which of the procedures a switch took in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Procedure {
    /// The spec's planned switch, step by step.
    Stepwise,
    /// The starred steps.
    Starred,
    /// Over to a link beside the old one, which is drained meanwhile.
    Overlapped,
    /// The starred steps, before the old link is known to be dead.
    Rescue,
}

impl Procedure {
    /// Whether it takes the starred steps.
    pub const fn is_starred(self) -> bool {
        matches!(self, Self::Starred | Self::Rescue)
    }
}

/// One switch, for `status`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SwitchReport {
    /// The number of the order under which it ended.
    pub number: u64,
    /// Every LAST_MESSAGE_BEFORE_REDIRECTION arrived, both ways: the old link lost nothing.
    pub planned: bool,
    /// How it went in the end.
    pub procedure: Procedure,
    /// The network that was left.
    pub from: Option<NetworkId>,
    /// Where it was to go.
    pub to: NetworkId,
    /// When it began: the order, or the loss.
    pub started: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Whether the session is on `to` now.
    pub done: bool,
}

/// Something worth telling a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The link is up and the session is known; traffic moves with the next switch message.
    Attached {
        /// The address of the client services at the SNAPT.
        virtual_ip: IpAddr,
        /// The server services.
        services: Vec<CatalogueEntry>,
    },
    /// What has become of the client services at the SNAPT.
    Offered {
        /// All of them.
        services: Vec<OfferedService>,
    },
    /// The current link is gone. The decision task is to find another network.
    Lost {
        /// Its network.
        network: NetworkId,
        /// Why.
        reason: Loss,
    },
    /// Something should come by the link that carries, and does not. The decision task may answer with
    /// [`Cnapt::rescue`].
    Stalled {
        /// Its network.
        network: NetworkId,
    },
    /// A network that a rescue left is good again: the decision task may go back with [`Cnapt::go_back`].
    Recovered {
        /// The network.
        network: NetworkId,
    },
    /// A link is held over this network beside the one that carries.
    StandsBy {
        /// The network.
        network: NetworkId,
    },
    /// No link is held over this network beside the one that carries, though it was asked for.
    StandbyLost {
        /// The network.
        network: NetworkId,
    },
    /// No link could be made over this network. The decision task is to find another.
    Unreachable {
        /// The network.
        network: NetworkId,
    },
    /// A switch, or its attempt, is over.
    Switched(SwitchReport),
    /// The first link carries.
    Began {
        /// Its network.
        network: NetworkId,
    },
    /// The longest pause at an application around a switch is known, and both trails.
    Settled {
        /// The switch.
        number: u64,
        /// None without traffic.
        gap: Option<Duration>,
        /// The other side's steps, with microseconds since its first.
        trail: Vec<(Step, u64)>,
    },
    /// The SNAPT does not know the session any more: so many streams were reset.
    SessionLost {
        /// How many.
        streams: usize,
    },
    /// The other module turned this one away.
    Refused {
        /// Why.
        code: RefusedCode,
    },
    /// SNAPT: another instance of the same CNAPT took over; so many streams were reset.
    TakenOver {
        /// How many.
        streams: usize,
    },
    /// SNAPT: the CNAPT's link is gone; it has until the switch timeout to come back.
    Detached,
    /// SNAPT: traffic goes over a link from the CNAPT's present address.
    Redirected {
        /// The switch.
        number: u64,
        /// The control conduit of the link.
        link: ConduitId,
    },
    /// SNAPT: the session is over, by timeout or because the CNAPT left. So many streams were reset.
    Released {
        /// How many.
        streams: usize,
        /// The CNAPT left of its own accord.
        left: bool,
    },
}

/// Why a link was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The control channel ended.
    ControlLost,
    /// The operating system says that the interface, the address or the route is gone.
    NetworkGone,
    /// Probes went unanswered.
    Silent,
    /// A switch over it made no progress.
    NoProgress,
}

/// What the shell is to do.
#[derive(Clone, Debug, Hash)]
pub enum Output {
    /// This conduit has something to send: call [`crate::stream::Streams::transmit`] until it adds
    /// nothing.
    Wake(ConduitId),
    /// Something changed for this stream's application: look at [`crate::stream::Streams::view`].
    Look(StreamId),
    /// Reset the application's connection.
    Reset {
        /// Whose.
        stream: StreamId,
        /// Why.
        code: u16,
    },
    /// Connect to the application that was asked for, for this stream.
    Connect {
        /// The new stream.
        stream: StreamId,
        /// What the other side's application asked for.
        request: Request,
    },
    /// Make a socket to the application that was asked for, for this flow; answer with
    /// [`crate::flow::Flows::connected`] or [`crate::flow::Flows::unreachable`].
    ConnectFlow {
        /// The new flow.
        flow: FlowId,
        /// What the other side's application asked for.
        request: Request,
    },
    /// Give this datagram to the application; if it does not take it, call
    /// [`crate::flow::Flows::undelivered`].
    Deliver {
        /// Of which flow.
        flow: FlowId,
        /// The datagram.
        payload: Bytes,
    },
    /// The flow is over.
    EndFlow(FlowId),
    /// SNAPT: listen on the virtual IP for these client services, and for no others; answer with
    /// [`Snapt::offered`], and again whenever something changes.
    Offer {
        /// All of them.
        services: Vec<CatalogueEntry>,
    },
    /// Make the control conduit of a new link, bound to the network's interface and address; answer
    /// with `control_up` or `control_failed`.
    DialLink {
        /// Its number.
        link: LinkNumber,
        /// Over which network.
        network: NetworkId,
    },
    /// Make a conduit of the link with this control conduit; answer with `conduit_up` or
    /// `conduit_failed`.
    DialConduit {
        /// The control conduit.
        link: ConduitId,
    },
    /// The conduit is over for the machine.
    Close {
        /// Which.
        conduit: ConduitId,
        /// How.
        how: Close,
        /// What was still queued.
        rest: Bytes,
    },
    /// CNAPT-1: answer with `decision_suspended`.
    SuspendDecision,
    /// CNAPT-22, CNAPT-12*: close, if needed, every network but `next`, and what is not to be used again of
    /// that one; a VPN before the network under it. Answer with `networks_closed`.
    CloseNetworks {
        /// The switch, to be said in the answer.
        number: u64,
        /// The network that is to carry.
        next: NetworkId,
    },
    /// CNAPT-23, CNAPT-12*: open it, if its address is not there yet; answer with `network_opened`.
    OpenNetwork {
        /// The switch, to be said in the answer.
        number: u64,
        /// Which.
        network: NetworkId,
    },
    /// CNAPT-24, CNAPT-12*: open the VPN over it, if there is to be one; answer with `vpn_opened`.
    OpenVpn {
        /// The switch, to be said in the answer.
        number: u64,
        /// Over which network.
        network: NetworkId,
    },
    /// CNAPT-34.
    WakeDecision,
    /// For people.
    Event(Event),
}

/// The bound of every wait, with the reason for its value.
pub mod bound {
    use std::time::Duration;

    /// CNAPT-11, CNAPT-19: an answer takes a round trip; four leave room for a retransmission.
    pub const REPLY: Duration = Duration::from_secs(1);
    /// How often CNAPT-11, CNAPT-14 and CNAPT-19 are prolonged while the SNAPT answers probes on that
    /// link: its queue is long, but it lives. CNAPT-11 and CNAPT-14 share them.
    pub const REPLY_EXTENSIONS: u32 = 8;
    /// SNAPT-10, CNAPT-13, CNAPT-30, CNAPT-33, SNAPT-20: this long without any progress. A lost
    /// segment is repaired within a second on every network that is of use.
    pub const PROGRESS: Duration = Duration::from_secs(2);
    /// SNAPT-12, SNAPT-16: the CNAPT may be opening a network, which takes many seconds.
    pub const OTHER_NETWORK: Duration = Duration::from_secs(30);
    /// After a rescue comes no other so soon: whatever the networks do, the session stays where it is for a while.
    pub const RESCUE_PAUSE: Duration = Duration::from_secs(5);
    /// A network that a rescue left, and that speaks again, has to be well for so long; twice as long the next time.
    pub const RETURN_PAUSE: Duration = Duration::from_secs(2);
    /// The longest of these pauses.
    pub const LONGEST_RETURN_PAUSE: Duration = Duration::from_secs(300);
    /// CNAPT-7+, SNAPT-4+: what was under way on the old link when the traffic left it. The fullest queue of a slow
    /// network; what has not come by then is cut off and sent again.
    pub const DRAIN: Duration = Duration::from_secs(30);
    /// CNAPT-7: the decision task answers at once, or is not there.
    pub const SUSPENSION: Duration = Duration::from_secs(1);
    /// CNAPT-22, CNAPT-23, CNAPT-24, each of the three in CNAPT-12*: the shell bounds every hook that it runs and
    /// then answers; longer than its longest hooks together, so it is met only by a shell that is broken.
    pub const NETWORKS: Duration = Duration::from_secs(600);
    /// CNAPT-28, CNAPT-16*: TCP, TLS and ATTACH over a slow network; then the next is tried.
    pub const DIAL: Duration = Duration::from_secs(5);
    /// A probe while an application waits.
    pub const PROBE_BUSY: Duration = Duration::from_millis(500);
    /// A probe while nothing happens: keeps the state of a NAT alive.
    pub const PROBE_IDLE: Duration = Duration::from_secs(15);
    /// On a link that is never silent the round trip is measured as often as on an idle one: it may have
    /// become another network's, and the next switch waits by it.
    pub const MEASURE: Duration = PROBE_IDLE;
    /// A link on which nothing came for so long after an unanswered probe is dead: three probes, and
    /// longer than TCP takes to repair two losses in a row.
    pub const SILENCE: Duration = Duration::from_millis(1500);
    /// The longest round trip that is believed, longer than one through the fullest queue of a network
    /// of use. Who slept between a question and its answer measures hours, and would wait four times
    /// as long for everything.
    pub const ROUND_TRIP: Duration = Duration::from_secs(3);
    /// A timer that fires so late means that the process or the device slept: its verdict is void.
    pub const SLEPT: Duration = Duration::from_secs(1);
    /// How often a switch is ordered anew over a link that makes no progress, before the link is
    /// given up.
    pub const RETRIES: u32 = 2;
    /// Instances of a CNAPT that lost the session and are remembered: a process that was killed cannot
    /// have more connections under way than a few restarts leave.
    pub const SUPERSEDED: usize = 16;
    /// Orders and RENEW pieces of an instance that has yet to show that it lives: a new process has one
    /// of each, and gives an order up after [`RETRIES`].
    pub const WAITING_FRAMES: usize = 8;
    /// Conduits of one client, control channels among them, that the SNAPT has open. A link has 18, a switch has two;
    /// the rest is for those that a middlebox ended unsaid, until TCP's keepalive finds them 90 s later.
    pub const CONDUITS: usize = 256;
    /// Conduits that wait for the ATTACH of their link.
    pub const HELD_CONDUITS: usize = 64;
    /// How long they may wait: as long as a handshake.
    pub const HELD: Duration = Duration::from_secs(4);
    /// Frames that may queue on a control channel while the other side does not read. Beyond it the
    /// other side asks without listening.
    pub const QUEUED_FRAMES: usize = 4096;
}
