//! Bounds that an honest other side does not reach: one machine alone, fed by hand.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use handover_proto::flow::DEFAULT_FLOW_IDLE;
use handover_proto::session::{
    Close, Cnapt, Event, NetworkId, Output, Phase, Procedure, Snapt, SnaptOptions, SnaptPhase,
    Timer, bound,
};
use handover_proto::stream::{
    CreditPool, INITIAL_LIMIT, PeerMisbehaved, STREAMS, Streams, Transmit,
};
use handover_proto::wire::{
    Attach, Attached, CatalogueEntry, Datagram, Decoder, Frame, Hello, Item, Move, OldLink,
    Purpose, RefusedCode, Renew, Request, Role, TransportProtocol, VERSION,
};
use handover_proto::{CnaptId, ConduitId, FlowId, Instance, Instant, LinkNumber, Side, StreamId};
use handover_sim::{request, service};

const ID: CnaptId = CnaptId([9; 32]);
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CONTROL: ConduitId = ConduitId(1);
const SWITCH_TIMEOUT: Duration = Duration::from_secs(60);

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1_000)
}

fn renew(number: u64) -> Frame {
    Frame::Renew(Renew {
        number,
        floor: 0,
        last: true,
        entries: Vec::new(),
    })
}

fn closed(outputs: &[Output]) -> Vec<(ConduitId, Close)> {
    let closed = outputs.iter().filter_map(|output| {
        if let Output::Close { conduit, how, .. } = output {
            Some((*conduit, *how))
        } else {
            None
        }
    });
    closed.collect()
}

// === The CNAPT ===

/// Up to ATTACHED over its first link.
fn cnapt() -> Result<Cnapt, PeerMisbehaved> {
    cnapt_with_round_trip(20)
}

/// The same, over a link on which that took so many milliseconds.
fn cnapt_with_round_trip(millis: u64) -> Result<Cnapt, PeerMisbehaved> {
    let streams = Streams::new(Side::Cnapt, &[], CreditPool::default());
    let mut cnapt = Cnapt::new(ID, Instance(1), Vec::new(), streams);
    cnapt.attach(NetworkId(0), at(0));
    cnapt.decision_suspended(at(0));
    open_networks(&mut cnapt, 1);
    cnapt.control_up(LinkNumber(1), CONTROL, at(20));
    let attached = Attached {
        snapt: Instance(2),
        session: 1,
        virtual_ip: ADDRESS,
        initial_limit: INITIAL_LIMIT,
        streams: STREAMS,
        flow_idle: DEFAULT_FLOW_IDLE,
        services: Vec::new(),
    };
    cnapt.handle_frame(CONTROL, &Frame::Attached(attached), at(20 + millis))?;
    Ok(cnapt)
}

/// There are no hooks to run in the switch of that number.
fn open_networks(cnapt: &mut Cnapt, number: u64) {
    cnapt.networks_closed(number, true, at(0));
    cnapt.network_opened(number, true, at(0));
    cnapt.vpn_opened(number, true, at(0));
}

fn outputs(cnapt: &mut Cnapt) -> Vec<Output> {
    std::iter::from_fn(|| cnapt.poll_output()).collect()
}

//= docs/spec/planned.md#cnapt-33
//= docs/spec/unexpected.md#cnapt-star-21
//= type=test
#[test]
fn cnapt_33_without_all_redirected_it_orders_anew_and_then_gives_up() -> Result<(), PeerMisbehaved>
{
    let mut cnapt = cnapt()?;
    for number in 1..=u64::from(bound::RETRIES) + 1 {
        cnapt.handle_frame(CONTROL, &renew(number), at(40))?;
        assert_eq!(cnapt.phase(), Phase::AwaitAllRedirected);
        assert!(cnapt.armed_timers().contains(&Timer::AllRedirected));
        cnapt.handle_timer(Timer::AllRedirected, at(60_000));
    }
    assert_eq!(cnapt.phase(), Phase::Detached);
    assert!(closed(&outputs(&mut cnapt)).contains(&(CONTROL, Close::Reset)));
    Ok(())
}

