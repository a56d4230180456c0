//! Both machines, their streams and simulated applications, in virtual time and in one process.
//!
//! A [`World`] is one CNAPT and one SNAPT (either may be restarted), the networks between them, the
//! connections over these, and the applications on both sides. Nothing in it waits: time jumps to the
//! next thing that happens. All randomness comes from a seed, so a failure is repeated by its seed.
//!
//! After every step the world checks what must always hold: an application reads exactly what the
//! other wrote, an end is truthful, a request is run once, memory stays within its bound, and neither
//! module accuses the other. [`World::check_calm`] checks what must hold when everything is over.
//!
//! Limits: networks have a delay but no rate; a cut stalls and never reorders within a connection
//! (nor does TCP). One CNAPT: several sessions share no state in the machines.

mod application;
pub mod model;
mod network;
mod random;
mod trial;
mod world;

pub use application::{Application, Closing, Conversation, Ended, Key, Plan, Reading};
pub use network::{KEEPALIVE, Network, NetworkState};
pub use random::Random;
pub use trial::{Coverage, trial, trial_with};
pub use world::{Broken, World};
