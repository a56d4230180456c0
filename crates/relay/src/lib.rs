//! The data path: conduit tasks and application sockets, shared by both modules