//= docs/spec/planned.md#cnapt-11
//= type=test
#[test]
fn cnapt_11_is_prolonged_while_the_link_lives_but_not_for_ever() -> Result<(), PeerMisbehaved> {
    let mut cnapt = cnapt()?;
    let (number, complete) = (1, false);
    cnapt.handle_frame(CONTROL, &renew(number), at(40))?;
    cnapt.handle_frame(CONTROL, &Frame::AllRedirected { number, complete }, at(41))?;
    cnapt.order(NetworkId(1), at(50));
    cnapt.decision_suspended(at(50));
    let mut replies = 0;
    while cnapt.phase() == Phase::AwaitAck {
        let now = at(50) + bound::REPLY * (replies + 1);
        cnapt.heard(CONTROL, now);
        cnapt.handle_timer(Timer::Reply, now);
        replies += 1;
    }
    assert_eq!(replies, bound::REPLY_EXTENSIONS + 1);
    assert_eq!(
        cnapt.phase(),
        Phase::AwaitSuspension,
        "on with the starred steps"
    );
    Ok(())
}

#[test]
fn case_12_the_old_link_is_closed_in_order_and_only_behind_its_markers()
-> Result<(), PeerMisbehaved> {
    let conduit = ConduitId(2);
    let mut cnapt = cnapt()?;
    let (number, complete) = (1, false);
    cnapt.handle_frame(CONTROL, &renew(number), at(40))?;
    cnapt.handle_frame(CONTROL, &Frame::AllRedirected { number, complete }, at(41))?;
    cnapt.conduit_up(CONTROL, conduit, at(0));
    let stream = cnapt.streams_mut().open(request(), at(42));
    let stream = stream.map_err(|_| PeerMisbehaved::NotAllowed("no room for the first"))?;
    cnapt.streams_mut().begin(stream);

    cnapt.order(NetworkId(1), at(50));
    cnapt.decision_suspended(at(50));
    let (number, complete) = (2, true);
    cnapt.handle_frame(CONTROL, &Frame::Ack { number }, at(60))?;
    cnapt.handle_frame(
        CONTROL,
        &Frame::OkToRedirection { number, complete },
        at(61),
    )?;
    assert_eq!(cnapt.phase(), Phase::AwaitMarkers);
    assert_eq!(closed(&outputs(&mut cnapt)), [], "the marker is under way");
    cnapt.handle_frame(conduit, &Frame::LastMessageBeforeRedirection, at(62))?;
    assert_eq!(cnapt.phase(), Phase::AwaitServerServices);
    assert_eq!(closed(&outputs(&mut cnapt)), []);
    let ready = Frame::ServerServicesReadyForRedirection { number };
    cnapt.handle_frame(CONTROL, &ready, at(63))?;
    let both = [(conduit, Close::Drain), (CONTROL, Close::Drain)];
    assert_eq!(closed(&outputs(&mut cnapt)), both);
    Ok(())
}

#[test]
fn cnapt_11_waits_four_round_trips_where_that_is_longer() -> Result<(), PeerMisbehaved> {
    // ATTACHED took 600 ms.
    let mut cnapt = cnapt_with_round_trip(600)?;
    let (number, complete) = (1, false);
    cnapt.handle_frame(CONTROL, &renew(number), at(640))?;
    cnapt.handle_frame(CONTROL, &Frame::AllRedirected { number, complete }, at(650))?;
    cnapt.order(NetworkId(1), at(700));
    cnapt.decision_suspended(at(700));
    cnapt.handle_timeout(at(700 + 2_399));
    assert_eq!(cnapt.phase(), Phase::AwaitAck, "longer than REPLY alone");
    cnapt.handle_timeout(at(700 + 2_400));
    assert_eq!(cnapt.phase(), Phase::AwaitSuspension, "four round trips");
    Ok(())
}

