//! Both machines, their streams and simulated applications, in virtual time and in one process.
//!
//! A [`World`] is one CNAPT and one SNAPT (either may be restarted), the networks between them, the
//! connections over these, and the applications on both sides. Nothing in it waits: time jumps to the
//! next thing that happens. All randomness comes from a seed, so a failure is repeated by its seed.
//!
//! After every event the world checks what must always hold: an application reads exactly what the
//! other wrote, it sees each end once and truthfully, a reset has a cause, a request is run once, memory
//! and credit stay within their bounds, neither module accuses the other, each machine's trail is a path
//! of the spec's graph, and it stands nowhere longer than docs/protocol.md lets it.
//! [`World::check_calm`] checks what must hold when everything is over.
//!
//! Tests drive a world by hand. A [`Script`] is a trial that a seed wrote: see there for what one looks
//! like. To repeat the trial of seed 4711 and see every event of it:
//!
//! ```text
//! cargo run --release -p handover-sim -- --from 4711 --seeds 1 --trace
//! ```
//!
//! A line of the trace is the time in seconds, who, and what: "CNAPT" and "SNAPT" read frames, take
//! steps and begin to wait, "app" is an application, "world" the networks and connections, "script" the
//! entry that happens now. What a module sends shows where it is read; what never is, was lost.
//!
//! A seed means the same trial only while the code that writes scripts stays as it is. A failure worth
//! keeping becomes a test of its own.
//!
//! Limits: networks have a delay but no rate; a cut stalls and never reorders within a connection
//! (nor does TCP). One CNAPT: several sessions share no state in the machines.

mod application;
mod coverage;
mod fault;
pub mod model;
mod network;
mod random;
mod script;
mod trail;
mod wait;
mod world;

pub use application::{
    Application, Closing, Conversation, Ended, Key, Plan, Reading, request, service,
};
pub use coverage::Coverage;
pub use fault::Fault;
pub use network::{KEEPALIVE, Network, NetworkState};
pub use random::Random;
pub use script::{Action, Conduit, Entry, Script, Shrunk, When, Which};
pub use wait::Wait;
pub use world::{Broken, World};
