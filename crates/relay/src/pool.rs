//! Where applications' bytes are read to.
//!
//! A large read keeps its buffer: the bytes stay there, as one chunk of their stream's replay, until
//! the other module has them, and then the buffer comes back to be read into again. Without that the
//! allocator hands 64 KiB to the kernel and fetches them anew for every read of a bulk transfer, which
//! costs a page fault for each page and interrupts the other cores. A small read is copied out, so
//! that no stream with a few bytes under way holds a large buffer.

use std::cell::RefCell;

use bytes::Bytes;
use handover_proto::wire::DATA_PAYLOAD_BYTES;

/// How much is read at once: with its DATA header it fills whole TLS records.
pub(crate) const READ_BYTES: usize = DATA_PAYLOAD_BYTES;

/// A read of so much keeps its buffer.
const KEPT_READ_BYTES: usize = READ_BYTES / 4;

/// How many buffers a thread keeps for its next reads, 4 MiB: what one fast stream has under way.
const POOLED: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to read into, empty, with room for [`READ_BYTES`]; back it goes with [`give_back`], or its
/// bytes go on with [`keep`].
pub(crate) fn take() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| Vec::with_capacity(READ_BYTES))
}

/// The buffer was not used.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    buffer.clear();
    POOL.with_borrow_mut(|pool| {
        if pool.len() < POOLED {
            pool.push(buffer);
        }
    });
}

/// What was read, to be kept as long as the stream needs it.
pub(crate) fn keep(buffer: Vec<u8>) -> Bytes {
    if buffer.len() < KEPT_READ_BYTES {
        let bytes = Bytes::copy_from_slice(&buffer);
        give_back(buffer);
        bytes
    } else {
        Bytes::from_owner(Pooled(buffer))
    }
}

/// Goes back to the pool of the thread that drops it.
struct Pooled(Vec<u8>);

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that ends has no pool any more.
        if let Err(_gone) = POOL.try_with(|_| ()) {
            return;
        }
        give_back(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_read_keeps_its_buffer_until_its_last_byte_is_dropped() {
        let mut buffer = take();
        buffer.resize(KEPT_READ_BYTES, 7);
        let place = buffer.as_ptr();
        let bytes = keep(buffer);
        let part = bytes.slice(1..2);
        drop(bytes);
        let other = take();
        assert_ne!(other.as_ptr(), place, "a byte is still in use");
        drop(part);
        let same = take();
        assert_eq!(same.as_ptr(), place);
    }

    #[test]
    fn a_small_read_is_copied_out() {
        let mut buffer = take();
        buffer.push(7);
        let place = buffer.as_ptr();
        let bytes = keep(buffer);
        let same = take();
        assert_eq!(same.as_ptr(), place);
        assert_eq!(&bytes[..], [7]);
    }
}
