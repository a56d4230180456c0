//! The laboratory: real kernel, real programs, and networks that fail when told to.
//!
//! It makes a roaming device, a server and several networks between them, without privileges
//! ([`topology`]); lets the networks be slow, lossy, or silently dead ([`link`]); runs programs in them
//! ([`program`]), among them ones that nobody here wrote; and looks at what they use ([`process`]). A
//! scenario ([`scenario`]) is a short program over these, run by `cargo test` and by name:
//!
//! ```text
//! cargo run -p handover-lab -- list
//! cargo run -p handover-lab -- run lab_link --verbose
//! ```

pub mod account;
pub mod application;
pub mod bench;
pub mod directory;
pub mod facility;
pub mod gate;
pub mod handover;
pub mod haproxy;
pub mod ladder;
pub mod link;
pub mod log;
pub mod measure;
pub mod multipath;
pub mod nat;
pub mod neighbour;
pub mod openssh;
pub mod payload;
pub mod process;
pub mod program;
pub mod random;
pub mod scenario;
pub mod scenarios;
pub mod servers;
pub mod sockets;
pub mod stall;
pub mod topology;
mod tun;
pub mod wait;
