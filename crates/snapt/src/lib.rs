//! The SNAPT: the module beside the server application

pub mod config;

pub use config::Config;
