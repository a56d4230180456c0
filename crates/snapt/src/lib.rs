//! The SNAPT: the module beside the server application.
//!
//! It stands in for every client application in front of the server applications. [`run`] listens for
//! CNAPTs, gives each key that may attach a session of its own, and connects to the server
//! applications for the streams that the CNAPTs open.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | what it is told |
//! | `client_services` | what the client offers, on its virtual IP |
//! | `daemon` | the event loop: arrivals, sessions, commands |
//! | `session` | one CNAPT's session: its machine, its conduits, its connections to applications |
//! | `virtual_ips` | which CNAPT has which virtual IP |

mod client_services;
pub mod config;
mod daemon;
mod session;
mod virtual_ips;

pub use config::Config;
pub use daemon::{RunError, run};
pub use handover_relay::is_in_a_session;
