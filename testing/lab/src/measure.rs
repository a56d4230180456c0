//! What one TCP connection does: its throughput, and its round trips.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::servers::Discard;

/// As large as the application's writes are in a bulk measurement.
const BULK_WRITE: usize = 256 * 1024;

/// The size of a request and of its answer.
const MESSAGE: usize = 64;

/// Sends as fast as it can for `warm_up` and then for `window`, and returns the bits per second that
/// arrived at the application `server` within the window. Nothing else may use that server.
pub fn throughput(
    mut stream: TcpStream,
    server: &Discard,
    warm_up: Duration,
    window: Duration,
) -> Result<f64> {
    let bytes = vec![0x5a; BULK_WRITE];
    let mut send_until = |end: Instant| -> Result<(Instant, u64)> {
        while Instant::now() < end {
            stream.write_all(&bytes).context("send in bulk")?;
        }
        Ok((Instant::now(), server.received()))
    };
    let (began, before) = send_until(Instant::now() + warm_up)?;
    let (ended, after) = send_until(began + window)?;
    stream.shutdown(Shutdown::Write)?;
    // The end comes once the last byte has arrived: the next measurement starts with an empty path.
    stream
        .read_to_end(&mut Vec::new())
        .context("wait for the end of the bulk")?;
    Ok((after - before) as f64 * 8.0 / (ended - began).as_secs_f64())
}

/// The median of so many round trips of 64 bytes to an echo server.
pub fn round_trip_median(mut stream: TcpStream, count: usize) -> Result<Duration> {
    let mut message = [0x5a; MESSAGE];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        stream.write_all(&message).context("send a request")?;
        stream.read_exact(&mut message).context("read the answer")?;
        times.push(began.elapsed());
    }
    median(&mut times).context("no round trips were asked for")
}

/// The middle value; of an even number, the lower of the two.
pub fn median<T: PartialOrd + Copy>(values: &mut [T]) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3, 1, 2]), Some(2));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(median::<u8>(&mut []), None);
    }
}
