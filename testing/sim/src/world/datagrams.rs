//! Applications that speak over UDP: at each side one asks a question at every tick, and the other answers it.
//!
//! A question is a number. Whatever happens, none comes twice to the application that is asked, and no answer
//! twice to the one that asked. That some come at all, and which may be lost, is for whoever plays the world.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use handover_proto::flow::Association;
use handover_proto::wire::CatalogueEntry;
use handover_proto::{FlowId, Side};

use super::watch::name;
use super::{BEGINNING, Broken, Occurrence, World};
use crate::application::{datagram_request, datagram_service, service};

/// What the applications at each side have asked and heard, by the side of the one that asks.
#[derive(Debug)]
pub(super) struct Datagrams {
    interval: Duration,
    asked: [u64; 2],
    questions: [BTreeSet<u64>; 2],
    answers: [BTreeSet<u64>; 2],
}

impl World {
    /// From the beginning on the applications at both sides ask each other, so often.
    pub fn talk_by_datagrams(&mut self, interval: Duration) {
        assert!(
            self.now == BEGINNING,
            "the services are told when a session begins"
        );
        self.datagrams = Some(Datagrams {
            interval,
            asked: [0; 2],
            questions: Default::default(),
            answers: Default::default(),
        });
        self.renew_machines();
        for side in [Side::Cnapt, Side::Snapt] {
            self.schedule(self.now, Occurrence::Ask(side));
        }
    }

    /// What either module offers to the other's applications.
    pub(super) fn services(&self) -> Vec<CatalogueEntry> {
        let datagrams = self.datagrams.as_ref().map(|_| datagram_service());
        [service()].into_iter().chain(datagrams).collect()
    }

    pub(super) fn ask(&mut self, side: Side) {
        let listens = side == Side::Cnapt || self.is_listening();
        let Some(datagrams) = &mut self.datagrams else {
            return;
        };
        let next = self.now + datagrams.interval;
        if listens {
            let number = datagrams.asked[side as usize];
            datagrams.asked[side as usize] += 1;
            let (now, local) = (self.now, |port| {
                SocketAddr::from((Ipv4Addr::LOCALHOST, port))
            });
            let association = Association {
                entrance: local(53),
                application: local(50_000),
            };
            let payload = Bytes::copy_from_slice(&number.to_be_bytes());
            let streams = self.streams(side);
            streams.send_datagram(association, &datagram_request(), payload, now);
            self.drain(side);
        }
        self.schedule(next, Occurrence::Ask(side));
    }

    /// The module at `side` gives its application a datagram.
    pub(super) fn deliver_datagram(&mut self, side: Side, flow: FlowId, payload: Bytes) {
        let asker = flow.opener();
        let number = payload
            .first_chunk()
            .map(|bytes| u64::from_be_bytes(*bytes));
        let (Some(number), Some(datagrams)) = (number, &mut self.datagrams) else {
            self.break_with(format!("{side:?} has a datagram that nobody sent"));
            return;
        };
        let heard = if side == asker {
            &mut datagrams.answers
        } else {
            &mut datagrams.questions
        };
        if number >= datagrams.asked[asker as usize] || !heard[asker as usize].insert(number) {
            self.break_with(format!("{side:?} hears {number} of {flow} twice"));
        }
        self.say(name(side), |_| format!("hears {number} of flow {flow}"));
        if side != asker {
            let now = self.now;
            self.streams(side).answer_datagram(flow, payload, now);
        }
    }

    /// How many questions were asked at each side.
    pub fn asked(&self) -> [u64; 2] {
        self.datagrams.as_ref().map_or([0; 2], |one| one.asked)
    }

    /// How many of the first `asked` were not answered.
    pub fn unanswered(&self, asked: [u64; 2]) -> [u64; 2] {
        let Some(datagrams) = &self.datagrams else {
            return [0; 2];
        };
        [0, 1].map(|side| {
            let answered = datagrams.answers[side].range(..asked[side]).count();
            asked[side] - answered as u64
        })
    }

    /// At both sides something is asked from now on that is answered.
    ///
    /// # Errors
    ///
    /// If it does not come about.
    pub fn hear_datagrams(&mut self, patience: Duration) -> Result<(), Broken> {
        let asked = self.asked();
        self.run_until(patience, "answers to datagrams", |world| {
            let hears = |one: &Datagrams| {
                [0, 1]
                    .iter()
                    .all(|side| one.answers[*side].range(asked[*side]..).next().is_some())
            };
            world.datagrams.as_ref().is_none_or(hears)
        })
    }
}
