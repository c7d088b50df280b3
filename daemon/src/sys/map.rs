//! Shared memory maps of a memfd: one writer, many readers, bytes handed over by an atomic counter.

use std::{
    io,
    num::NonZeroUsize,
    os::fd::{AsFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};

/// A map of the first `length` bytes of a file. Raw access only: what is shared is agreed in `keeper::log_ring`.
pub struct Map {
    base: NonNull<u8>,
    length: usize,
    writable: bool,
}

// SAFETY: the map is plain memory; all access goes through the methods below, which are safe from any thread.
unsafe impl Send for Map {}
// SAFETY: reads and writes copy bytes; readers order them by the atomics they load (see `word`).
unsafe impl Sync for Map {}

impl Map {
    /// Maps `length` bytes of `file`, which must be at least that long and never shrink.
    /// The map is not inherited by a fork: a large one would make forks slow.
    pub fn new(file: &OwnedFd, length: usize, writable: bool) -> io::Result<Self> {
        let size = NonZeroUsize::new(length)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty map"))?;
        let protection =
            if writable { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases no Rust object.
        let base = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, file.as_fd(), 0) }?;
        // SAFETY: the range is the mapping made just above.
        unsafe { madvise(base, length, MmapAdvise::MADV_DONTFORK) }?;
        Ok(Self { base: base.cast(), length, writable })
    }

    /// The atomic word at byte `at` (a multiple of 8).
    pub fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8), "an unaligned word");
        let place = self.place(at, 8).cast();
        // SAFETY: in bounds, aligned (the base is page-aligned), valid for the life of the map; on a read-only
        // map callers only load, which `log_ring` holds to (a store would fault, not corrupt).
        unsafe { AtomicU64::from_ptr(place) }
    }

    /// Copies bytes out. Bytes that the writer overwrites meanwhile are garbage, which the caller detects by its counters.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        let from = self.place(at, into.len());
        // SAFETY: the source is in bounds and the destination is ours; they cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
    }

    /// Copies bytes in.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        assert!(self.writable, "write to a read-only map");
        let to = self.place(at, bytes.len());
        // SAFETY: the destination is in bounds and writable; the one writer is the keeper's only thread.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Where byte `at` lies; panics unless `length` bytes from there are in the map.
    fn place(&self, at: usize, length: usize) -> *mut u8 {
        assert!(at.checked_add(length).is_some_and(|end| end <= self.length), "outside the map");
        // SAFETY: `at` is at most the map's length, so the result is within the mapping or one past it.
        unsafe { self.base.as_ptr().add(at) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping made in `new`, and nothing borrowed from it outlives `self`.
        // A failure could only mean the range is gone already; there is nothing left to do about it.
        let _ = unsafe { munmap(self.base.cast(), self.length) };
    }
}
