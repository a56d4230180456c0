//! The model: every order in which things can happen to both machines, in a small world.
//!
//! Time stands still. What is under way on each connection is a queue of frames; any queue may deliver its next
//! frame, any armed timer may fire, and what a [`Configuration`] allows may strike: connections die, a module
//! starts anew, the user orders a switch, a bound passes while its answer is still under way. [`explore`] follows
//! every choice from every state and merges what is equal, so that what it says holds for the whole of that
//! world, not for the runs that a seed happened to take.
//!
//! In each state the bytes, the ends and the requests are right, and neither module accuses the other. From each
//! state there is a way to where everything has arrived and nothing is left over: no deadlock, and no circle
//! without an exit.
//!
//! | file | what it is |
//! |---|---|
//! | `state` | both machines, their connections and applications; what can happen, and what then happens |
//! | `state/shell` | what the machines' outputs lead to |
//! | `talk` | the applications, which check what they read |
//! | `search` | the exploration, on two threads, and the way back to a counterexample |
//! | `fold` | the hash that names a state |
//!
//! Limits: a probe is answered at once by a process that lives; a conduit beside the control channel takes no
//! time to be made, only its HELLO does; a byte stands for any number of bytes; nothing
//! overtakes within a connection; the gap of a switch is not measured. Timers have no length: one that needs
//! silence fires when nothing else can happen, one that strikes early is counted by the configuration.

mod fold;
mod search;
mod state;
mod talk;

use handover_proto::bug::Bug;

pub use search::{Counterexample, Explored, explore};

/// How much may happen in the explored world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Conduits that a link may have beside its control channel.
    pub conduits: usize,
    /// Connections that may die, with what is under way on them.
    pub deaths: u8,
    /// Connections that may die for the CNAPT, while what it has sent on them may still arrive.
    pub breaks: u8,
    /// Switches that the user may order.
    pub orders: u8,
    /// Modules that may start anew.
    pub restarts: u8,
    /// Bounds that may pass while something is still under way.
    pub early: u8,
    /// Connections that client applications open before there is a network: the first is request and
    /// answer, the second has a reader that stands still for as long as it likes.
    pub streams: u8,
    /// Requests that client applications make at any later time.
    pub late: u8,
    /// Requests that server applications make of a client service, at any time after the first switch message.
    pub client_services: u8,
    /// Whether networks are opened and closed by hooks, which take their time, and fail as connections die.
    pub hooks: bool,
    /// Whether a switch that the user orders overlaps.
    pub overlap: bool,
    /// What is left out of the machines.
    pub bug: Option<Bug>,
}

impl Configuration {
    /// The largest world: 26 million states, 5 minutes on two cores. A death takes along what is under way, so
    /// late messages are those of a restarted process and of a link that was given up.
    pub const WHOLE: Self = Self {
        conduits: 1,
        deaths: 1,
        breaks: 0,
        orders: 1,
        restarts: 1,
        early: 0,
        streams: 2,
        late: 0,
        client_services: 0,
        hooks: false,
        overlap: false,
        bug: None,
    };

    /// Besides [`Self::WHOLE`] one with hooks, two with a client service, which a switch and a death or a restart
    /// strike, and two in which messages of a living process come late: a bound passes before the answer, an OPEN is
    /// repeated while the first is under way, a link dies and what it carried arrives all the same. All of it in one
    /// world would be too much.
    pub fn with_its_kin(self) -> Vec<Self> {
        let calm = Self {
            deaths: 0,
            restarts: 0,
            ..Self::WHOLE
        };
        let early = Self { early: 1, ..calm };
        let late = Self { breaks: 1, ..calm };
        let hooks = Self {
            deaths: 1,
            streams: 1,
            hooks: true,
            ..calm
        };
        let client_service = Self {
            client_services: 1,
            streams: 1,
            ..calm
        };
        let struck = Self {
            deaths: 1,
            ..client_service
        };
        let restarted = Self {
            restarts: 1,
            orders: 0,
            ..client_service
        };
        if self == Self::WHOLE {
            vec![self, early, late, hooks, struck, restarted]
        } else {
            vec![self]
        }
    }

    /// Worlds small enough to look for each deliberate bug in all of them.
    pub const SMALL: [Self; 11] = [
        Self::small_with_client_service([1, 1, 0]),
        Self::small_with_client_service([0, 0, 1]),
        Self::small(1, [0, 0, 1, 0, 0], [2, 0]),
        Self::small(0, [0, 1, 1, 0, 0], [1, 0]),
        Self::small(1, [1, 0, 1, 0, 0], [1, 0]),
        Self::small(1, [1, 0, 0, 0, 0], [2, 0]),
        Self::small(1, [0, 0, 1, 0, 1], [1, 0]),
        Self::small(2, [1, 0, 0, 0, 0], [1, 0]),
        Self::small(2, [0, 0, 1, 0, 0], [1, 1]),
        Self::small(1, [0, 0, 0, 1, 1], [1, 0]),
        Self::small(0, [1, 0, 0, 1, 0], [1, 0]),
    ];

    const fn small_with_client_service([deaths, orders, restarts]: [u8; 3]) -> Self {
        Self {
            client_services: 1,
            ..Self::small(1, [deaths, 0, orders, restarts, 0], [0, 0])
        }
    }

    const fn small(
        conduits: usize,
        [deaths, breaks, orders, restarts, early]: [u8; 5],
        [streams, late]: [u8; 2],
    ) -> Self {
        Self {
            conduits,
            deaths,
            breaks,
            orders,
            restarts,
            early,
            streams,
            late,
            client_services: 0,
            hooks: false,
            overlap: false,
            bug: None,
        }
    }
}
