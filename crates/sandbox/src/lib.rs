//! User and network namespaces with virtual links, for the demo and the lab.
//!
//! A program that wants hosts of its own, with their own interfaces, addresses and routes, needs no
//! privileges for that on Linux: inside a *user namespace* it may do to its own network namespaces
//! whatever root may do to the machine's. The order of events is:
//!
//! 1. [`enter_user_namespace`] at the very start of `main`, before any thread exists;
//! 2. [`Namespace::new`] for each host;
//! 3. [`Namespace::veth`], [`Namespace::add_address`], [`Namespace::add_route`] … to connect them;
//! 4. [`Namespace::spawn`] for programs and [`Namespace::run`] for sockets of one's own;
//!    [`Namespace::spawn_administrator`] for a program that is to change the namespace's own network.
//!
//! Everything is set up by rtnetlink, so no `ip` tool is needed, and nothing is mounted. That has one
//! consequence: `/sys/class/net` goes on showing the interfaces of the machine, not those of the
//! namespace. Programs in the sandbox must ask rtnetlink.

mod administrator;
mod error;
mod namespace;
mod network;
mod user;

pub use error::{EnterError, NetworkError};
pub use namespace::Namespace;
pub use network::Route;
pub use user::{Entered, enter_user_namespace};
