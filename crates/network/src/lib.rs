//! The operating system: interfaces, addresses, routes, bound sockets
