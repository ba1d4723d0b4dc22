//! Who answers a request: the application's thread, or whoever watches it when it has taken too long. One of them, and
//! never the other after it.
//!
//! Whoever comes first has the connection's sending side for good. The watcher does all its sending under the lock and
//! without a wait; the application's thread holds the lock only to take its side, and sends after that. So no byte of
//! the one can come between two of the other's, and neither waits for the other longer than for a system call.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};

use super::exchange::write_end;
use super::record::{MAX_CONTENT, RecordType, write_record};
use crate::gateway::Page;

/// The answer of one application thread's request, whichever that is at the time.
#[derive(Debug, Default)]
pub struct Claim {
    side: Mutex<Side>,
}

#[derive(Debug, Default)]
enum Side {
    /// There is no request, or the application's thread has begun to send.
    #[default]
    Application,
    /// Nothing has left.
    Nobody(Open),
    /// The watcher has answered.
    Watcher,
}

/// What it takes to answer.
#[derive(Debug)]
struct Open {
    /// Which of the thread's requests it is: the watcher may have another in mind, that has ended meanwhile.
    begun: u64,
    /// The request's number on its connection.
    id: u16,
    /// Kept open by this, so that the descriptor means this connection.
    socket: Arc<OwnedFd>,
}

/// What has become of an answer in the application's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It has left.
    Whole,
    /// The web server took no more than a part, or nothing, and sees the connection end.
    Cut,
    /// The application has begun to answer, or there is no such request any more.
    TooLate,
}

impl Claim {
    /// A request begins, which nobody has answered.
    pub(super) fn open(&self, begun: u64, id: u16, socket: &Arc<OwnedFd>) {
        let socket = Arc::clone(socket);
        *self.lock() = Side::Nobody(Open { begun, id, socket });
    }

    /// The application's thread is about to send.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] when the request has been answered in its place.
    pub(super) fn take(&self) -> io::Result<()> {
        let mut side = self.lock();
        if matches!(*side, Side::Watcher) {
            let text = "the request took too long and was answered without the application";
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, text));
        }
        *side = Side::Application;
        Ok(())
    }

    /// The application is done with the request; `false` when it was answered in its place.
    pub(super) fn close(&self) -> bool {
        !matches!(std::mem::take(&mut *self.lock()), Side::Watcher)
    }

    /// Answers the request that began then, if nothing of an answer has left, and tells the web server that nothing
    /// follows. Never waits.
    pub fn answer(&self, begun: u64, page: &Page) -> Answered {
        let mut side = self.lock();
        let open = match &*side {
            Side::Nobody(open) if open.begun == begun => open,
            _ => return Answered::TooLate,
        };
        let (head, body) = page.render();
        let mut text = Vec::new();
        head.write_status_last(&mut text);
        text.extend_from_slice(&body);
        let mut records = Vec::new();
        for piece in text.chunks(MAX_CONTENT) {
            write_record(&mut records, RecordType::Stdout, open.id, piece);
        }
        // Nothing was reported on STDERR either: that, too, takes the application's side.
        write_end(&mut records, open.id, false);
        let socket = open.socket.as_raw_fd();
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let sent = loop {
            match send(socket, &records, flags) {
                Err(Errno::EINTR) => {}
                sent => break sent,
            }
        };
        let _ = shutdown(socket, Shutdown::Write);
        *side = Side::Watcher;
        match sent {
            Ok(sent) if sent == records.len() => Answered::Whole,
            _ => Answered::Cut,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Side> {
        self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answered, Claim};
    use crate::gateway::Page;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    #[test]
    fn one_side_answers_and_the_other_does_not() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = Arc::new(ours.into());
        let page = Page::new("504 Gateway Timeout", "Too long.");
        let claim = Claim::default();
        assert_eq!(claim.answer(0, &page), Answered::TooLate);

        claim.open(7, 1, &socket);
        claim.take().unwrap();
        assert_eq!(claim.answer(7, &page), Answered::TooLate);
        assert!(claim.close());

        // The request that was meant has ended.
        claim.open(8, 1, &socket);
        assert_eq!(claim.answer(7, &page), Answered::TooLate);

        assert_eq!(claim.answer(8, &page), Answered::Whole);
        assert_eq!(claim.answer(8, &page), Answered::TooLate);
        assert!(claim.take().is_err());
        assert!(!claim.close());
        // Whoever comes next has nothing to do with it.
        claim.take().unwrap();
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).unwrap();
        assert_eq!(String::from_utf8_lossy(&sent).matches("504").count(), 2);
    }

    #[test]
    fn a_web_server_that_takes_nothing_is_not_waited_for() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while std::io::Write::write(&mut &ours, &[0; 4096]).is_ok() {}
        let claim = Claim::default();
        claim.open(1, 1, &Arc::new(ours.into()));
        let page = Page::new("504 Gateway Timeout", "Too long.");
        assert_eq!(claim.answer(1, &page), Answered::Cut);
        assert!(claim.take().is_err());
    }
}
