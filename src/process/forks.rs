//! What happens when the application forks: the child gives up what is the gateway's.
//!
//! Without this a child's SIGTERM would end the parent (they share the pipe of `signals`), its copy of the listening
//! socket would keep the address in use after the parent's end, its copy of a CGI response would hold that open, and its
//! copy of the channel would let it speak for the parent.
//!
//! Several threads may fork at a time: the C library (glibc since 2.36) runs the handlers of one fork while those of another
//! run. So there is no lock in them, nothing that one leaves for another, and the child begins with what it needs.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Once;

use nix::unistd::ForkResult;

use super::signals;
use crate::gateway::forked;

thread_local! {
    /// Whether the fork that is under way on this thread, which is the child's only one, is the gateway's own.
    static OURS: Cell<bool> = const { Cell::new(false) };
}

extern "C" fn before() {
    if !OURS.get() {
        forked::note_fork();
    }
}

extern "C" fn in_child() {
    if OURS.get() {
        return;
    }
    forked::note_child();
    signals::leave_in_child();
    forked::take_closed(|fd| {
        // SAFETY: close(2) may be called in a child of a process with threads (signal-safety(7)); the number was
        // given by its owner in the parent, who has no life in this process.
        unsafe { nix::libc::close(fd) };
    });
}

/// Begins to watch for fork(2). A child of vfork(2) or posix_spawn(3) runs another program at once, and our descriptors
/// close on exec.
pub fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers load and store atomics and a plain thread-local value, and make system calls that
        // signal-safety(7) allows.
        let watched = unsafe { nix::libc::pthread_atfork(Some(before), None, Some(in_child)) };
        if watched != 0 {
            forked::note_fork();
        }
    });
}

/// Forks for the gateway itself: the child keeps everything.
///
/// # Errors
/// When the kernel makes no more processes.
///
/// # Safety
/// This process must have a single thread, or the child must do nothing that needs what another held.
pub(super) unsafe fn fork() -> nix::Result<ForkResult> {
    OURS.set(true);
    // SAFETY: passed on to the caller.
    let forked = unsafe { nix::unistd::fork() };
    OURS.set(false);
    forked
}

/// Writes a line to standard error with nothing that another thread may have kept from a child that the application has
/// forked.
pub fn write_in_child(line: &str) {
    // SAFETY: write(2) reads the line, which outlives the call.
    let _ = unsafe { nix::libc::write(2, line.as_ptr().cast(), line.len()) };
}

/// Has children close this descriptor, until [`keep_in_children`].
pub fn close_in_children(fd: impl AsFd) {
    forked::close_in_child(fd.as_fd().as_raw_fd());
}

/// Has children keep this descriptor again: to be called before it is closed here and its number goes to another.
pub fn keep_in_children(fd: impl AsFd) {
    forked::keep_in_child(fd.as_fd().as_raw_fd());
}
