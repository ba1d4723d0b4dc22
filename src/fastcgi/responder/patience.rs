//! Whether it is worth to wait for the request of a connection that has just come.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::peer::Peer;

/// How long the request of a new connection is waited for, which some web servers send with it and others just after it.
///
/// So as a rule no more than one connection was taken from the listener and not read yet, which would be lost should the
/// process be killed, and a quick request needs no place in the epoll set. Web servers that connect ahead are not waited for:
/// the more of them there are in a row, the less often it is tried.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// New connections that are not to be waited for, and how many those were the last time; 0 after one that was quick.
    spared: AtomicU32,
    silent: AtomicU32,
}

impl Patience {
    /// Waits a moment for the request: whether it has come, or the connection's end.
    pub(super) fn await_request(&self, peer: &Peer) -> bool {
        /// Milliseconds.
        const MOMENT: u8 = 1;
        const MOST: u32 = 1024;
        let spared = self.spared.load(Ordering::Relaxed);
        if spared > 0 {
            self.spared.store(spared - 1, Ordering::Relaxed);
            return false;
        }
        let mut fds = [PollFd::new(peer.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(MOMENT)) != Ok(0) {
            self.was_rewarded();
            return true;
        }
        let silent = (self.silent.load(Ordering::Relaxed) * 2).clamp(16, MOST);
        self.silent.store(silent, Ordering::Relaxed);
        self.spared.store(silent, Ordering::Relaxed);
        false
    }

    /// The request of a new connection has come.
    pub(super) fn was_rewarded(&self) {
        self.silent.store(0, Ordering::Relaxed);
    }
}
