//! What the shells of both modules do, and the applications: outputs are carried out, frames put on their way.

use std::collections::VecDeque;
use std::io::IoSlice;

use handover_proto::session::{Close, Event, Output};
use handover_proto::stream::{Streams, Transmit, code};
use handover_proto::wire::{Decoder, Frame, Item};
use handover_proto::{ConduitId, Side, StreamId};

use super::{Broken, Carried, Hooks, NOW, State};
use crate::application::{offered, request};
use crate::model::Configuration;
use crate::model::talk::{End, Ended, Talk};

impl State {
    pub(super) fn streams(&mut self, side: Side) -> &mut Streams {
        match side {
            Side::Cnapt => self.cnapt.streams_mut(),
            Side::Snapt => self.snapt.streams_mut(),
        }
    }

    pub(super) fn settle(&mut self, world: &Configuration) -> Result<(), Broken> {
        self.drain(Side::Cnapt, None, world)?;
        self.drain(Side::Snapt, None, world)
    }

    fn poll(&mut self, side: Side) -> Option<Output> {
        match side {
            Side::Cnapt => self.cnapt.poll_output(),
            Side::Snapt => self.snapt.poll_output(),
        }
    }

    /// Carries out what a machine asks for; `run` is the run of the other module whose frame it has read.
    pub(super) fn drain(
        &mut self,
        side: Side,
        run: Option<u8>,
        world: &Configuration,
    ) -> Result<(), Broken> {
        while let Some(output) = self.poll(side) {
            match output {
                Output::Wake(conduit) => self.pump(side, conduit)?,
                Output::Look(stream) => self.serve(side, stream)?,
                Output::Reset { stream, code } => self.reset(side, stream, code)?,
                Output::Connect { stream, .. } => self.connect(side, stream, run)?,
                Output::Offer { services } => self.snapt.offered(offered(services)),
                // No small world has flows.
                Output::ConnectFlow { .. } | Output::Deliver { .. } | Output::EndFlow(_) => {}
                Output::DialLink { link, .. } => self.dials.push(link),
                Output::DialConduit { link } => self.dial_conduit(link, world),
                Output::Close { conduit, how, rest } => self.close(side, conduit, how, &rest),
                Output::SuspendDecision => self.cnapt.decision_suspended(NOW),
                Output::WakeDecision => {}
                Output::CloseNetworks { number, .. } => {
                    self.run_hooks(Hooks::Close(number), world);
                }
                Output::OpenNetwork { number, .. } => self.run_hooks(Hooks::Open(number), world),
                Output::OpenVpn { number, .. } => self.run_hooks(Hooks::OpenVpn(number), world),
                Output::Event(event) => self.note(&event, world)?,
            }
        }
        Ok(())
    }

    fn note(&mut self, event: &Event, world: &Configuration) -> Result<(), Broken> {
        match event {
            Event::Switched(report) => {
                let (promised, read) = std::mem::take(&mut self.markers);
                if report.planned && read.iter().any(|count| *count < promised) {
                    return Err(format!(
                        "called planned with {read:?} of {promised} markers"
                    ));
                }
                if let Some(from) = report.from {
                    self.cnapt.release_standby(from);
                }
            }
            Event::Redirected { number, link } => {
                let run = self.connections.get(link).map_or(self.run, |one| one.run);
                let (last_run, last) = self.redirected;
                if run == last_run && *number <= last {
                    return Err(format!("the SNAPT followed order {number} after {last}"));
                }
                let first = run != last_run && !self.turned_away;
                if first && *number != 1 && self.only_restarts_struck(world) {
                    return Err(format!(
                        "a new process was followed at order {number} first"
                    ));
                }
                self.redirected = (run, *number);
            }
            Event::Lost { network, .. } | Event::Unreachable { network } => {
                self.decides = true;
                self.next_network = 1 - network.0;
            }
            Event::Released { .. } => self.lose_session(),
            Event::SessionLost { .. } => self.session_lost = false,
            Event::Attached { .. }
            | Event::Offered { .. }
            | Event::Began { .. }
            | Event::Stalled { .. }
            | Event::Recovered { .. }
            | Event::StandsBy { .. }
            | Event::StandbyLost { .. }
            | Event::Settled { .. }
            | Event::Refused { .. }
            | Event::TakenOver { .. }
            | Event::Detached => {}
        }
        Ok(())
    }

