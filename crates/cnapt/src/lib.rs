//! The CNAPT: the module beside the client application.
//!
//! It stands in for the server applications on the device. [`run`] keeps a session with the SNAPT over
//! whichever network there is, listens where the client applications expect the servers, and carries
//! out the user's orders.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | what it is told |
//! | `daemon` | the event loop |
//! | `networks` | the networks, and which of them the decision task takes |
//! | `hooks` | the administrator's commands: how they are run |
//! | `notices` | what happens to the session, told to a hook |
//! | `opening` | networks and VPNs are closed and opened by hooks |
//! | `services` | the services of both sides, for the user |
//! | `servers` | where the server is, as its names were resolved |
//! | `dial` | links and conduits over a given network |
//! | `orders` | the user's orders to switch, and who waits for them |
//! | `history` | the switches so far, and the trail of the last |

pub mod config;
mod daemon;
mod dial;
mod history;
mod hooks;
mod networks;
mod notices;
mod opening;
mod orders;
mod servers;
mod services;
mod standbys;

pub use config::Config;
pub use daemon::{RunError, run};
