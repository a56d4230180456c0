//! The operating system, as the modules need it: which networks there are, which of them could reach
//! the server, sockets that stay on one of them, and a clock that counts suspended time.
//!
//! - [`Watch`] follows interfaces, addresses and routes through rtnetlink and hands out [`Snapshot`]s.
//! - A [`Snapshot`] is plain data with pure questions: may this network be used, and which are there?
//! - [`bound_tcp_socket`] and [`bound_path_socket`] bind to an interface *and* an address. The address alone is not enough: with
//!   two default routes the kernel would send from the right address through the wrong interface.
//! - [`ensure_spare_descriptors`] keeps the last descriptors for the connections between the modules.
//! - A [`LocalAddress`] is one that the daemon gives to the host itself, where it may.
//! - [`now`] is the one place where the time is read.
//!
//! Linux only. Nothing here needs a privilege, but for [`LocalAddress`], without which others have to bring the
//! address.

mod clock;
mod descriptors;
mod interface;
mod local_address;
mod snapshot;
mod socket;
mod watch;

pub use clock::now;
pub use descriptors::{ensure_spare_descriptors, raise_descriptor_limit};
pub use interface::{Interface, Kind};
pub use local_address::LocalAddress;
pub use snapshot::{Route, Snapshot, Unusable};
pub use socket::{
    bound_path_socket, bound_tcp_socket, bound_udp_socket, connected_udp_socket, tcp_listener,
    udp_listener,
};
pub use watch::Watch;