    /// Hooks take their time where the world has any.
    fn run_hooks(&mut self, asked: Hooks, world: &Configuration) {
        self.hooks = Some(asked);
        if !world.hooks {
            self.hooks_end(true);
        }
    }

    pub(super) fn hooks_end(&mut self, done: bool) {
        match self.hooks.take() {
            Some(Hooks::Close(number)) => self.cnapt.networks_closed(number, done, NOW),
            Some(Hooks::Open(number)) => self.cnapt.network_opened(number, done, NOW),
            Some(Hooks::OpenVpn(number)) => self.cnapt.vpn_opened(number, done, NOW),
            None => {}
        }
    }

    fn dial_conduit(&mut self, control: ConduitId, world: &Configuration) {
        let there = self.connections.iter();
        let there = there.filter(|(id, one)| one.link == control && **id != control);
        if there.count() < world.conduits {
            let conduit = self.connect_conduit(Some(control));
            self.cnapt.conduit_up(control, conduit, NOW);
        } else {
            self.cnapt.conduit_failed(control, NOW);
        }
    }

    /// What a machine sends on a conduit is under way at once.
    fn pump(&mut self, side: Side, conduit: ConduitId) -> Result<(), Broken> {
        loop {
            let mut out = Transmit::default();
            self.streams(side).transmit(conduit, NOW, &mut out);
            if out.is_empty() {
                return Ok(());
            }
            while !out.is_empty() {
                let mut slices = [IoSlice::new(&[]); 16];
                let filled = out.slices(&mut slices);
                let bytes: Vec<u8> = slices[..filled]
                    .iter()
                    .flat_map(|one| one.to_vec())
                    .collect();
                out.advance(bytes.len());
                self.send(side, conduit, &bytes)?;
            }
        }
    }

    fn send(&mut self, side: Side, conduit: ConduitId, bytes: &[u8]) -> Result<(), Broken> {
        let mut decoder = Decoder::default();
        let mut input = bytes;
        while let Some(item) = decoder
            .next(&mut input)
            .map_err(|error| error.to_string())?
        {
            let carried = match item {
                Item::Frame(Frame::Probe { token }) => {
                    self.answer_probe(side, conduit, token);
                    continue;
                }
                // It tells the CNAPT nothing.
                Item::Frame(Frame::Hello(_)) if side == Side::Snapt => continue,
                Item::Frame(frame) => Carried::Frame(frame),
                Item::Data {
                    stream,
                    offset,
                    bytes,
                } => Carried::Data(stream, offset, bytes.to_vec()),
            };
            self.put(side, conduit, carried);
        }
        Ok(())
    }

    pub(super) fn put(&mut self, side: Side, conduit: ConduitId, carried: Carried) {
        if let Some(connection) = self.connections.get_mut(&conduit) {
            let to = side.other() as usize;
            let over = matches!(connection.pipes[to].back(), Some(Carried::End));
            if connection.open[to] && !over {
                connection.pipes[to].push_back(carried);
            }
        }
    }

    /// A process that lives answers at once.
    fn answer_probe(&mut self, side: Side, conduit: ConduitId, token: u64) {
        let lives = self.connections.get(&conduit).is_some_and(|one| {
            let over = |pipe: &VecDeque<Carried>| matches!(pipe.back(), Some(Carried::End));
            one.open[side.other() as usize] && !one.pipes.iter().any(over)
        });
        if lives {
            let reply = Frame::ProbeReply { token };
            // It is allowed on every control channel, where a probe has just left.
            let _allowed = self.handle(conduit, side, &reply);
        }
    }

    pub(super) fn close(&mut self, side: Side, conduit: ConduitId, how: Close, rest: &[u8]) {
        if !rest.is_empty() {
            let _decodable = self.send(side, conduit, rest);
        }
        self.put(side, conduit, Carried::End);
        if let Some(connection) = self.connections.get_mut(&conduit) {
            let unheard = connection.run == self.run && self.redirected.0 != self.run;
            self.turned_away |= side == Side::Snapt && unheard;
            connection.reset[side.other() as usize] |= how == Close::Reset;
        }
        self.shut(conduit, side);
    }

    // === Applications ===

