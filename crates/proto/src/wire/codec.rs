//! Frame to bytes and back.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Attach, Attached, BODY_BYTES, CATALOGUE_ENTRIES, CATALOGUE_PORTS, CatalogueEntry,
    DATA_HEADER_BYTES, DATA_PAYLOAD_BYTES, DATAGRAM_FIELDS_BYTES, DATAGRAM_PAYLOAD_BYTES, Datagram,
    Frame, Hello, KEPT_LINKS, Layer, Move, NAME_BYTES, OfferState, OfferedService, OldLink,
    Purpose, RENEW_ENTRIES, RefusedCode, Renew, RenewEntry, Request, Role, Trail,
    TransportProtocol, WireError,
};
use crate::step::{Step, TRAIL_STEPS};
use crate::stream::End;
use crate::{CnaptId, FlowId, Instance, LinkNumber, StreamId};

pub(super) const HELLO: u8 = 1;
pub(super) const USE: u8 = 2;
pub(super) const ATTACH: u8 = 3;
pub(super) const ATTACHED: u8 = 4;
pub(super) const RENEW: u8 = 5;
pub(super) const SWITCH_STEP1: u8 = 6;
pub(super) const ACK: u8 = 7;
pub(super) const OK_TO_REDIRECTION: u8 = 8;
pub(super) const CLIENT_SERVICES_READY: u8 = 9;
pub(super) const SERVER_SERVICES_READY: u8 = 10;
pub(super) const SWITCH_STEP2: u8 = 11;
pub(super) const SWITCH_UNEXPECTED: u8 = 12;
pub(super) const ALL_REDIRECTED: u8 = 13;
pub(super) const PROBE: u8 = 14;
pub(super) const PROBE_REPLY: u8 = 15;
pub(super) const TRAIL: u8 = 16;
pub(super) const REFUSED: u8 = 17;
pub(super) const DETACH: u8 = 18;
pub(super) const DIAL: u8 = 19;
pub(super) const OFFERED: u8 = 20;
pub(super) const STALLED: u8 = 21;
pub(super) const OPEN: u8 = 32;
pub(super) const OPENED: u8 = 33;
pub(super) const OPEN_REFUSED: u8 = 34;
pub(super) const DATA: u8 = 35;
pub(super) const RECEIVED: u8 = 36;
pub(super) const FIN: u8 = 37;
pub(super) const ABORT: u8 = 38;
pub(super) const STOP: u8 = 39;
pub(super) const SETTLED: u8 = 40;
pub(super) const LAST_MESSAGE: u8 = 41;
pub(super) const DATAGRAM: u8 = 42;

/// The word that begins every frame.
pub(super) const HEADER_BYTES: usize = 4;
/// Stream and offset, which begin the body of DATA.
pub(super) const DATA_FIELDS_BYTES: usize = DATA_HEADER_BYTES - HEADER_BYTES;

const RENEW_END_FIN: u8 = 1;
const RENEW_END_ABORT: u8 = 2;
const RENEW_STOP: u8 = 4;

const OFFER_LISTENING: u8 = 0;
const OFFER_NOT_ALLOWED: u8 = 1;
const OFFER_PORT_TAKEN: u8 = 2;
const OFFER_NO_ADDRESS: u8 = 3;
const OFFER_FAILED: u8 = 4;

/// Appends the header of a DATA frame whose `length` bytes of payload the caller sends behind it.
pub fn encode_data_header(out: &mut BytesMut, stream: StreamId, offset: u64, length: usize) {
    put_header(out, DATA, DATA_FIELDS_BYTES + length);
    out.put_u64(stream.0);
    out.put_u64(offset);
}

/// Appends `frame`.
pub fn encode(out: &mut BytesMut, frame: &Frame) {
    let start = out.len();
    out.put_u32(0);
    let kind = put_body(out, frame);
    let length = out.len() - start - HEADER_BYTES;
    debug_assert!(
        length <= longest_body(kind),
        "a frame of type {kind} with {length} bytes"
    );
    let word = header_word(kind, length);
    out[start..start + HEADER_BYTES].copy_from_slice(&word.to_be_bytes());
}

