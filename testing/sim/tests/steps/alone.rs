//! One machine alone, whose other side is late: what two machines say in one flight is pulled apart.

use std::net::{IpAddr, Ipv4Addr};

use handover_proto::bug::{Bug, Bugs};
use handover_proto::flow::DEFAULT_FLOW_IDLE;
use handover_proto::session::{
    Cnapt, NetworkId, Phase, Procedure, Snapt, SnaptOptions, SnaptPhase,
};
use handover_proto::step::Sequence;
use handover_proto::stream::{
    CreditPool, INITIAL_LIMIT, PeerMisbehaved, STREAMS, Streams, Transmit,
};
use handover_proto::wire::{Attach, Attached, Frame, Hello, Move, OldLink, Renew, Role, VERSION};
use handover_proto::{CnaptId, ConduitId, Instance, Instant, LinkNumber, Side, StreamId};
use handover_sim::{request, service};

const ID: CnaptId = CnaptId([9; 32]);
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CNAPT: Instance = Instance(1);
const SNAPT: Instance = Instance(2);
const NOW: Instant = Instant::from_micros(1_000_000);

/// The control channels of the first and the second link.
const FIRST: ConduitId = ConduitId(1);
const SECOND: ConduitId = ConduitId(2);

/// Says whether it holds of a machine, perhaps with a bug.
pub(crate) type Alone = fn(Option<Bug>) -> Result<bool, PeerMisbehaved>;

/// Between RENEW and ALL_REDIRECTED the CNAPT waits, and nothing that an application writes leaves, of either
/// kind of service.
//= docs/spec/planned.md#cnapt-33
//= docs/spec/unexpected.md#cnapt-star-02
//= docs/spec/unexpected.md#cnapt-star-03
//= docs/spec/unexpected.md#cnapt-star-21
//= type=test
pub(crate) fn the_cnapt_waits_for_all_redirected(bug: Option<Bug>) -> Result<bool, PeerMisbehaved> {
    let streams = Streams::new(Side::Cnapt, &[service()], CreditPool::default());
    let mut cnapt = Cnapt::new(ID, CNAPT, Vec::new(), streams);
    cnapt.attach(NetworkId(0), NOW);
    cnapt.decision_suspended(NOW);
    attach_cnapt(&mut cnapt, 1, FIRST)?;
    cnapt.handle_frame(FIRST, &renew(1), NOW)?;
    cnapt.handle_frame(FIRST, &all_redirected(1), NOW)?;
    let client_service = StreamId::new(Side::Snapt, 0);
    cnapt.handle_frame(FIRST, &open(client_service), NOW)?;
    cnapt.streams_mut().set_bugs(bugs(bug, Side::Cnapt));
    if is_planned(bug) {
        plan_cnapt(&mut cnapt)?;
    } else {
        cnapt.network_lost(NetworkId(0), NOW);
        cnapt.attach(NetworkId(1), NOW);
        cnapt.decision_suspended(NOW);
    }
    attach_cnapt(&mut cnapt, 2, SECOND)?;
    cnapt.handle_frame(SECOND, &renew(2), NOW)?;
    let Ok(stream) = cnapt.streams_mut().open(request(), NOW) else {
        return Ok(false);
    };
    let said = transmit(cnapt.streams_mut(), SECOND);
    for stream in [stream, client_service] {
        cnapt.streams_mut().write(stream, "early".into());
    }
    let waits = cnapt.phase() == Phase::AwaitAllRedirected && said > 0;
    let silent = transmit(cnapt.streams_mut(), SECOND) == 0;
    cnapt.handle_frame(SECOND, &all_redirected(2), NOW)?;
    let speaks = transmit(cnapt.streams_mut(), SECOND) > 0;
    Ok(waits && silent && speaks && cnapt.phase() == Phase::Attached)
}

fn plan_cnapt(cnapt: &mut Cnapt) -> Result<(), PeerMisbehaved> {
    let (number, complete) = (2, true);
    cnapt.order(NetworkId(1), NOW);
    cnapt.decision_suspended(NOW);
    for answer in [
        Frame::Ack { number },
        Frame::OkToRedirection { number, complete },
        Frame::ServerServicesReadyForRedirection { number },
    ] {
        cnapt.handle_frame(FIRST, &answer, NOW)?;
    }
    Ok(())
}

/// The switch of the same number as the link goes to a network that needs no hooks.
fn attach_cnapt(cnapt: &mut Cnapt, link: u32, control: ConduitId) -> Result<(), PeerMisbehaved> {
    let number = u64::from(link);
    cnapt.networks_closed(number, true, NOW);
    cnapt.network_opened(number, true, NOW);
    cnapt.vpn_opened(number, true, NOW);
    cnapt.control_up(LinkNumber(link), control, NOW);
    let attached = Attached {
        snapt: SNAPT,
        session: 1,
        virtual_ip: ADDRESS,
        initial_limit: INITIAL_LIMIT,
        streams: STREAMS,
        flow_idle: DEFAULT_FLOW_IDLE,
        services: Vec::new(),
    };
    cnapt.handle_frame(control, &Frame::Attached(attached), NOW)
}