#[test]
fn a_verdict_of_silence_that_comes_late_is_void_after_a_sleep() -> Result<(), PeerMisbehaved> {
    let mut cnapt = cnapt()?;
    let (number, complete) = (1, false);
    cnapt.handle_frame(CONTROL, &renew(number), at(40))?;
    cnapt.handle_frame(CONTROL, &Frame::AllRedirected { number, complete }, at(41))?;
    cnapt.handle_timeout(at(41) + bound::PROBE_IDLE);
    let woken = at(41) + bound::PROBE_IDLE + bound::SILENCE + Duration::from_secs(600);
    cnapt.handle_timeout(woken);
    assert_eq!(cnapt.phase(), Phase::Attached, "it slept, and asks again");
    // A process that is awake is on time.
    while let Some(next) = cnapt.next_timeout()
        && next < woken + bound::SILENCE
    {
        cnapt.handle_timeout(next);
        assert_eq!(cnapt.phase(), Phase::Attached);
    }
    cnapt.handle_timeout(woken + bound::SILENCE);
    assert_eq!(cnapt.phase(), Phase::Detached, "now it has heard nothing");
    Ok(())
}

#[test]
fn an_all_redirected_of_another_number_ends_no_wait() -> Result<(), PeerMisbehaved> {
    let mut cnapt = cnapt()?;
    cnapt.handle_frame(CONTROL, &renew(1), at(40))?;
    for (number, phase) in [
        (0, Phase::AwaitAllRedirected),
        (2, Phase::AwaitAllRedirected),
        (1, Phase::Attached),
    ] {
        let complete = false;
        cnapt.handle_frame(CONTROL, &Frame::AllRedirected { number, complete }, at(41))?;
        assert_eq!(cnapt.phase(), phase);
    }
    Ok(())
}

#[test]
fn a_superseded_cnapt_stops_for_good() -> Result<(), PeerMisbehaved> {
    let mut cnapt = cnapt()?;
    let code = RefusedCode::Superseded;
    cnapt.handle_frame(CONTROL, &Frame::Refused { code }, at(50))?;
    cnapt.attach(NetworkId(0), at(60));
    assert_eq!(cnapt.phase(), Phase::Refused);
    assert_eq!(cnapt.next_timeout(), None);
    Ok(())
}

#[test]
fn a_control_channel_that_comes_after_its_bound_is_closed() -> Result<(), PeerMisbehaved> {
    let streams = Streams::new(Side::Cnapt, &[], CreditPool::default());
    let mut cnapt = Cnapt::new(ID, Instance(1), Vec::new(), streams);
    cnapt.attach(NetworkId(0), at(0));
    cnapt.decision_suspended(at(0));
    open_networks(&mut cnapt, 1);
    let late = at(0) + bound::DIAL;
    cnapt.handle_timeout(late);
    assert_eq!(cnapt.phase(), Phase::Detached);
    cnapt.control_up(LinkNumber(1), CONTROL, late);
    assert_eq!(closed(&outputs(&mut cnapt)), [(CONTROL, Close::Reset)]);
    Ok(())
}

#[test]
fn what_hooks_of_another_switch_did_is_not_taken_for_an_answer() {
    let streams = Streams::new(Side::Cnapt, &[], CreditPool::default());
    let mut cnapt = Cnapt::new(ID, Instance(1), Vec::new(), streams);
    cnapt.attach(NetworkId(0), at(0));
    cnapt.decision_suspended(at(0));
    cnapt.networks_closed(1, true, at(0));
    cnapt.network_opened(1, false, at(0));
    assert_eq!(cnapt.phase(), Phase::Detached);
    cnapt.attach(NetworkId(1), at(1));
    cnapt.decision_suspended(at(1));
    open_networks(&mut cnapt, 1);
    assert_eq!(cnapt.phase(), Phase::AwaitClosing);
    open_networks(&mut cnapt, 2);
    assert_eq!(cnapt.phase(), Phase::AwaitControl);
}