/// How long the body of a frame of this type may be.
pub(super) const fn longest_body(kind: u8) -> usize {
    match kind {
        DATA => DATA_FIELDS_BYTES + DATA_PAYLOAD_BYTES,
        DATAGRAM => DATAGRAM_FIELDS_BYTES + DATAGRAM_PAYLOAD_BYTES,
        _ => BODY_BYTES,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "every body is at most BODY_BYTES or a datagram's, 17 bits"
)]
const fn header_word(kind: u8, length: usize) -> u32 {
    (kind as u32) << 24 | length as u32
}

fn put_header(out: &mut BytesMut, kind: u8, length: usize) {
    out.put_u32(header_word(kind, length));
}

fn put_body(out: &mut BytesMut, frame: &Frame) -> u8 {
    match frame.layer() {
        Layer::Conduit => put_conduit_body(out, frame),
        Layer::Link => put_link_body(out, frame),
        Layer::Stream => put_stream_body(out, frame),
        Layer::Flow => put_datagram(out, frame),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Frame::layer names every frame once"
)]
fn put_conduit_body(out: &mut BytesMut, frame: &Frame) -> u8 {
    match frame {
        Frame::Hello(hello) => {
            out.put_u16(hello.oldest);
            out.put_u16(hello.newest);
            out.put_u8(match hello.role {
                Role::Control => 0,
                Role::Conduit => 1,
            });
            out.put_u64(hello.instance.0);
            out.put_u32(hello.link.0);
            HELLO
        }
        Frame::Use { number, purpose } => {
            out.put_u64(*number);
            out.put_u8(match purpose {
                Purpose::Streams => 0,
                Purpose::Datagrams => 1,
            });
            USE
        }
        _ => LAST_MESSAGE,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Frame::layer names every frame once"
)]
fn put_link_body(out: &mut BytesMut, frame: &Frame) -> u8 {
    match frame {
        Frame::Attach(attach) => {
            out.put_slice(&attach.cnapt.0);
            out.put_u64(attach.session);
            out.put_u64(attach.snapt.0);
            out.put_u32(attach.initial_limit);
            out.put_u32(attach.streams);
            put_seconds(out, attach.flow_idle);
            put_catalogue(out, &attach.services);
            ATTACH
        }
        Frame::Attached(attached) => {
            out.put_u64(attached.snapt.0);
            out.put_u64(attached.session);
            put_address(out, attached.virtual_ip);
            out.put_u32(attached.initial_limit);
            out.put_u32(attached.streams);
            put_seconds(out, attached.flow_idle);
            put_catalogue(out, &attached.services);
            ATTACHED
        }
        Frame::Renew(renew) => {
            put_renew(out, renew);
            RENEW
        }
        Frame::Probe { token } => {
            out.put_u64(*token);
            PROBE
        }
        Frame::ProbeReply { token } => {
            out.put_u64(*token);
            PROBE_REPLY
        }
        Frame::Trail(trail) => {
            put_trail(out, trail);
            TRAIL
        }
        Frame::Refused { code } => {
            out.put_u8(refused_to_byte(*code));
            REFUSED
        }
        Frame::Detach => DETACH,
        Frame::Dial { conduits } => {
            out.put_u32(*conduits);
            DIAL
        }
        Frame::Offered { services } => {
            put_offered(out, services);
            OFFERED
        }
        Frame::Stalled { number, lost } => {
            out.put_u64(*number);
            out.put_u8(u8::from(*lost));
            STALLED
        }
        _ => put_switch_body(out, frame),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Frame::layer names every frame once"
)]
fn put_switch_body(out: &mut BytesMut, frame: &Frame) -> u8 {
    match frame {
        Frame::SwitchStep1 {
            number,
            cnapt,
            conduits,
        } => {
            out.put_u64(*number);
            out.put_slice(&cnapt.0);
            out.put_u32(*conduits);
            SWITCH_STEP1
        }
        Frame::Ack { number } => {
            out.put_u64(*number);
            ACK
        }
        Frame::OkToRedirection { number, complete } => {
            out.put_u64(*number);
            out.put_u8(u8::from(*complete));
            OK_TO_REDIRECTION
        }
        Frame::ClientServicesReadyForRedirection { number } => {
            out.put_u64(*number);
            CLIENT_SERVICES_READY
        }
        Frame::ServerServicesReadyForRedirection { number } => {
            out.put_u64(*number);
            SERVER_SERVICES_READY
        }
        Frame::SwitchStep2(order) => {
            put_move(out, order);
            SWITCH_STEP2
        }
        Frame::SwitchUnexpected(order) => {
            put_move(out, order);
            SWITCH_UNEXPECTED
        }
        Frame::AllRedirected { number, complete } => {
            out.put_u64(*number);
            out.put_u8(u8::from(*complete));
            ALL_REDIRECTED
        }
        _ => unreachable!("put_link_body names all other frames"),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Frame::layer names every frame once"
)]
fn put_stream_body(out: &mut BytesMut, frame: &Frame) -> u8 {
    match frame {
        Frame::Open {
            stream,
            floor,
            request,
        } => {
            out.put_u64(stream.0);
            out.put_u64(*floor);
            put_request(out, request);
            OPEN
        }
        Frame::Opened { stream } => {
            out.put_u64(stream.0);
            OPENED
        }
        Frame::OpenRefused { stream, code } => {
            out.put_u64(stream.0);
            out.put_u16(*code);
            OPEN_REFUSED
        }
        Frame::Received {
            stream,
            arrived,
            limit,
        } => {
            out.put_u64(stream.0);
            out.put_u64(*arrived);
            out.put_u64(*limit);
            RECEIVED
        }
        Frame::End {
            stream,
            end: End::Fin { last },
        } => {
            out.put_u64(stream.0);
            out.put_u64(*last);
            FIN
        }
        Frame::End {
            stream,
            end: End::Abort { last, code },
        } => {
            out.put_u64(stream.0);
            out.put_u64(*last);
            out.put_u16(*code);
            ABORT
        }
        Frame::Stop { stream, code } => {
            out.put_u64(stream.0);
            out.put_u16(*code);
            STOP
        }
        Frame::Settled { stream } => {
            out.put_u64(stream.0);
            SETTLED
        }
        _ => unreachable!("Frame::layer gives no other frame to the streams"),
    }
}

