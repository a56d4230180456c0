//! User and network namespaces with virtual links, for the demo and the lab