/// Between the order to move and the CNAPT's RENEW the SNAPT waits, nothing that an application writes to a
/// client service leaves, and no flow may be sent.
//= docs/spec/planned.md#snapt-20
//= docs/spec/unexpected.md#snapt-star-03
//= docs/spec/unexpected.md#snapt-star-04
//= docs/spec/unexpected.md#snapt-star-12
//= type=test
pub(crate) fn the_snapt_waits_for_the_renewal(bug: Option<Bug>) -> Result<bool, PeerMisbehaved> {
    let options = SnaptOptions {
        cnapt: ID,
        instance: SNAPT,
        session: 1,
        virtual_ip: ADDRESS,
        services: Vec::new(),
        switch_timeout: std::time::Duration::from_secs(60),
        flow_idle: DEFAULT_FLOW_IDLE,
    };
    let mut snapt = Snapt::new(options, CreditPool::default());
    let (number, cnapt, old) = (1, ID, OldLink::Dead);
    attach_snapt(&mut snapt, 1, FIRST)?;
    snapt.handle_frame(
        FIRST,
        &Frame::SwitchUnexpected(Move::new(number, cnapt, old)),
        NOW,
    )?;
    snapt.handle_frame(FIRST, &renew(1), NOW)?;
    snapt.streams_mut().set_bugs(bugs(bug, Side::Snapt));
    let (number, conduits) = (2, 0);
    let (order, procedure) = if is_planned(bug) {
        let begin = Frame::SwitchStep1 {
            number,
            cnapt,
            conduits,
        };
        snapt.handle_frame(FIRST, &begin, NOW)?;
        let ready = Frame::ClientServicesReadyForRedirection { number };
        snapt.handle_frame(FIRST, &ready, NOW)?;
        (
            Frame::SwitchStep2(Move::new(number, cnapt, old)),
            Procedure::Stepwise,
        )
    } else {
        (
            Frame::SwitchUnexpected(Move::new(number, cnapt, old)),
            Procedure::Starred,
        )
    };
    attach_snapt(&mut snapt, 2, SECOND)?;
    snapt.handle_frame(SECOND, &order, NOW)?;
    let said = transmit(snapt.streams_mut(), SECOND);
    let Ok(stream) = snapt.streams_mut().open(request(), NOW) else {
        return Ok(false);
    };
    snapt.streams_mut().write(stream, "early".into());
    let waits = snapt.phase() == SnaptPhase::AwaitRenewal(procedure) && said > 0;
    let silent = transmit(snapt.streams_mut(), SECOND) == 0 && !snapt.streams().flows_forward();
    snapt.handle_frame(SECOND, &renew(2), NOW)?;
    Ok(waits && silent && snapt.phase() == SnaptPhase::Attached)
}

fn attach_snapt(snapt: &mut Snapt, link: u32, control: ConduitId) -> Result<(), PeerMisbehaved> {
    let hello = Hello {
        oldest: VERSION,
        newest: VERSION,
        role: Role::Control,
        instance: CNAPT,
        link: LinkNumber(link),
    };
    snapt.conduit_arrived(control, hello, NOW);
    let attach = Attach {
        cnapt: ID,
        session: 0,
        snapt: Instance(0),
        initial_limit: INITIAL_LIMIT,
        streams: STREAMS,
        flow_idle: DEFAULT_FLOW_IDLE,
        services: Vec::new(),
    };
    snapt.handle_frame(control, &Frame::Attach(attach), NOW)
}

/// Which procedure has the step that is left out.
fn is_planned(bug: Option<Bug>) -> bool {
    let Some(Bug::NoEffect(step)) = bug else {
        return true;
    };
    match step.sequence() {
        Sequence::Cnapt | Sequence::Snapt => true,
        Sequence::CnaptStar
        | Sequence::SnaptStar
        | Sequence::CnaptOverlapped
        | Sequence::SnaptOverlapped => false,
    }
}

fn bugs(bug: Option<Bug>, side: Side) -> Bugs {
    bug.map_or_else(Bugs::default, |bug| Bugs::of(bug, side))
}

fn renew(number: u64) -> Frame {
    Frame::Renew(Renew {
        number,
        floor: 0,
        last: true,
        entries: Vec::new(),
    })
}

const fn all_redirected(number: u64) -> Frame {
    let complete = true;
    Frame::AllRedirected { number, complete }
}

fn open(stream: StreamId) -> Frame {
    Frame::Open {
        stream,
        floor: 0,
        request: request(),
    }
}

/// How many bytes a conduit has to send.
fn transmit(streams: &mut Streams, conduit: ConduitId) -> usize {
    let mut out = Transmit::default();
    streams.transmit(conduit, NOW, &mut out);
    out.remaining()
}
