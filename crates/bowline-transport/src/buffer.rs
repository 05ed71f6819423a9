//! Spare buffers of the thread: a connection holds one only while bytes are in it.

use std::cell::RefCell;

use bytes::BytesMut;

/// The capacity a buffer has at least when it is taken.
pub(crate) const CAPACITY: usize = 8 * 1024;

/// Buffers that grew beyond this are not kept.
const CAPACITY_KEPT_MAX: usize = 64 * 1024;

/// Spare buffers kept by one thread, at most: 2 MiB of them.
const SPARE_MAX: usize = 32;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for [`CAPACITY`] bytes.
pub(crate) fn take() -> BytesMut {
    let mut buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    // Slices of what it held may be alive still: only then does this allocate.
    buffer.reserve(CAPACITY);
    buffer
}

/// Gives a buffer back; what it holds is forgotten.
pub(crate) fn give(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.capacity() > CAPACITY_KEPT_MAX {
        return;
    }
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    });
}
