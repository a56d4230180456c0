//! The two kinds of service, and what may leave for each.
//!
//! The spec's steps stop, take off, renew and redirect the streams of server services and those of
//! client services one after the other. So each kind has a lane of its own: the link whose conduits its
//! streams may have a place on, and whether they may send.

use crate::{ConduitId, Side};

/// Who offers a service. The module on the other side of it opens its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKind {
    /// The server application; the CNAPT opens the streams.
    Server,
    /// The client application; the SNAPT opens the streams.
    Client,
}

impl ServiceKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Server, Self::Client];

    /// The kind of a stream that was opened at `side`.
    pub const fn opened_at(side: Side) -> Self {
        match side {
            Side::Cnapt => Self::Server,
            Side::Snapt => Self::Client,
        }
    }
}

/// What the streams of one kind may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    /// They may send.
    pub(crate) forwarding: bool,
    /// The control conduit of the link on which they may have a place.
    pub(crate) link: Option<ConduitId>,
}

/// Both lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lanes([Lane; 2]);

impl Lanes {
    pub(crate) const fn of(&self, kind: ServiceKind) -> Lane {
        self.0[kind as usize]
    }

    pub(crate) const fn of_mut(&mut self, kind: ServiceKind) -> &mut Lane {
        &mut self.0[kind as usize]
    }

    /// Whether anything may be sent at all.
    pub(crate) const fn any_forwards(&self) -> bool {
        self.0[0].forwarding || self.0[1].forwarding
    }
}