#[test]
fn leaving_closes_every_conduit() -> Result<(), PeerMisbehaved> {
    let mut cnapt = cnapt()?;
    cnapt.handle_frame(CONTROL, &renew(1), at(40))?;
    let (number, complete) = (1, false);
    cnapt.handle_frame(CONTROL, &Frame::AllRedirected { number, complete }, at(41))?;
    cnapt.conduit_up(CONTROL, ConduitId(2), at(42));
    cnapt.detach();
    let closed = closed(&outputs(&mut cnapt));
    assert!(closed.contains(&(CONTROL, Close::Drain)), "DETACH goes out");
    assert!(closed.contains(&(ConduitId(2), Close::Reset)));
    Ok(())
}

// === The SNAPT ===

fn snapt() -> Snapt {
    snapt_with(Vec::new())
}

fn snapt_with(services: Vec<CatalogueEntry>) -> Snapt {
    let options = SnaptOptions {
        cnapt: ID,
        instance: Instance(2),
        session: 1,
        virtual_ip: ADDRESS,
        services,
        switch_timeout: SWITCH_TIMEOUT,
        flow_idle: DEFAULT_FLOW_IDLE,
    };
    Snapt::new(options, CreditPool::default())
}

fn hello(role: Role, instance: u64, link: u32) -> Hello {
    Hello {
        oldest: VERSION,
        newest: VERSION,
        role,
        instance: Instance(instance),
        link: LinkNumber(link),
    }
}

/// A link of `instance` attaches.
fn attach(snapt: &mut Snapt, control: ConduitId, instance: u64) -> Result<(), PeerMisbehaved> {
    snapt.conduit_arrived(control, hello(Role::Control, instance, 1), at(0));
    ask_to_attach(snapt, control)
}

fn ask_to_attach(snapt: &mut Snapt, control: ConduitId) -> Result<(), PeerMisbehaved> {
    let attach = Attach {
        cnapt: ID,
        session: 0,
        snapt: Instance(0),
        initial_limit: INITIAL_LIMIT,
        streams: STREAMS,
        flow_idle: DEFAULT_FLOW_IDLE,
        services: Vec::new(),
    };
    snapt.handle_frame(control, &Frame::Attach(attach), at(0))
}

fn move_to(snapt: &mut Snapt, control: ConduitId, number: u64) -> Result<(), PeerMisbehaved> {
    let (cnapt, old) = (ID, OldLink::Dead);
    snapt.handle_frame(
        control,
        &Frame::SwitchUnexpected(Move::new(number, cnapt, old)),
        at(0),
    )
}

fn snapt_outputs(snapt: &mut Snapt) -> Vec<Output> {
    std::iter::from_fn(|| snapt.poll_output()).collect()
}

//= docs/spec/planned.md#snapt-20
//= docs/spec/unexpected.md#snapt-star-12
//= type=test
#[test]
fn snapt_20_without_renew_it_waits_for_the_next_order() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    snapt.handle_timeout(at(0) + bound::PROGRESS);
    assert_eq!(snapt.phase(), SnaptPhase::AwaitUnexpected);
    move_to(&mut snapt, CONTROL, 2)?;
    snapt.handle_frame(CONTROL, &renew(2), at(0))?;
    assert_eq!(snapt.phase(), SnaptPhase::Attached);
    Ok(())
}

#[test]
fn a_session_whose_link_died_before_its_first_order_is_released() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    snapt.conduit_ended(CONTROL, at(0));
    assert_eq!(snapt.phase(), SnaptPhase::New);
    snapt.handle_timeout(at(0) + SWITCH_TIMEOUT);
    assert_eq!(snapt.phase(), SnaptPhase::Released);
    Ok(())
}