fn put_move(out: &mut BytesMut, order: &Move) {
    out.put_u64(order.number);
    out.put_slice(&order.cnapt.0);
    match order.old {
        OldLink::Drained => out.put_u8(0),
        OldLink::Dead => out.put_u8(1),
        OldLink::Draining { conduits } => {
            out.put_u8(2);
            out.put_u32(conduits);
        }
    }
    debug_assert!(order.kept.len() <= KEPT_LINKS, "{} links", order.kept.len());
    #[expect(clippy::cast_possible_truncation, reason = "at most KEPT_LINKS")]
    out.put_u8(order.kept.len() as u8);
    for link in &order.kept {
        out.put_u32(link.0);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "configuration bounds names and catalogues"
)]
fn put_text(out: &mut BytesMut, text: &str) {
    debug_assert!(text.len() <= NAME_BYTES, "a name of {} bytes", text.len());
    out.put_u8(text.len() as u8);
    out.put_slice(text.as_bytes());
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "configuration bounds names and catalogues"
)]
fn put_catalogue(out: &mut BytesMut, services: &[CatalogueEntry]) {
    debug_assert!(
        services.len() <= CATALOGUE_ENTRIES,
        "{} services",
        services.len()
    );
    out.put_u16(services.len() as u16);
    for service in services {
        put_text(out, &service.name);
        out.put_u8(match service.protocol {
            TransportProtocol::Tcp => 0,
            TransportProtocol::Udp => 1,
        });
        out.put_u16(*service.ports.start());
        out.put_u16(*service.ports.end());
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "there are as many as in a catalogue"
)]
fn put_offered(out: &mut BytesMut, services: &[OfferedService]) {
    debug_assert!(
        services.len() <= CATALOGUE_ENTRIES,
        "{} services",
        services.len()
    );
    out.put_u16(services.len() as u16);
    for service in services {
        put_text(out, &service.name);
        let (state, port) = match service.state {
            OfferState::Listening => (OFFER_LISTENING, 0),
            OfferState::NotAllowed { port } => (OFFER_NOT_ALLOWED, port),
            OfferState::PortTaken { port } => (OFFER_PORT_TAKEN, port),
            OfferState::NoAddress { port } => (OFFER_NO_ADDRESS, port),
            OfferState::Failed { port } => (OFFER_FAILED, port),
        };
        out.put_u8(state);
        out.put_u16(port);
    }
}

