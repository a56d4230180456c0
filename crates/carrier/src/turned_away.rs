//! Who was turned away at the door: counted, and said in the log in a way that strangers cannot fill it.
//!
//! A client whose key is not in the list is what an administrator looks for, so it is said for each key by itself,
//! once in [`SAID_EVERY`]. Everybody else is noise of the Internet: one line in [`SAID_EVERY`] says how many there
//! were since the last, and who came last. [`TurnedAway`] has the whole truth.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{AcceptError, PublicKey};

/// How many connections did not become conduits since the start, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// Clients whose key is not in the list.
    pub unknown_key: u64,
    /// Those that spoke something else, or showed no key.
    pub not_handover: u64,
    /// Those that did not finish the handshake in time.
    pub timed_out: u64,
    /// Those whose connection broke during the handshake.
    pub broken: u64,
    /// Those that gave their unfinished handshake's place to a newcomer.
    pub displaced: u64,
}

impl TurnedAway {
    const fn count(&mut self, error: &AcceptError) {
        match error {
            AcceptError::TimedOut => self.timed_out += 1,
            AcceptError::UnknownKey(_) => self.unknown_key += 1,
            AcceptError::NotHandover(_) => self.not_handover += 1,
            AcceptError::Broken(_) => self.broken += 1,
            AcceptError::Displaced => self.displaced += 1,
        }
    }
}

/// The count and the log of one server's doors.
#[derive(Default)]
pub(crate) struct Doorkeeper(Mutex<Record>);

#[derive(Default)]
struct Record {
    total: TurnedAway,
    /// When each key was last said.
    keys: BTreeMap<PublicKey, Instant>,
    strangers_said: Option<Instant>,
    strangers_unsaid: u64,
}

impl Doorkeeper {
    pub(crate) fn total(&self) -> TurnedAway {
        self.lock().total
    }

    pub(crate) fn turn_away(&self, from: IpAddr, error: &AcceptError) {
        let said = self.lock().note(error, Instant::now());
        match said {
            Said::Key => warn!(%from, "{error}"),
            Said::Strangers(count) => {
                info!(%from, count, "strangers turned away, the last one: {error}")
            }
            Said::Nothing => debug!(%from, "turned away: {error}"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.total(), f)
    }
}

/// What the log gets.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// A line about this key.
    Key,
    /// A line about so many strangers.
    Strangers(u64),
    /// No line at the default level.
    Nothing,
}

impl Record {
    fn note(&mut self, error: &AcceptError, now: Instant) -> Said {
        self.total.count(error);
        let AcceptError::UnknownKey(key) = error else {
            return self.note_stranger(now);
        };
        self.keys.retain(|_, said| now - *said < SAID_EVERY);
        if self.keys.contains_key(key) || self.keys.len() >= KEYS_REMEMBERED {
            return Said::Nothing;
        }
        self.keys.insert(*key, now);
        Said::Key
    }

    fn note_stranger(&mut self, now: Instant) -> Said {
        self.strangers_unsaid += 1;
        if self
            .strangers_said
            .is_some_and(|said| now - said < SAID_EVERY)
        {
            return Said::Nothing;
        }
        self.strangers_said = Some(now);
        Said::Strangers(std::mem::take(&mut self.strangers_unsaid))
    }
}

/// Often enough for an administrator who watches the log while a new client is set up; a client that is refused
/// tries every second.
pub(crate) const SAID_EVERY: Duration = Duration::from_secs(60);

/// More unknown keys than this in [`SAID_EVERY`] are made up by somebody: the log gets the first of them.
const KEYS_REMEMBERED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;

    fn unknown() -> AcceptError {
        AcceptError::UnknownKey(PrivateKey::generate().public_key())
    }

    #[test]
    fn each_unknown_key_is_said_once_in_an_interval() {
        let (mut record, start) = (Record::default(), Instant::now());
        let (one, other) = (unknown(), unknown());
        assert_eq!(record.note(&one, start), Said::Key);
        assert_eq!(record.note(&one, start), Said::Nothing);
        assert_eq!(record.note(&other, start), Said::Key);
        let later = start + SAID_EVERY;
        assert_eq!(record.note(&one, later), Said::Key);
        assert_eq!(record.total.unknown_key, 4);
    }

    #[test]
    fn made_up_keys_fill_neither_the_log_nor_the_memory() {
        let (mut record, start) = (Record::default(), Instant::now());
        let said = (0..2 * KEYS_REMEMBERED)
            .filter(|_| record.note(&unknown(), start) == Said::Key)
            .count();
        assert_eq!(
            (said, record.keys.len()),
            (KEYS_REMEMBERED, KEYS_REMEMBERED)
        );
    }

    #[test]
    fn strangers_are_one_line_in_an_interval_that_counts_those_before() {
        let (mut record, start) = (Record::default(), Instant::now());
        assert_eq!(
            record.note(&AcceptError::TimedOut, start),
            Said::Strangers(1)
        );
        for _ in 0..3 {
            assert_eq!(record.note(&AcceptError::Displaced, start), Said::Nothing);
        }
        let later = start + SAID_EVERY;
        let garbage = AcceptError::NotHandover("garbage".into());
        assert_eq!(record.note(&garbage, later), Said::Strangers(4));
        let expected = TurnedAway {
            timed_out: 1,
            displaced: 3,
            not_handover: 1,
            ..TurnedAway::default()
        };
        assert_eq!(record.total, expected);
    }
}
