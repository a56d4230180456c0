//! Keeps TCP and UDP sessions alive while the device changes networks.
fn main() {}
