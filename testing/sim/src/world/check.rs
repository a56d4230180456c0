//! What must hold: always, and when everything is over.

use std::collections::BTreeMap;

use handover_proto::session::{Phase, SnaptPhase, SwitchReport};
use handover_proto::stream::{CreditPool, INITIAL_LIMIT, MAX_CONDUITS, STREAM_CREDIT};
use handover_proto::wire::{Frame, Move, OldLink};
use handover_proto::{ConduitId, Side};

use super::{Broken, Carried, World};
use crate::application::{Closing, Ended, Key};

impl World {
    /// Every wait ends, and memory is bounded by credit: by what this side has given, and, for what it
    /// may have to send again, by what the other gave. That is known late, so of the other side it is the
    /// most that it ever gave, twice: for streams that it has forgotten already and for those that it has.
    pub(super) fn check_always(&mut self) {
        for side in [Side::Cnapt, Side::Snapt] {
            let taken = self.taken_credit(side);
            let most = &mut self.most_credit[side as usize];
            *most = taken.max(*most);
        }
        for side in [Side::Cnapt, Side::Snapt] {
            let streams = self.streams(side);
            let (buffered, count) = (streams.buffered(), streams.len() as u64);
            let unopened = count * u64::from(INITIAL_LIMIT);
            let given = self.taken_credit(side) + 2 * self.most_credit[side.other() as usize];
            if buffered > given + unopened {
                self.break_with(format!(
                    "{side:?} buffers {buffered} bytes of {count} streams with {given} bytes of credit"
                ));
            }
            self.check_waits(side);
        }
    }

    pub(super) const fn count_marker(&mut self, side: Side, frame: &Frame) {
        if let Frame::SwitchStep1 { conduits, .. } = frame {
            self.markers = (*conduits, [0; 2]);
        } else if let Frame::SwitchStep2(Move {
            old: OldLink::Draining { conduits },
            ..
        }) = frame
        {
            // Markers on other conduits may have been read before it.
            self.markers.0 = *conduits;
        } else if let Frame::LastMessageBeforeRedirection = frame {
            self.markers.1[side as usize] += 1;
        }
    }

    /// A switch is called planned only if every marker arrived, both ways.
    pub(super) fn check_report(&mut self, report: &SwitchReport) {
        let (promised, read) = std::mem::take(&mut self.markers);
        if report.planned && read.iter().any(|count| *count < promised) {
            self.break_with(format!(
                "switch {} is called planned with {read:?} of {promised} markers",
                report.number
            ));
        }
    }

    /// What `side` is told of a stream must be true: no byte acknowledged that was not written, and no
    /// more credit than a stream may have.
    pub(super) fn check_frame(&mut self, side: Side, frame: &Frame) {
        let Frame::Received {
            stream,
            arrived,
            limit,
        } = *frame
        else {
            return;
        };
        let Some(key) = self.key(side, stream) else {
            return;
        };
        let Some(conversation) = self.conversations.get(&key) else {
            return;
        };
        let written = conversation.at(side).map_or(0, |one| one.written);
        let read = conversation.at(side.other()).map_or(0, |one| one.received);
        if arrived > written + 1 || limit > read + STREAM_CREDIT {
            self.break_with(format!(
                "{side:?} is told that {arrived} of {written} bytes of {stream} arrived, and may \
                 send up to {limit} of which {read} are read"
            ));
        }
    }

    /// Which order of its present process the session was moved by last, if any.
    pub fn followed(&self) -> Option<u64> {
        (self.redirected.0 == self.run).then_some(self.redirected.1)
    }

    /// Of one process the SNAPT follows a later order only (design rule 7).
    pub(super) fn check_order(&mut self, number: u64, link: ConduitId) {
        let Some(run) = self.connections.get(&link).map(|one| one.run) else {
            return;
        };
        let (last_run, last) = self.redirected;
        if run == last_run && number <= last {
            self.break_with(format!("the SNAPT followed order {number} after {last}"));
        }
        self.redirected = (run, number);
    }

    /// Notes from now on which bytes of each stream are carried.
    pub fn watch_resends(&mut self) {
        self.carried = Some(BTreeMap::new());
    }

