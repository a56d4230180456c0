//! `handover keygen`: a new identity.

use std::path::Path;

use handover_carrier::PrivateKey;

use crate::exit::Failure;
use crate::output::print;

/// Writes a new private key to `file` and prints its public key.
pub(crate) fn keygen(file: &Path) -> Result<(), Failure> {
    let key = PrivateKey::create_file(file).map_err(Failure::failed)?;
    print(&format!("{}\n", key.public_key()))
}
