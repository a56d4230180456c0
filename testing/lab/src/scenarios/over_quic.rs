//! What was shown over TLS, over QUIC.

use anyhow::Result;

use crate::scenario::{Carrier, Lab};

pub(super) fn first_session(lab: &Lab) -> Result<()> {
    super::first_session::run(&lab.over(Carrier::Quic)?)
}

pub(super) fn datagrams(lab: &Lab) -> Result<()> {
    super::datagrams::run(&lab.over(Carrier::Quic)?)
}

pub(super) fn resets(lab: &Lab) -> Result<()> {
    super::resets::run(&lab.over(Carrier::Quic)?)
}

pub(super) fn farewell(lab: &Lab) -> Result<()> {
    super::farewell::run(&lab.over(Carrier::Quic)?)
}

pub(super) fn storm(lab: &Lab) -> Result<()> {
    super::storm::run(&lab.over(Carrier::Quic)?)
}
