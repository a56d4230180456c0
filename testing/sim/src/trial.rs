//! trial
/// c
#[derive(Debug)]
pub struct Coverage;
/// t
pub const fn trial() {}
