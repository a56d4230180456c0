//! Where applications' bytes are read to.
//!
//! A thread has one buffer, so an idle connection holds none. A large read keeps the buffer: the bytes
//! stay in it, as one chunk of their stream's replay, until the other module has them. A small read is
//! copied out, so that no stream with a few bytes under way holds a large buffer.

use std::cell::RefCell;

use bytes::Bytes;
use handover_proto::wire::DATA_PAYLOAD_BYTES;

/// How much is read at once: with its DATA header it fills whole TLS records.
pub(crate) const READ_BYTES: usize = DATA_PAYLOAD_BYTES;

/// A read of so much keeps its buffer.
const KEPT_READ_BYTES: usize = READ_BYTES / 4;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to read into, empty, with room for [`READ_BYTES`]; back it goes with [`give_back`], or its
/// bytes go on with [`keep`].
pub(crate) fn take() -> Vec<u8> {
    let mut buffer = BUFFER.take();
    buffer.reserve_exact(READ_BYTES);
    buffer
}

/// The buffer was not used.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    buffer.clear();
    BUFFER.set(buffer);
}

/// What was read, to be kept as long as the stream needs it.
pub(crate) fn keep(buffer: Vec<u8>) -> Bytes {
    if buffer.len() < KEPT_READ_BYTES {
        let bytes = Bytes::copy_from_slice(&buffer);
        give_back(buffer);
        bytes
    } else {
        Bytes::from(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_read_keeps_its_buffer() {
        let mut buffer = take();
        buffer.resize(KEPT_READ_BYTES, 7);
        let place = buffer.as_ptr();
        let bytes = keep(buffer);
        assert_eq!(bytes.as_ptr(), place);
        let other = take();
        assert_ne!(other.as_ptr(), place);
    }

    #[test]
    fn a_small_read_is_copied_out() {
        let mut buffer = take();
        buffer.push(7);
        let place = buffer.as_ptr();
        let bytes = keep(buffer);
        let same = take();
        assert_eq!(same.as_ptr(), place);
        assert!(same.is_empty() && same.capacity() >= READ_BYTES);
        assert_eq!(&bytes[..], [7]);
    }
}