    pub(super) fn open(&mut self, side: Side, kind: u8) -> Result<(), Broken> {
        let opened = self.streams(side).open(request(), NOW);
        let stream = opened.map_err(|error| error.to_string())?;
        let cnapt_run = match side {
            Side::Cnapt => self.run,
            Side::Snapt => self.redirected.0,
        };
        let talk = Talk::new(stream, self.run_of(side), cnapt_run, kind);
        self.talks.push(talk);
        self.serve(side, stream)?;
        self.streams(side).begin(stream);
        Ok(())
    }

    const fn run_of(&self, side: Side) -> u8 {
        match side {
            Side::Cnapt => self.run,
            Side::Snapt => self.snapt_run,
        }
    }

    fn talk(&self, side: Side, stream: StreamId) -> Option<usize> {
        self.talks.iter().rposition(|talk| {
            talk.stream == stream
                && if talk.opens(side) {
                    talk.run == self.run_of(side)
                } else {
                    talk.acceptor.is_some()
                }
        })
    }

    /// The module at `side` runs a request.
    fn connect(&mut self, side: Side, stream: StreamId, run: Option<u8>) -> Result<(), Broken> {
        let run = run.unwrap_or(self.run_of(side.other()));
        let talk = self
            .talks
            .iter_mut()
            .find(|one| one.stream == stream && one.run == run);
        let Some(talk) = talk else {
            return Err(format!("a request that nobody made: {stream}"));
        };
        if talk.acceptor.replace(End::default()).is_some() {
            return Err(format!("a request was run twice: {stream}"));
        }
        self.streams(side).connected(stream);
        self.serve(side, stream)
    }

    /// The application does all that it can.
    pub(super) fn serve(&mut self, side: Side, stream: StreamId) -> Result<(), Broken> {
        while let Some(index) = self.talk(side, stream)
            && let Some(view) = self.streams(side).view(stream)
        {
            let mut talk = self.talks[index];
            let reads = talk.reads(side);
            let (other, through, goal) = {
                let other = talk.end(side.other()).map(|other| *other);
                let written = talk.end(side).map_or(0, |end| end.written);
                (other, talk.is_through(side, written), talk.goal(side))
            };
            let Some(end) = talk.end(side) else {
                return Ok(());
            };
            if view.bytes && reads {
                let from = end.read;
                let count = self.take(side, &talk, from)?;
                if let Some(end) = self.talks[index].end(side) {
                    end.read += count;
                }
            } else if view.end && reads {
                end.ended = Some(Ended::Clean);
                let truthful = other.is_some_and(|other| other.closed && other.written == end.read);
                self.talks[index] = talk;
                self.streams(side).end_delivered(stream);
                if !truthful {
                    return Err(format!("untrue end of {stream} at {side:?}: {talk:?}"));
                }
            } else if !view.read_over && view.room > 0 && end.written < goal {
                let written = end.written;
                end.written += 1;
                self.talks[index] = talk;
                self.streams(side).write(stream, talk.next(side, written));
            } else if through && !end.closed && !view.read_over {
                end.closed = true;
                self.talks[index] = talk;
                self.streams(side).finish(stream);
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The application reads a piece; says how many bytes.
    fn take(&mut self, side: Side, talk: &Talk, from: u64) -> Result<u64, Broken> {
        let Some(piece) = self.streams(side).take(talk.stream) else {
            return Ok(0);
        };
        let count = piece.len();
        for (offset, byte) in (from..).zip(&piece) {
            if *byte != talk.byte(side.other(), offset) {
                return Err(format!(
                    "wrong byte {offset} of {} at {side:?}",
                    talk.stream
                ));
            }
        }
        self.streams(side).delivered(talk.stream, piece, count, NOW);
        Ok(count as u64)
    }

    fn reset(&mut self, side: Side, stream: StreamId, code: u16) -> Result<(), Broken> {
        let Some(index) = self.talk(side, stream) else {
            return Ok(());
        };
        let talk = &mut self.talks[index];
        let taken_over = side == Side::Snapt && talk.cnapt_run != self.run;
        talk.excused |= code == code::TIMED_OUT
            || (code == code::SESSION_LOST && (self.session_lost || taken_over));
        if let Some(end) = talk.end(side) {
            end.ended = Some(Ended::Reset);
        }
        if talk.excused {
            Ok(())
        } else {
            Err(format!(
                "{stream} was reset at {side:?} for no reason: {code}"
            ))
        }
    }
}
