//! What the commands print: results to standard output, everything else to standard error.
//!
//! Whoever reads the output may stop reading, as `head` does. That is no failure, so a broken pipe is passed over in
//! silence.

use std::io::{self, Write};

use serde::Serialize;

use crate::exit::Failure;

/// Prints `text` to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(
            anyhow::Error::new(error).context("cannot write to standard output"),
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints `value` to standard output as one JSON document on one line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string(value).map_err(Failure::failed)?;
    text.push('\n');
    print(&text)
}

/// Tells the user something on standard error.
pub(crate) fn tell(message: impl std::fmt::Display) {
    // With standard error gone there is nobody left to tell.
    drop(writeln!(io::stderr(), "handover: {message}"));
}