    /// How many bytes of `key`'s stream, all of which have arrived, came more than once since
    /// [`World::watch_resends`].
    pub fn resent(&self, key: Key) -> u64 {
        let both = [Side::Cnapt, Side::Snapt].map(|side| (side, key.stream));
        let carried = self.carried.iter();
        let of_stream = carried.flat_map(|all| both.iter().filter_map(|place| all.get(place)));
        of_stream.map(Carried::again).sum()
    }

    /// Whether the session runs on both sides.
    pub fn is_attached(&self) -> bool {
        self.cnapt.phase() == Phase::Attached && self.snapt.phase() == SnaptPhase::Attached
    }

    /// Whether the session runs and no stream is left.
    pub fn is_calm(&self) -> bool {
        self.is_attached() && self.cnapt.streams().is_empty() && self.snapt.streams().is_empty()
    }

    /// Checks what must hold when every application is through: all bytes arrived, nothing is left.
    ///
    /// # Errors
    ///
    /// If something does not hold.
    pub fn check_calm(&mut self) -> Result<(), Broken> {
        self.failed()?;
        if !self.is_calm() {
            return Err(self.failure(format!("not calm: {}", self.describe())));
        }
        for side in [Side::Cnapt, Side::Snapt] {
            let buffered = self.streams(side).buffered();
            let taken = self.taken_credit(side);
            if buffered + taken > 0 {
                return Err(self.failure(format!(
                    "{side:?} keeps {buffered} bytes and {taken} bytes of credit for no stream"
                )));
            }
        }
        self.check_arrived()
    }

    /// Checks that every connection between the modules is of the link that carries or stands by, once the
    /// operating systems had the time to give up the others.
    ///
    /// # Errors
    ///
    /// If another is left.
    pub fn check_leftovers(&self) -> Result<(), Broken> {
        let control = self.snapt.current_link();
        let network = self.cnapt.network();
        let stands_by = |id| self.standbys && Some(id) != network && self.cnapt.has_standby(id);
        let stale = self.connections.iter().find(|(conduit, one)| {
            let whole = one.is_open(Side::Cnapt) && one.is_open(Side::Snapt) && !one.dead;
            let carries =
                Some(one.network) == network && one.control == (control == Some(**conduit));
            !whole || !(carries || stands_by(one.network))
        });
        if let Some((conduit, one)) = stale {
            return Err(self.failure(format!("conduit {} is left over: {one:?}", conduit.0)));
        }
        let carrying = self
            .connections
            .values()
            .filter(|one| Some(one.network) == network);
        let count = carrying.count();
        if count > MAX_CONDUITS + 1 {
            return Err(self.failure(format!("{count} conduits are left")));
        }
        Ok(())
    }

    /// Every conversation that nothing disturbed ended cleanly with all bytes.
    fn check_arrived(&self) -> Result<(), Broken> {
        for (key, conversation) in &self.conversations {
            let Some(acceptor) = &conversation.acceptor else {
                if conversation.excused {
                    continue;
                }
                return Err(self.failure(format!("{} was never run", key.stream)));
            };
            let opener = &conversation.opener;
            if conversation.excused {
                continue;
            }
            let here = conversation.opened_at;
            for (writer, reader, side) in
                [(opener, acceptor, here.other()), (acceptor, opener, here)]
            {
                let whole = reader.received == writer.written;
                let ended = reader.ended == Some(Ended::Clean);
                if !whole || !ended || writer.closed != Some(Closing::Fin) {
                    return Err(self.failure(format!(
                        "{} at {side:?}: {} of {} bytes, ended {:?}",
                        key.stream, reader.received, writer.written, reader.ended
                    )));
                }
            }
        }
        Ok(())
    }

    fn taken_credit(&self, side: Side) -> u64 {
        let fresh = CreditPool::default().left();
        fresh.saturating_sub(self.pools[side as usize].left())
    }

    /// Where everything stands, for a report.
    pub fn describe(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!(
            "CNAPT {:?} with {} streams ({} bytes), SNAPT {:?} with {} ({} bytes)",
            self.cnapt.phase(),
            self.cnapt.streams().len(),
            self.cnapt.streams().buffered(),
            self.snapt.phase(),
            self.snapt.streams().len(),
            self.snapt.streams().buffered(),
        );
        let open = self.conversations.iter().filter(|(_, one)| !one.is_over());
        for (key, one) in open.take(8) {
            let _written = write!(
                text,
                "\n  {} excused {}: opener {:?}, acceptor {:?}",
                key.stream, one.excused, one.opener, one.acceptor
            );
        }
        text
    }
}