#[test]
fn a_conduit_whose_link_never_attaches_is_held_only_so_long() {
    let mut snapt = snapt();
    let conduit = ConduitId(7);
    snapt.conduit_arrived(conduit, hello(Role::Conduit, 1, 1), at(0));
    assert!(snapt.is_held(conduit));
    snapt.handle_timeout(at(0) + bound::HELD);
    assert!(!snapt.is_held(conduit));
    assert_eq!(
        closed(&snapt_outputs(&mut snapt)),
        [(conduit, Close::Reset)]
    );
}

#[test]
fn more_conduits_than_may_be_held_push_out_the_oldest() {
    let mut snapt = snapt();
    let all: Vec<ConduitId> = (0..=bound::HELD_CONDUITS as u64).map(ConduitId).collect();
    for (conduit, millis) in all.iter().zip(0..) {
        snapt.conduit_arrived(*conduit, hello(Role::Conduit, 1, 1), at(millis));
    }
    assert!(!snapt.is_held(all[0]) && all[1..].iter().all(|one| snapt.is_held(*one)));
}

#[test]
fn more_conduits_than_a_client_may_have_push_out_the_oldest_that_nobody_needs()
-> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    snapt.handle_frame(CONTROL, &renew(1), at(0))?;
    let used = ConduitId(2);
    snapt.conduit_arrived(used, hello(Role::Conduit, 1, 1), at(1));
    let (number, purpose) = (1, Purpose::Streams);
    snapt.handle_frame(used, &Frame::Use { number, purpose }, at(1))?;
    let many = 2 * bound::CONDUITS as u64;
    for index in 0..many {
        let (role, link) = if index % 2 == 0 {
            (Role::Control, 2)
        } else {
            (Role::Conduit, 1)
        };
        snapt.conduit_arrived(ConduitId(10 + index), hello(role, 1, link), at(2));
    }
    let closed = closed(&snapt_outputs(&mut snapt));
    assert_eq!(closed.len() as u64, many + 2 - bound::CONDUITS as u64);
    assert_eq!(closed[0], (ConduitId(10), Close::Reset), "a link of no use");
    assert!(!closed.iter().any(|(one, _)| [CONTROL, used].contains(one)));
    assert_eq!(snapt.current_link(), Some(CONTROL));
    Ok(())
}

#[test]
fn an_instance_that_lost_the_session_does_not_get_it_back() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 5)?;
    let newer = ConduitId(2);
    attach(&mut snapt, newer, 3)?;
    move_to(&mut snapt, newer, 1)?;
    snapt.handle_frame(newer, &renew(1), at(0))?;
    assert_eq!(
        snapt.current_link(),
        None,
        "a dead process could have sent that"
    );
    assert_eq!(snapt.phase(), SnaptPhase::AwaitRenewal(Procedure::Starred));
    snapt.handle_frame(newer, &Frame::ProbeReply { token: 1 }, at(0))?;
    assert_eq!(
        snapt.current_link(),
        Some(newer),
        "but not the answer to a probe"
    );
    let late = ConduitId(3);
    attach(&mut snapt, late, 1)?;
    move_to(&mut snapt, late, 6)?;
    assert_eq!(snapt.current_link(), Some(newer));
    assert!(closed(&snapt_outputs(&mut snapt)).contains(&(late, Close::Drain)));
    Ok(())
}

#[test]
fn a_cnapt_that_asks_without_reading_the_answers_is_cut_off() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    let refused = (0..=bound::QUEUED_FRAMES).find_map(|_| ask_to_attach(&mut snapt, CONTROL).err());
    assert_eq!(refused, Some(PeerMisbehaved::DoesNotRead));
    Ok(())
}

#[test]
fn only_a_port_of_the_service_is_connected_to() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt_with(vec![CatalogueEntry {
        ports: 8000..=8001,
        ..service()
    }]);
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    let mut connected = Vec::new();
    for (index, port) in (7999..=8002).enumerate() {
        let asked = Request { port, ..request() };
        let open = Frame::Open {
            stream: StreamId::new(Side::Cnapt, index as u64),
            floor: 0,
            request: asked,
        };
        snapt.handle_frame(CONTROL, &open, at(1))?;
        connected.extend(snapt_outputs(&mut snapt).into_iter().filter_map(|output| {
            if let Output::Connect { request, .. } = output {
                Some(request.port)
            } else {
                None
            }
        }));
    }
    assert_eq!(connected, [8000, 8001]);
    Ok(())
}

