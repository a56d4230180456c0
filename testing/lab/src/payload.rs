//! Test data: as many bytes as one likes from a seed, and their SHA-256.

use std::fmt;
use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use crate::gate::Gate;
use crate::random::Random;

/// How much is written or read at once, and what one pass of a [`Gate`] permits.
pub const CHUNK: usize = 16 * 1024;

/// How many bytes, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// The number of bytes.
    pub length: u64,
    /// What they are made of.
    pub seed: u64,
}

/// The SHA-256 of some bytes, and their number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The number of bytes.
    pub length: u64,
    /// Their SHA-256.
    pub sha256: [u8; SHA256_OUTPUT_LEN],
}

/// The length of a [`Digest`] as bytes.
pub const DIGEST_LENGTH: usize = 8 + SHA256_OUTPUT_LEN;

impl Payload {
    /// Writes all of it.
    pub fn write_to(self, writer: &mut impl Write) -> io::Result<()> {
        for chunk in self.chunks() {
            writer.write_all(&chunk)?;
        }
        Ok(())
    }

    /// What a receiver of all of it must find.
    pub fn digest(self) -> Digest {
        let mut context = Context::new(&SHA256);
        self.chunks().for_each(|chunk| context.update(&chunk));
        finish(self.length, context)
    }

    fn chunks(self) -> impl Iterator<Item = Vec<u8>> {
        let mut random = Random::new(self.seed);
        let mut left = self.length;
        std::iter::from_fn(move || {
            let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let mut chunk = vec![0; length];
            random.fill(&mut chunk);
            left -= length as u64;
            (length > 0).then_some(chunk)
        })
    }
}

/// Reads to the end at the pace of `gate`.
pub fn digest_of(reader: &mut impl Read, gate: &Gate) -> io::Result<Digest> {
    let mut context = Context::new(&SHA256);
    let mut length = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        gate.pass();
        match reader.read(&mut chunk)? {
            0 => return Ok(finish(length, context)),
            read => {
                context.update(&chunk[..read]);
                length += read as u64;
            }
        }
    }
}

/// Test data without a length: chunk after chunk, and in the end the digest of all of them.
#[derive(Debug)]
pub struct Producer {
    random: Random,
    chunk: Vec<u8>,
    seen: Running,
}

impl Producer {
    /// Data made of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            chunk: vec![0; CHUNK],
            seen: Running::default(),
        }
    }

    /// The next chunk.
    pub fn produce(&mut self) -> &[u8] {
        self.random.fill(&mut self.chunk);
        self.seen.update(&self.chunk);
        &self.chunk
    }

    /// Of all chunks.
    pub fn finish(self) -> Digest {
        self.seen.finish()
    }
}

/// A digest that grows.
#[derive(Clone)]
pub struct Running {
    length: u64,
    context: Context,
}

impl Default for Running {
    fn default() -> Self {
        Self {
            length: 0,
            context: Context::new(&SHA256),
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a digest of {} bytes so far", self.length)
    }
}

impl Running {
    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.context.update(bytes);
    }

    /// Of all bytes.
    pub fn finish(self) -> Digest {
        finish(self.length, self.context)
    }
}

fn finish(length: u64, context: Context) -> Digest {
    let mut sha256 = [0; SHA256_OUTPUT_LEN];
    sha256.copy_from_slice(context.finish().as_ref());
    Digest { length, sha256 }
}

impl Digest {
    /// For sending it.
    pub fn to_bytes(self) -> [u8; DIGEST_LENGTH] {
        let mut bytes = [0; DIGEST_LENGTH];
        bytes[..8].copy_from_slice(&self.length.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sha256);
        bytes
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with SHA-256 ", self.length)?;
        self.sha256
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_written_have_the_digest() -> io::Result<()> {
        let payload = Payload {
            length: 3 * CHUNK as u64 + 5,
            seed: 9,
        };
        let mut bytes = Vec::new();
        payload.write_to(&mut bytes)?;
        let digest = digest_of(&mut bytes.as_slice(), &Gate::open_already())?;
        assert_eq!(digest, payload.digest());
        bytes[CHUNK] ^= 1;
        let other = digest_of(&mut bytes.as_slice(), &Gate::open_already())?;
        assert_ne!(other, payload.digest());
        Ok(())
    }

    #[test]
    fn no_bytes_have_the_well_known_digest() {
        let digest = Payload { length: 0, seed: 1 }.digest();
        assert!(format!("{digest:?}").starts_with("0 bytes with SHA-256 e3b0c442"));
    }
}
