//! Status and command types, the API on a Unix socket, and its client.
//!
//! Each daemon listens on a Unix socket and speaks HTTP/1.1 with JSON there, so that `handover status`, a dashboard
//! and `curl --unix-socket` all see the same thing:
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | [`Status`] |
//! | `GET /networks` | [`Networks`] |
//! | `GET /services` | [`Services`] |
//! | `GET /trace` | [`Trace`] |
//! | `POST /switch` with [`SwitchRequest`] | [`SwitchReply`], when the switch is over |
//!
//! What cannot be answered is a [`Failure`]: status 400 if the request itself is wrong, 409 if it could not be carried
//! out.
//!
//! **Who may.** The socket has mode 0600, and whoever connects must have the daemon's own user id, or be root.
//!
//! **What the daemon does.** [`Listener::bind`] takes the socket, [`Listener::serve`] turns each request into a
//! [`Command`] on a bounded channel, which the daemon's loop answers through the command's [`Reply`]. A client that
//! hangs up in the middle disturbs nothing: its answer goes nowhere.

mod client;
mod locate;
mod server;
mod socket;
mod timestamp;
mod types;

pub use client::{Client, ClientError};
pub use locate::{Environment, LocateError, Role, default_path, locate};
pub use server::{COMMANDS_WAITING, Command, Reply};
pub use socket::{BindError, Listener};
pub use timestamp::Timestamp;
pub use types::{
    Carrier, ClientServiceState, ClientServiceStatus, ClientState, ClientStatus, Failure, Kind,
    Network, NetworkState, Networks, Outcome, Procedure, Protocol, ServerClient, ServerClientState,
    ServerStatus, ServiceStatus, Services, Side, Status, SwitchEntry, SwitchReply, SwitchRequest,
    Trace, TraceStep, TurnedAway,
};
