//! The configuration files: TOML in, valid types out, and nothing started in between.
//!
//! A key that is not known, a value that makes no sense, a name or port given twice and a private key that cannot be
//! used are all found here, before anything binds. What a later version will understand is refused with words that
//! say so, rather than ignored.

mod client;
mod document;
mod network;
mod server;
mod service;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use handover_carrier::{ParsePublicKeyError, PrivateKey, PublicKey};
use handover_control::Environment;
use handover_proto::flow::DEFAULT_FLOW_IDLE;

pub(crate) use document::ConfigError;

use document::{Document, Value};

/// Reads the configuration of `handover client`.
pub(crate) fn client(
    path: &Path,
    environment: &Environment,
) -> Result<handover_cnapt::Config, ConfigError> {
    client::read(&Document::read(path)?, environment)
}

/// Reads the configuration of `handover server`.
pub(crate) fn server(
    path: &Path,
    environment: &Environment,
) -> Result<handover_snapt::Config, ConfigError> {
    server::read(&Document::read(path)?, environment)
}

/// What is there instead of a public key is not repeated: it may be a private one.
fn public_key(value: &Value<'_>) -> Result<PublicKey, ConfigError> {
    let text = value.text("the public key of the other side, in quotes")?;
    text.parse()
        .map_err(|error: ParsePublicKeyError| value.error(error))
}

/// How long a flow lives on which nothing moves.
fn flow_idle(value: Option<Value<'_>>) -> Result<Duration, ConfigError> {
    let Some(value) = value else {
        return Ok(DEFAULT_FLOW_IDLE);
    };
    let expected = "a time in whole seconds, such as \"2m\" or \"30s\"";
    let idle: Duration = value.parse_as::<humantime::Duration>(expected)?.into();
    // It travels in 32 bits.
    if idle.subsec_nanos() != 0 || !(1..=u64::from(u32::MAX)).contains(&idle.as_secs()) {
        return Err(value.error(format!("expected {expected}")));
    }
    Ok(idle)
}

fn private_key(value: &Value<'_>) -> Result<PrivateKey, ConfigError> {
    PrivateKey::load(&value.path()?).map_err(|error| value.error(error))
}
