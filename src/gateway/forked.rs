//! Whether this process has forked, and whether it is the child: what the application may do at any time, and what
//! every floor has to know of. A child has copies of our descriptors and of the request that is being answered, and
//! none of them is its business.
//!
//! Set from the handlers that `process` registers with the C library, so nothing but atomics here.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static HAS_FORKED: AtomicBool = AtomicBool::new(false);
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Whether children of this process may have copies of its descriptors.
pub fn has_forked() -> bool {
    HAS_FORKED.load(Ordering::Relaxed)
}

/// Whether this process is a child that the application has forked.
pub fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// A fork is about to happen.
pub fn note_fork() {
    HAS_FORKED.store(true, Ordering::Relaxed);
}

/// This process is the child.
pub fn note_child() {
    IS_CHILD.store(true, Ordering::Relaxed);
}

/// Descriptors that a child closes, a bit each. A number above these is one of a process with more open than any limit of
/// ours lets it have, and stays open in children.
static CLOSED: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

fn bit(fd: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok()?;
    Some((CLOSED.get(fd / 64)?, 1 << (fd % 64)))
}

/// Has children close this descriptor.
pub fn close_in_child(fd: RawFd) {
    if let Some((word, bit)) = bit(fd) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// Has children keep this descriptor: to be called before it is closed here and its number goes to another.
pub fn keep_in_child(fd: RawFd) {
    if let Some((word, bit)) = bit(fd) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Gives the descriptors that are to be closed in this child, each once.
pub fn take_closed(mut close: impl FnMut(RawFd)) {
    for (fd, word) in (0..).step_by(64).zip(&CLOSED) {
        let mut bits = word.swap(0, Ordering::Relaxed);
        while bits != 0 {
            close(fd + RawFd::try_from(bits.trailing_zeros()).unwrap_or_default());
            bits &= bits - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{close_in_child, keep_in_child, take_closed};

    #[test]
    fn children_close_what_they_are_told_to() {
        for fd in [65_535, 65_000, 65_471, 65_472, 64_999, 65_536, -1] {
            close_in_child(fd);
        }
        keep_in_child(65_471);
        let mut closed = Vec::new();
        take_closed(|fd| closed.push(fd));
        closed.retain(|fd| *fd > 60_000);
        assert_eq!(closed, [64_999, 65_000, 65_472, 65_535]);
        take_closed(|fd| assert!(fd < 60_000));
    }
}