fn put_seconds(out: &mut BytesMut, duration: Duration) {
    out.put_u32(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX));
}

fn put_datagram(out: &mut BytesMut, frame: &Frame) -> u8 {
    if let Frame::Datagram(datagram) = frame {
        out.put_u64(datagram.flow.0);
        out.put_u64(datagram.sequence);
        put_request(out, &datagram.request);
        debug_assert!(
            datagram.payload.len() <= DATAGRAM_PAYLOAD_BYTES,
            "a datagram of {} bytes",
            datagram.payload.len()
        );
        out.put_slice(&datagram.payload);
    }
    DATAGRAM
}

fn put_request(out: &mut BytesMut, request: &Request) {
    out.put_u16(request.port);
    put_address(out, request.origin.ip());
    out.put_u16(request.origin.port());
    put_text(out, &request.service);
}

/// An IPv4 address travels in its IPv6-mapped form.
fn put_address(out: &mut BytesMut, address: IpAddr) {
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    out.put_slice(&octets);
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a piece has at most RENEW_ENTRIES"
)]
fn put_renew(out: &mut BytesMut, renew: &Renew) {
    debug_assert!(
        renew.entries.len() <= RENEW_ENTRIES,
        "{} entries",
        renew.entries.len()
    );
    out.put_u64(renew.number);
    out.put_u64(renew.floor);
    out.put_u8(u8::from(renew.last));
    out.put_u16(renew.entries.len() as u16);
    for entry in &renew.entries {
        let end = match entry.end {
            None => 0,
            Some(End::Fin { .. }) => RENEW_END_FIN,
            Some(End::Abort { .. }) => RENEW_END_ABORT,
        };
        let stop = if entry.stop.is_some() { RENEW_STOP } else { 0 };
        out.put_u64(entry.stream.0);
        out.put_u8(end | stop);
        out.put_u64(entry.arrived);
        out.put_u64(entry.limit);
        match entry.end {
            None => {}
            Some(End::Fin { last }) => out.put_u64(last),
            Some(End::Abort { last, code }) => {
                out.put_u64(last);
                out.put_u16(code);
            }
        }
        if let Some(code) = entry.stop {
            out.put_u16(code);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a trail has at most TRAIL_STEPS"
)]
fn put_trail(out: &mut BytesMut, trail: &Trail) {
    debug_assert!(
        trail.steps.len() <= TRAIL_STEPS,
        "{} steps",
        trail.steps.len()
    );
    out.put_u64(trail.number);
    out.put_u64(trail.gap_micros.unwrap_or(u64::MAX));
    out.put_u16(trail.steps.len() as u16);
    for (step, micros) in &trail.steps {
        out.put_slice(&step.to_bytes());
        out.put_u64(*micros);
    }
}

const fn refused_to_byte(code: RefusedCode) -> u8 {
    match code {
        RefusedCode::Superseded => 1,
        RefusedCode::Version => 2,
        RefusedCode::Full => 3,
        RefusedCode::Protocol => 4,
        RefusedCode::Revoked => 5,
    }
}

/// The frame that `body` of type `kind` holds. DATA is the decoder's.
pub(super) fn decode(kind: u8, body: &[u8]) -> Result<Frame, WireError> {
    let mut fields = Fields { kind, rest: body };
    let frame = match kind {
        HELLO..=STALLED => read_link_frame(&mut fields)?,
        OPEN..=LAST_MESSAGE => read_stream_frame(&mut fields)?,
        DATAGRAM => Frame::Datagram(fields.datagram()?),
        _ => return Err(WireError::UnknownFrame(kind)),
    };
    fields.end()?;
    Ok(frame)
}

fn read_link_frame(fields: &mut Fields<'_>) -> Result<Frame, WireError> {
    Ok(match fields.kind {
        HELLO => Frame::Hello(Hello {
            oldest: fields.u16()?,
            newest: fields.u16()?,
            role: match fields.u8()? {
                0 => Role::Control,
                1 => Role::Conduit,
                _ => return Err(fields.bad("role")),
            },
            instance: Instance(fields.u64()?),
            link: LinkNumber(fields.u32()?),
        }),
        USE => Frame::Use {
            number: fields.u64()?,
            purpose: match fields.u8()? {
                0 => Purpose::Streams,
                1 => Purpose::Datagrams,
                _ => return Err(fields.bad("purpose")),
            },
        },
        ATTACH => Frame::Attach(Attach {
            cnapt: fields.cnapt()?,
            session: fields.u64()?,
            snapt: Instance(fields.u64()?),
            initial_limit: fields.u32()?,
            streams: fields.u32()?,
            flow_idle: fields.seconds()?,
            services: fields.catalogue()?,
        }),
        ATTACHED => Frame::Attached(Attached {
            snapt: Instance(fields.u64()?),
            session: fields.u64()?,
            virtual_ip: fields.address()?,
            initial_limit: fields.u32()?,
            streams: fields.u32()?,
            flow_idle: fields.seconds()?,
            services: fields.catalogue()?,
        }),
        RENEW => Frame::Renew(fields.renew()?),
        PROBE => Frame::Probe {
            token: fields.u64()?,
        },
        PROBE_REPLY => Frame::ProbeReply {
            token: fields.u64()?,
        },
        TRAIL => Frame::Trail(fields.trail()?),
        REFUSED => Frame::Refused {
            code: fields.refused()?,
        },
        DETACH => Frame::Detach,
        DIAL => Frame::Dial {
            conduits: fields.u32()?,
        },
        STALLED => Frame::Stalled {
            number: fields.u64()?,
            lost: fields.bool()?,
        },
        OFFERED => Frame::Offered {
            services: fields.offered()?,
        },
        _ => read_switch_message(fields)?,
    })
}

fn read_switch_message(fields: &mut Fields<'_>) -> Result<Frame, WireError> {
    let number = fields.u64()?;
    Ok(match fields.kind {
        SWITCH_STEP1 => Frame::SwitchStep1 {
            number,
            cnapt: fields.cnapt()?,
            conduits: fields.u32()?,
        },
        ACK => Frame::Ack { number },
        OK_TO_REDIRECTION => Frame::OkToRedirection {
            number,
            complete: fields.bool()?,
        },
        CLIENT_SERVICES_READY => Frame::ClientServicesReadyForRedirection { number },
        SERVER_SERVICES_READY => Frame::ServerServicesReadyForRedirection { number },
        SWITCH_STEP2 => Frame::SwitchStep2(fields.order(number)?),
        SWITCH_UNEXPECTED => Frame::SwitchUnexpected(fields.order(number)?),
        ALL_REDIRECTED => Frame::AllRedirected {
            number,
            complete: fields.bool()?,
        },
        unknown => return Err(WireError::UnknownFrame(unknown)),
    })
}

fn read_stream_frame(fields: &mut Fields<'_>) -> Result<Frame, WireError> {
    if fields.kind == LAST_MESSAGE {
        return Ok(Frame::LastMessageBeforeRedirection);
    }
    let stream = StreamId(fields.u64()?);
    Ok(match fields.kind {
        OPEN => Frame::Open {
            stream,
            floor: fields.u64()?,
            request: fields.request()?,
        },
        OPENED => Frame::Opened { stream },
        OPEN_REFUSED => Frame::OpenRefused {
            stream,
            code: fields.u16()?,
        },
        RECEIVED => Frame::Received {
            stream,
            arrived: fields.u64()?,
            limit: fields.u64()?,
        },
        FIN => Frame::End {
            stream,
            end: End::Fin {
                last: fields.u64()?,
            },
        },
        ABORT => Frame::End {
            stream,
            end: End::Abort {
                last: fields.u64()?,
                code: fields.u16()?,
            },
        },
        STOP => Frame::Stop {
            stream,
            code: fields.u16()?,
        },
        SETTLED => Frame::Settled { stream },
        unknown => return Err(WireError::UnknownFrame(unknown)),
    })
}

/// The fields of one body that are still to be read.
struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn bad(&self, field: &'static str) -> WireError {
        WireError::BadField {
            frame: self.kind,
            field,
        }
    }

    fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::WrongLength(self.kind))
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(WireError::WrongLength(self.kind));
        };
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad("flag")),
        }
    }

    fn cnapt(&mut self) -> Result<CnaptId, WireError> {
        self.array().map(CnaptId)
    }

    fn order(&mut self, number: u64) -> Result<Move, WireError> {
        let cnapt = self.cnapt()?;
        let old = match self.u8()? {
            0 => OldLink::Drained,
            1 => OldLink::Dead,
            2 => OldLink::Draining {
                conduits: self.u32()?,
            },
            _ => return Err(self.bad("state of the old link")),
        };
        let count = self.u8()?;
        if usize::from(count) > KEPT_LINKS {
            return Err(self.bad("number of links"));
        }
        let kept = (0..count).map(|_| self.u32().map(LinkNumber));
        Ok(Move {
            number,
            cnapt,
            old,
            kept: kept.collect::<Result<_, _>>()?,
        })
    }

    fn refused(&mut self) -> Result<RefusedCode, WireError> {
        match self.u8()? {
            1 => Ok(RefusedCode::Superseded),
            2 => Ok(RefusedCode::Version),
            3 => Ok(RefusedCode::Full),
            4 => Ok(RefusedCode::Protocol),
            5 => Ok(RefusedCode::Revoked),
            _ => Err(self.bad("code")),
        }
    }

    fn address(&mut self) -> Result<IpAddr, WireError> {
        self.array::<16>()
            .map(|octets| Ipv6Addr::from(octets).to_canonical())
    }

    fn text(&mut self) -> Result<String, WireError> {
        let length = usize::from(self.u8()?);
        if length == 0 || length > NAME_BYTES {
            return Err(self.bad("name"));
        }
        let Some((head, rest)) = self.rest.split_at_checked(length) else {
            return Err(WireError::WrongLength(self.kind));
        };
        self.rest = rest;
        String::from_utf8(head.to_vec()).map_err(|_| self.bad("name"))
    }

    fn catalogue(&mut self) -> Result<Vec<CatalogueEntry>, WireError> {
        let count = usize::from(self.u16()?);
        if count > CATALOGUE_ENTRIES {
            return Err(self.bad("number of services"));
        }
        let services = (0..count)
            .map(|_| self.catalogue_entry())
            .collect::<Result<Vec<_>, _>>()?;
        if services.iter().map(|one| one.ports.len()).sum::<usize>() > CATALOGUE_PORTS {
            return Err(self.bad("number of ports"));
        }
        Ok(services)
    }

    fn catalogue_entry(&mut self) -> Result<CatalogueEntry, WireError> {
        Ok(CatalogueEntry {
            name: self.text()?,
            protocol: match self.u8()? {
                0 => TransportProtocol::Tcp,
                1 => TransportProtocol::Udp,
                _ => return Err(self.bad("protocol")),
            },
            ports: self.ports()?,
        })
    }

    fn ports(&mut self) -> Result<RangeInclusive<u16>, WireError> {
        let (first, last) = (self.u16()?, self.u16()?);
        if first == 0 || first > last {
            return Err(self.bad("ports"));
        }
        Ok(first..=last)
    }

    fn request(&mut self) -> Result<Request, WireError> {
        Ok(Request {
            port: self.u16()?,
            origin: SocketAddr::new(self.address()?, self.u16()?),
            service: self.text()?,
        })
    }

    fn seconds(&mut self) -> Result<Duration, WireError> {
        Ok(Duration::from_secs(u64::from(self.u32()?)))
    }

    fn datagram(&mut self) -> Result<Datagram, WireError> {
        let datagram = Datagram {
            flow: FlowId(self.u64()?),
            sequence: self.u64()?,
            request: self.request()?,
            payload: Bytes::copy_from_slice(self.rest),
        };
        self.rest = &[];
        if datagram.payload.len() > DATAGRAM_PAYLOAD_BYTES {
            return Err(WireError::WrongLength(self.kind));
        }
        Ok(datagram)
    }

    fn offered(&mut self) -> Result<Vec<OfferedService>, WireError> {
        let count = usize::from(self.u16()?);
        if count > CATALOGUE_ENTRIES {
            return Err(self.bad("number of services"));
        }
        (0..count)
            .map(|_| {
                let name = self.text()?;
                let state = match (self.u8()?, self.u16()?) {
                    (OFFER_LISTENING, 0) => OfferState::Listening,
                    (OFFER_NOT_ALLOWED, port) => OfferState::NotAllowed { port },
                    (OFFER_PORT_TAKEN, port) => OfferState::PortTaken { port },
                    (OFFER_NO_ADDRESS, port) => OfferState::NoAddress { port },
                    (OFFER_FAILED, port) => OfferState::Failed { port },
                    _ => return Err(self.bad("state of a service")),
                };
                Ok(OfferedService { name, state })
            })
            .collect()
    }

    fn renew(&mut self) -> Result<Renew, WireError> {
        let number = self.u64()?;
        let floor = self.u64()?;
        let last = self.bool()?;
        let count = usize::from(self.u16()?);
        if count > RENEW_ENTRIES {
            return Err(self.bad("number of streams"));
        }
        let entries = (0..count)
            .map(|_| self.renew_entry())
            .collect::<Result<_, _>>()?;
        Ok(Renew {
            number,
            floor,
            last,
            entries,
        })
    }

    fn renew_entry(&mut self) -> Result<RenewEntry, WireError> {
        let stream = StreamId(self.u64()?);
        let flags = self.u8()?;
        if flags & !(RENEW_END_FIN | RENEW_END_ABORT | RENEW_STOP) != 0 {
            return Err(self.bad("flag"));
        }
        let arrived = self.u64()?;
        let limit = self.u64()?;
        let end = match flags & (RENEW_END_FIN | RENEW_END_ABORT) {
            0 => None,
            RENEW_END_FIN => Some(End::Fin { last: self.u64()? }),
            RENEW_END_ABORT => Some(End::Abort {
                last: self.u64()?,
                code: self.u16()?,
            }),
            _ => return Err(self.bad("flag")),
        };
        let stop = if flags & RENEW_STOP == 0 {
            None
        } else {
            Some(self.u16()?)
        };
        Ok(RenewEntry {
            stream,
            arrived,
            limit,
            end,
            stop,
        })
    }

    fn trail(&mut self) -> Result<Trail, WireError> {
        let number = self.u64()?;
        let gap_micros = Some(self.u64()?).filter(|micros| *micros != u64::MAX);
        let count = usize::from(self.u16()?);
        if count > TRAIL_STEPS {
            return Err(self.bad("number of steps"));
        }
        let steps = (0..count)
            .map(|_| {
                let bytes = self.array()?;
                let step = Step::from_bytes(bytes).ok_or_else(|| self.bad("step"))?;
                Ok((step, self.u64()?))
            })
            .collect::<Result<_, _>>()?;
        Ok(Trail {
            number,
            gap_micros,
            steps,
        })
    }
}

#[cfg(test)]
#[path = "golden.rs"]
mod golden;
