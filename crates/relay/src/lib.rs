//! The data path: conduit tasks and application sockets, shared by the CNAPT and the SNAPT.
//!
//! A session's machine and its streams live in a [`Hub`], behind one lock that is never held across a
//! system call. Payloads change hands by reference under it; copied are only bytes that an
//! application's socket does not take at once. Four kinds of task come to it:
//!
//! - a *conduit task* owns one TLS connection. It reads frames, writes the bytes that are in order
//!   straight to the application's socket, and sends what the streams have for this conduit.
//! - an *application task* owns the reading half of one application's connection, and delivers what
//!   could not be written at once.
//! - an *emulation socket's task* takes datagrams of applications in, and each flow that the other module opened
//!   has a task that reads the answers. Datagrams go out to applications from the conduit tasks.
//! - the module's *session task* dials, accepts, listens and answers the user. No byte of a stream
//!   passes it.
//!
//! So a piece of data costs, in each module, one read, one write, and one copy: into a TLS record where
//! it leaves, out of one where it arrives. On the way out it takes one lock to hand it over and one to
//! fetch it; on the way in one to merge it and one to say that it was delivered.

mod application;
mod conduit;
mod connect;
mod contained;
mod emulation;
mod flow;
mod hub;
mod read_buffer;
mod seldom;
mod service;
mod signals;
mod writer;

pub use conduit::read_hello;
pub use connect::Targets;
pub use contained::is_in_a_session;
pub use emulation::{EmulationSocket, EmulationSockets};
pub use hub::{Hub, Session};
pub use seldom::Seldom;
pub use service::Service;
pub use signals::{Reloads, Signals};
