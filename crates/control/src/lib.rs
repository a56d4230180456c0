//! Status and command types, the API on a Unix socket, and its client
