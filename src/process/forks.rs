//! What happens when the application forks: the child gives up what is the gateway's.
//!
//! Without this a child's SIGTERM would end the parent (they share the pipe of `signals`), its copy of the listening
//! socket would keep the address in use after the parent's end, and its copy of a CGI response would hold that open.

use std::cell::UnsafeCell;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use super::signals;
use crate::gateway::forked;

/// Descriptors that children close; -1 is a free place.
static CLOSED: [AtomicI32; 32] = [const { AtomicI32::new(-1) }; 32];

/// Whether the fork that is under way is the gateway's own.
static OURS: AtomicBool = AtomicBool::new(false);

/// Held by who is in the middle of something that a child could not finish, as its other threads are not there.
static BUSY: Mutex<()> = Mutex::new(());

/// The hold on [`BUSY`] of the thread that forks, from before the fork until after it.
struct Hold(UnsafeCell<Option<MutexGuard<'static, ()>>>);

// SAFETY: touched by the handlers below only. The C library runs them for one fork at a time, and those of one fork on
// one thread, of which the child's is the continuation.
unsafe impl Sync for Hold {}

static HOLD: Hold = Hold(UnsafeCell::new(None));

fn hold() {
    let guard = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: as said at `Hold`.
    unsafe { *HOLD.0.get() = Some(guard) };
}

extern "C" fn let_go() {
    // SAFETY: as said at `Hold`.
    unsafe { *HOLD.0.get() = None };
}

/// Does what takes locks that a child is to find free: no fork happens meanwhile. It must not fork, and not wait for
/// Python.
pub fn without_forks<T>(work: impl FnOnce() -> T) -> T {
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

extern "C" fn before() {
    hold();
    if !OURS.load(Ordering::Relaxed) {
        forked::note_fork();
    }
}

extern "C" fn in_child() {
    let_go();
    if OURS.load(Ordering::Relaxed) {
        return;
    }
    forked::note_child();
    signals::leave_in_child();
    for place in &CLOSED {
        let fd: RawFd = place.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: close(2) may be called in a child of a process with threads (signal-safety(7)); the number was
            // given by its owner in the parent, who has no life in this process.
            unsafe { nix::libc::close(fd) };
        }
    }
}

/// Begins to watch for fork(2). A child of vfork(2) or posix_spawn(3) runs another program at once, and our descriptors
/// close on exec.
pub fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers store to atomics, take and leave a lock that no signal handler takes, and make system calls
        // that signal-safety(7) allows.
        let watched =
            unsafe { nix::libc::pthread_atfork(Some(before), Some(let_go), Some(in_child)) };
        if watched != 0 {
            forked::note_fork();
        }
    });
}

/// The next fork is the gateway's own: its child is a worker and keeps everything.
pub(super) fn expect_fork() {
    OURS.store(true, Ordering::Relaxed);
}

/// That fork is over, on either side.
pub(super) fn forget_fork() {
    OURS.store(false, Ordering::Relaxed);
}

/// Has children close this descriptor, until [`keep_in_children`].
pub fn close_in_children(fd: impl AsFd) {
    let fd = fd.as_fd().as_raw_fd();
    let take = |place: &AtomicI32| {
        place
            .compare_exchange(-1, fd, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    };
    if !CLOSED.iter().any(take) {
        log::debug!("too many descriptors to be closed in children");
    }
}

/// Has children close nothing any more: to be called before the descriptors are closed here and their numbers go to
/// others.
pub fn keep_in_children() {
    for place in &CLOSED {
        place.store(-1, Ordering::Relaxed);
    }
}
