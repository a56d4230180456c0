//! The applications of the model: what they write is known, so what they read is checked.

use bytes::Bytes;
use handover_proto::{Side, StreamId};

/// What one end of a connection writes before it closes its half.
const REQUEST: u64 = 1;
const ANSWER: u64 = 1;
/// One more than the credit that a stream begins with, see [`super::state::CREDIT`].
const MORE_THAN_CREDIT: u64 = super::state::CREDIT as u64 + 1;

/// How one end of a connection sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct End {
    pub(super) written: u64,
    pub(super) read: u64,
    pub(super) closed: bool,
    /// Its reading half ended: cleanly, or by a reset.
    pub(super) ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ended {
    Clean,
    Reset,
}

/// One connection of an application to a service of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Talk {
    pub(super) stream: StreamId,
    /// Which run of its opener's module it belongs to.
    pub(super) run: u8,
    /// The run of the CNAPT to which that module spoke when it began.
    pub(super) cnapt_run: u8,
    /// The first is request and answer, the second an answer of which the reader takes nothing at first.
    pub(super) kind: u8,
    /// The opener reads what comes.
    pub(super) reads: bool,
    pub(super) opener: End,
    pub(super) acceptor: Option<End>,
    /// A module was started anew: the connection may be reset.
    pub(super) excused: bool,
}

impl Talk {
    pub(super) fn new(stream: StreamId, run: u8, cnapt_run: u8, kind: u8) -> Self {
        Self {
            stream,
            run,
            cnapt_run,
            kind,
            reads: kind == 0,
            opener: End::default(),
            acceptor: None,
            excused: false,
        }
    }

    pub(super) fn end(&mut self, side: Side) -> Option<&mut End> {
        if self.opens(side) {
            Some(&mut self.opener)
        } else {
            self.acceptor.as_mut()
        }
    }

    /// Whether the application at `side` opened it.
    pub(super) fn opens(&self, side: Side) -> bool {
        self.stream.opener() == side
    }

    /// What the application at `side` writes in all; none before it has read what it answers.
    pub(super) fn goal(&self, side: Side) -> u64 {
        match (self.opens(side), self.kind) {
            (true, 0) => REQUEST,
            (false, 0) => {
                let asked = self.acceptor.is_some_and(|one| one.read == REQUEST);
                if asked { ANSWER } else { 0 }
            }
            (true, _) => 0,
            (false, _) => MORE_THAN_CREDIT,
        }
    }

    /// Whether the application at `side` has written everything and may close its half.
    pub(super) fn is_through(&self, side: Side, written: u64) -> bool {
        let answered = self.opens(side) || self.kind != 0 || written == ANSWER;
        answered && written == self.goal(side)
    }

    pub(super) fn reads(&self, side: Side) -> bool {
        !self.opens(side) || self.reads
    }

    /// The byte at `offset` of what `side` writes.
    #[expect(clippy::cast_possible_truncation, reason = "small numbers, mixed")]
    pub(super) const fn byte(&self, side: Side, offset: u64) -> u8 {
        (self.stream.0 as u8) << 5 | self.run << 4 | (side as u8) << 3 | offset as u8
    }

    /// The next byte that `side` writes. One at a time, so that each may be lost alone.
    pub(super) fn next(&self, side: Side, written: u64) -> Bytes {
        Bytes::copy_from_slice(&[self.byte(side, written)])
    }

    /// Everything arrived and was read, or the connection may be broken.
    pub(super) fn is_over(&self) -> bool {
        if self.excused {
            return true;
        }
        let Some(acceptor) = self.acceptor else {
            return false;
        };
        let ends = [(self.opener, acceptor), (acceptor, self.opener)];
        ends.iter().all(|(one, other)| {
            one.read == other.written && one.ended == Some(Ended::Clean) && one.closed
        })
    }
}
