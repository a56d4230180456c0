//! The data path: conduit tasks and application sockets, shared by the CNAPT and the SNAPT.
//!
//! A session's machine and its streams live in a [`Hub`], behind one lock that is held for the time
//! of a few comparisons and never across a system call. Three kinds of task come to it:
//!
//! - a *conduit task* owns one TLS connection. It reads frames, writes the bytes that are in order
//!   straight to the application's socket, and sends what the streams have for this conduit.
//! - an *application task* owns the reading half of one application's connection, and delivers what
//!   could not be written at once.
//! - the module's *session task* dials, accepts, listens and answers the user. No byte of a stream
//!   passes it.
//!
//! So a byte costs, in each module: one read, one copy into the replay buffer's chunk or out of the
//! TLS record, one lock to hand it over, one lock to fetch it, one write.

mod application;
mod conduit;
mod hub;
mod signals;
mod writer;

pub use conduit::read_hello;
pub use hub::{Hub, Session};
pub use signals::Signals;
