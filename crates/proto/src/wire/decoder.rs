//! Bytes to frames, in whatever pieces the bytes come.
//!
//! DATA is not collected: its bytes are handed out as they arrive, each piece with its own offset,
//! so that a large frame costs neither a buffer nor a wait.

use super::codec::{self, DATA, DATA_FIELDS_BYTES, HEADER_BYTES};
use super::{Frame, WireError};
use crate::StreamId;

/// What the decoder found next.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole frame.
    Frame(Frame),
    /// A piece of the payload of DATA.
    Data {
        /// Which stream.
        stream: StreamId,
        /// The offset of the first of `bytes` in the stream.
        offset: u64,
        /// Never empty.
        bytes: &'a [u8],
    },
}

/// The state between two reads of one conduit.
#[derive(Debug, Default)]
pub struct Decoder {
    /// A frame begun and not yet whole; of DATA, its header and fields only.
    begun: Vec<u8>,
    payload: Option<Payload>,
}

#[derive(Clone, Copy, Debug)]
struct Payload {
    stream: StreamId,
    offset: u64,
    left: usize,
}

impl Decoder {
    /// The next frame or piece of `input`, which is advanced past it; none when all is consumed.
    ///
    /// # Errors
    ///
    /// If the bytes are not of this protocol; the conduit is of no more use then.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Item<'a>>, WireError> {
        loop {
            if let Some(item) = self.next_piece(input) {
                return Ok(Some(item));
            }
            if !self.collect(input, HEADER_BYTES) {
                return Ok(None);
            }
            let (kind, length) = self.header()?;
            if kind == DATA {
                if !self.collect(input, HEADER_BYTES + DATA_FIELDS_BYTES) {
                    return Ok(None);
                }
                self.begin_payload(length)?;
                continue;
            }
            if !self.collect(input, HEADER_BYTES + length) {
                return Ok(None);
            }
            let frame = codec::decode(kind, &self.begun[HEADER_BYTES..])?;
            self.begun.clear();
            return Ok(Some(Item::Frame(frame)));
        }
    }

    /// Whether the input ended between two frames.
    pub fn is_at_boundary(&self) -> bool {
        self.begun.is_empty() && self.payload.is_none()
    }

    fn next_piece<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        let payload = self.payload.as_mut()?;
        if input.is_empty() {
            return None;
        }
        let (bytes, rest) = input.split_at(payload.left.min(input.len()));
        *input = rest;
        let item = Item::Data {
            stream: payload.stream,
            offset: payload.offset,
            bytes,
        };
        payload.offset += bytes.len() as u64;
        payload.left -= bytes.len();
        if payload.left == 0 {
            self.payload = None;
        }
        Some(item)
    }

    /// Moves bytes from `input` until `count` are begun.
    fn collect(&mut self, input: &mut &[u8], count: usize) -> bool {
        if self.payload.is_some() {
            return false;
        }
        let missing = count.saturating_sub(self.begun.len()).min(input.len());
        let (head, rest) = input.split_at(missing);
        self.begun.extend_from_slice(head);
        *input = rest;
        self.begun.len() >= count
    }

    fn header(&self) -> Result<(u8, usize), WireError> {
        let [kind, high, middle, low] = field(&self.begun, 0);
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if length > codec::longest_body(kind) {
            return Err(WireError::TooLong {
                frame: kind,
                length,
            });
        }
        if kind == DATA && length <= DATA_FIELDS_BYTES {
            return Err(WireError::WrongLength(kind));
        }
        Ok((kind, length))
    }

    fn begin_payload(&mut self, length: usize) -> Result<(), WireError> {
        let stream = StreamId(u64::from_be_bytes(field(&self.begun, HEADER_BYTES)));
        let offset = u64::from_be_bytes(field(&self.begun, HEADER_BYTES + 8));
        let left = length - DATA_FIELDS_BYTES;
        if offset.checked_add(left as u64).is_none() {
            return Err(WireError::BadField {
                frame: DATA,
                field: "offset",
            });
        }
        self.payload = Some(Payload {
            stream,
            offset,
            left,
        });
        self.begun.clear();
        Ok(())
    }
}

/// The `N` bytes at `at`, which the caller has collected.
fn field<const N: usize>(begun: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&begun[at..at + N]);
    bytes
}
