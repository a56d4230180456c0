//! What is measured side by side: ways from the device to one server application.

use std::net::SocketAddr;

use crate::measure::median;

/// One way to the server application, and what it has achieved.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    /// Where the application on the device connects.
    pub(super) entrance: SocketAddr,
    results: Vec<f64>,
}

impl Contender {
    pub(super) fn new(name: &'static str, entrance: SocketAddr) -> Self {
        Self {
            name,
            entrance,
            results: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, result: f64) {
        self.results.push(result);
    }

    /// The median of its rounds, or not-a-number before the first.
    pub(super) fn median(&self) -> f64 {
        median(&mut self.results.clone()).unwrap_or(f64::NAN)
    }
}
