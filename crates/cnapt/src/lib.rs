//! The CNAPT: the module beside the client application

pub mod config;

pub use config::Config;