#[test]
fn services_that_change_are_told_at_once_and_streams_of_one_that_went_live_on()
-> Result<(), PeerMisbehaved> {
    let mut snapt = snapt_with(vec![service()]);
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    let open = |index| Frame::Open {
        stream: StreamId::new(Side::Cnapt, index),
        floor: 0,
        request: request(),
    };
    snapt.handle_frame(CONTROL, &open(0), at(1))?;
    sent(&mut snapt);
    let other = CatalogueEntry {
        name: "other".to_owned(),
        ..service()
    };
    snapt.set_services(vec![other.clone()]);
    snapt.handle_frame(CONTROL, &open(1), at(2))?;
    let catalogues = sent(&mut snapt).into_iter().filter_map(|frame| {
        if let Frame::Attached(attached) = frame {
            Some(attached.services)
        } else {
            None
        }
    });
    assert_eq!(catalogues.collect::<Vec<_>>(), [vec![other]]);
    assert_eq!(snapt.streams().len(), 1, "the first, and not the second");
    Ok(())
}

#[test]
fn connectionless_services_change_too() -> Result<(), PeerMisbehaved> {
    let (mut snapt, conduit) = (snapt(), ConduitId(2));
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    snapt.conduit_arrived(conduit, hello(Role::Conduit, 1, 1), at(1));
    let (number, purpose) = (1, Purpose::Datagrams);
    snapt.handle_frame(conduit, &Frame::Use { number, purpose }, at(1))?;
    let datagram = |index| {
        Frame::Datagram(Datagram {
            flow: FlowId::new(Side::Cnapt, index),
            sequence: 0,
            request: request(),
            payload: Bytes::new(),
        })
    };
    snapt.handle_frame(conduit, &datagram(0), at(1))?;
    assert_eq!(snapt.streams().flows().len(), 0);
    snapt.set_services(vec![CatalogueEntry {
        protocol: TransportProtocol::Udp,
        ..service()
    }]);
    snapt.handle_frame(conduit, &datagram(1), at(2))?;
    assert_eq!(snapt.streams().flows().len(), 1);
    snapt.set_services(vec![service()]);
    snapt.handle_frame(conduit, &datagram(2), at(3))?;
    assert_eq!(snapt.streams().flows().len(), 1, "the second lives on");
    Ok(())
}

#[test]
fn an_application_connected_for_one_process_is_not_given_to_the_next() -> Result<(), PeerMisbehaved>
{
    let stream = StreamId::new(Side::Cnapt, 0);
    let slow = request();
    let next = Request {
        origin: (Ipv4Addr::LOCALHOST, 50_001).into(),
        ..request()
    };
    let open = |request: &Request| Frame::Open {
        stream,
        floor: 0,
        request: request.clone(),
    };
    let mut snapt = snapt_with(vec![service()]);
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    snapt.handle_frame(CONTROL, &open(&slow), at(1))?;
    assert!(snapt.streams().awaits(stream, &slow));

    let newer = ConduitId(2);
    attach(&mut snapt, newer, 3)?;
    move_to(&mut snapt, newer, 1)?;
    snapt.handle_frame(newer, &Frame::ProbeReply { token: 1 }, at(2))?;
    assert!(!snapt.streams().awaits(stream, &slow));
    snapt.handle_frame(newer, &open(&next), at(3))?;
    assert!(!snapt.streams().awaits(stream, &slow));
    assert!(snapt.streams().awaits(stream, &next));
    snapt.streams_mut().connected(stream);
    assert!(!snapt.streams().awaits(stream, &next), "one is enough");
    Ok(())
}

#[test]
fn a_client_whose_key_is_removed_is_told_and_its_session_ends() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    sent(&mut snapt);
    snapt.end(Some(RefusedCode::Revoked));
    snapt.end(None);
    assert_eq!(snapt.phase(), SnaptPhase::Released);
    let outputs = snapt_outputs(&mut snapt);
    let released = |output: &&Output| matches!(output, Output::Event(Event::Released { .. }));
    assert_eq!(outputs.iter().filter(released).count(), 1);
    let last = outputs.into_iter().find_map(|output| {
        if let Output::Close { conduit, how, rest } = output {
            Some((conduit, how, frames(&rest)))
        } else {
            None
        }
    });
    let refused = Frame::Refused {
        code: RefusedCode::Revoked,
    };
    assert_eq!(last, Some((CONTROL, Close::Drain, vec![refused])));
    Ok(())
}

/// The shell may hear of the end later than a conduit of the client comes.
#[test]
fn a_session_that_is_over_takes_no_conduit() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    snapt.end(None);
    snapt_outputs(&mut snapt);
    let late = ConduitId(2);
    attach(&mut snapt, late, 1)?;
    let outputs = snapt_outputs(&mut snapt);
    let closed = |output: &Output| {
        let Output::Close { conduit, how, .. } = output else {
            return false;
        };
        (*conduit, *how) == (late, Close::Reset)
    };
    assert!(outputs.iter().any(closed), "{outputs:?}");
    assert!(!snapt.has_link(late));
    assert_eq!(snapt.phase(), SnaptPhase::Released);
    Ok(())
}

/// What the machine has for its control channel.
fn sent(snapt: &mut Snapt) -> Vec<Frame> {
    let mut out = Transmit::default();
    snapt.streams_mut().transmit(CONTROL, at(3), &mut out);
    let mut slices = [IoSlice::new(&[]); 8];
    let count = out.slices(&mut slices);
    let bytes: Vec<u8> = slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    frames(&bytes)
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    std::iter::from_fn(|| decoder.next(&mut bytes).ok().flatten())
        .filter_map(|item| match item {
            Item::Frame(frame) => Some(frame),
            Item::Data { .. } => None,
        })
        .collect()
}

#[test]
fn a_cnapt_that_opens_what_is_refused_without_reading_is_cut_off() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    let open = |index| Frame::Open {
        stream: StreamId::new(Side::Cnapt, index),
        floor: 0,
        request: request(),
    };
    for index in 0..u64::from(STREAMS) {
        snapt.handle_frame(CONTROL, &open(index), at(1))?;
    }
    let one_more = snapt.handle_frame(CONTROL, &open(u64::from(STREAMS)), at(1));
    assert_eq!(one_more, Err(PeerMisbehaved::DoesNotRead));
    Ok(())
}

#[test]
fn leaving_releases_the_session_at_once() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    move_to(&mut snapt, CONTROL, 1)?;
    snapt.handle_frame(CONTROL, &Frame::Detach, at(0))?;
    assert_eq!(snapt.phase(), SnaptPhase::Released);
    let left =
        |output: &Output| matches!(output, Output::Event(Event::Released { left: true, .. }));
    assert!(snapt_outputs(&mut snapt).iter().any(left));
    Ok(())
}

//= docs/spec/unexpected.md#snapt-star-01
//= type=test
#[test]
fn an_identity_that_is_not_the_keys_is_refused() -> Result<(), PeerMisbehaved> {
    let mut snapt = snapt();
    attach(&mut snapt, CONTROL, 1)?;
    let (number, cnapt, old) = (1, CnaptId([8; 32]), OldLink::Dead);
    let order = Frame::SwitchUnexpected(Move::new(number, cnapt, old));
    assert_eq!(
        snapt.handle_frame(CONTROL, &order, at(0)),
        Err(PeerMisbehaved::WrongIdentity)
    );
    assert_eq!(snapt.phase(), SnaptPhase::New);
    Ok(())
}
