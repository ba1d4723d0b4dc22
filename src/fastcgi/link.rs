//! A connection and its socket: what moves bytes between the two, never with a wait. The connection's lock is held for no
//! longer than such a move, so that a thread that reads a request's body and one that writes the response, the event loop
//! and the sending thread can share it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::sendfile::sendfile64;
use nix::sys::socket::{
    MsgFlags, Shutdown, UnixAddr, getsockname, recv, send, sendmsg, setsockopt, shutdown, sockopt,
};
use nix::sys::uio::pread;

use super::ResponderState;
use super::connection::{Answered, Connection};
use super::content::FileAtRecord;
use super::unsent::{Headers, Next};
use crate::gateway::{Page, forked};

/// Bytes of a file that are read at once where the kernel cannot send them.
const PIECE: usize = 64 * 1024;

/// Bytes that are sent on one connection before the others have their turn.
const FAIR: usize = 1024 * 1024;

/// Bytes of a file that are looked for at once.
const AHEAD: u64 = 512 * 1024;

/// Bytes of a file that are to find room in a Unix socket. The kernel gives no more than twice net.core.wmem_max (twice 208 KiB,
/// where nobody has set that), which is twice what a socket has by itself.
const ROOM: usize = 512 * 1024;

/// A connection and its socket.
#[derive(Debug)]
pub(super) struct Link {
    socket: OwnedFd,
    connection: Mutex<Connection>,
    state: Arc<ResponderState>,
    /// Whether the sending thread will come to it.
    pub(super) queued: AtomicBool,
    /// Application threads that wait until everything has left, and send it.
    pub(super) waited_for: AtomicUsize,
    /// Bytes that it has of the budget for what slow peers have not taken, and beyond that while it is moved to a file.
    reserved: AtomicUsize,
    moving: AtomicUsize,
    /// Whether the socket was full of a file once, and has got more room.
    widened: AtomicBool,
}

/// How far sending went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Everything has left.
    All,
    /// The web server takes nothing more at the moment; whether it took some.
    Blocked(bool),
    /// The connection is lost.
    Lost,
}

/// What came of a look at what the web server has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(usize),
    Nothing,
    /// It has closed its side, or the connection is lost.
    End,
}

impl Link {
    pub(super) fn new(socket: OwnedFd, state: Arc<ResponderState>, turned_away: bool) -> Arc<Self> {
        // A child that the application forks would keep it open when this process has died.
        forked::close_in_child(socket.as_raw_fd());
        let connection = Connection::new(Arc::clone(&state.rules), turned_away);
        Arc::new(Self {
            socket,
            connection: Mutex::new(connection),
            state,
            queued: AtomicBool::new(false),
            waited_for: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            moving: AtomicUsize::new(0),
            widened: AtomicBool::new(false),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> &ResponderState {
        &self.state
    }

    /// Reads what is here, once.
    pub(super) fn read(&self, into: &mut [u8]) -> Got {
        loop {
            match recv(self.socket.as_raw_fd(), into, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Got::End,
                Ok(count) => return Got::Bytes(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Got::Nothing,
                Err(error) => {
                    log::debug!("connection lost: {error}");
                    return Got::End;
                }
            }
        }
    }

    /// Sends what is to be sent, as far as that goes without a wait, and no more than is fair to others at once.
    pub(super) fn flush(&self, connection: &mut Connection) -> Flushed {
        let (mut headers, mut seen) = (Headers::new(), SeenOfFile::default());
        let mut all = 0;
        loop {
            if !connection.has_unsent() {
                self.release();
                return Flushed::All;
            }
            let sent = match self.send_next(connection, &mut headers, &mut seen) {
                Ok(Some(sent)) => sent,
                Ok(None) => {
                    self.release();
                    return Flushed::All;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Flushed::Blocked(all > 0);
                }
                Err(error) => {
                    let subject = connection.unsent().subject();
                    if !subject.is_empty() && !is_of_the_peer(&error) {
                        log::error!(
                            "{subject}: the file cannot be sent: {error}; cut, so that the client can tell"
                        );
                    } else {
                        log::debug!("the web server has gone: {error}");
                    }
                    connection.lose();
                    self.release();
                    return Flushed::Lost;
                }
            };
            all += sent;
            connection.unsent().advance(sent);
            if all > FAIR && connection.has_unsent() {
                return Flushed::Blocked(true);
            }
        }
    }

    /// Sends what comes next, once: how many bytes; `None` when there is nothing.
    fn send_next(
        &self,
        connection: &mut Connection,
        headers: &mut Headers,
        seen: &mut SeenOfFile,
    ) -> io::Result<Option<usize>> {
        while look_at_file(connection, seen)? {}
        let socket = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        loop {
            let sent = match connection.unsent().only_records() {
                Some(records) => send(socket, records, flags),
                None => match connection.unsent().next(headers) {
                    Next::Nothing => return Ok(None),
                    Next::Bytes(slices) => match slices.as_slice() {
                        [one] => send(socket, one, flags),
                        several => sendmsg::<()>(socket, several, &[], flags, None),
                    },
                    Next::File(file, at, most) => self.send_file(file, at, most)?,
                },
            };
            match sent {
                Ok(sent) => return Ok(Some(sent)),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send_file(
        &self,
        file: BorrowedFd<'_>,
        at: u64,
        most: usize,
    ) -> io::Result<nix::Result<usize>> {
        let mut position = i64::try_from(at).map_err(io::Error::other)?;
        let mut sent = sendfile64(&self.socket, file, Some(&mut position), most);
        if sent == Err(Errno::EAGAIN) && self.widen() {
            sent = sendfile64(&self.socket, file, Some(&mut position), most);
        }
        let sent = match sent {
            // A file system that cannot feed sendfile.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                let mut piece = vec![0; most.min(PIECE)];
                match pread(file, &mut piece, position)? {
                    0 => Ok(0),
                    count => send(
                        self.socket.as_raw_fd(),
                        &piece[..count],
                        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
                    ),
                }
            }
            sent => sent,
        };
        if sent == Ok(0) {
            return Err(became_shorter());
        }
        Ok(sent)
    }

    /// Makes more room in the socket, once; `false` when there is no more than before. Pages of a file are not copied there, so that
    /// it costs no memory, and the web server, which is woken less often, can take more at a time: a fifth less processor time on
    /// both sides. TCP finds its own size.
    fn widen(&self) -> bool {
        !self.widened.swap(true, Ordering::Relaxed)
            && getsockname::<UnixAddr>(self.socket.as_raw_fd()).is_ok()
            && setsockopt(&self.socket, sockopt::SndBuf, &ROOM).is_ok()
    }

    /// Whether there is a place for what is left, so that the event loop can send it: in memory, or else in a file, to which it
    /// is moved meanwhile.
    pub(super) fn store(self: &Arc<Self>, connection: &mut Connection) -> bool {
        let budget = &self.state.unsent;
        let memory = connection.unsent().memory();
        let more = memory.saturating_sub(self.reserved.load(Ordering::Relaxed));
        if more == 0 || self.is_moving() {
            return true;
        }
        if budget.reserve(more) {
            self.reserved.fetch_add(more, Ordering::Relaxed);
            return true;
        }
        if connection.unsent().in_memory().is_empty() {
            // Records alone: no more than a head, a few small blocks and what is bounded otherwise.
            return true;
        }
        let Some(spiller) = self.state.spiller() else {
            return false;
        };
        let moves = budget.reserve_moving(more);
        if moves {
            self.moving.store(more, Ordering::Relaxed);
            spiller.move_soon(Arc::clone(self));
        }
        moves
    }

    /// Whether what is left is being moved to a file, and still wanted there.
    pub(super) fn is_moving(&self) -> bool {
        self.moving.load(Ordering::Relaxed) > 0
    }

    /// It was moved, or is not to be any more.
    pub(super) fn end_moving(&self) {
        let moving = self.moving.swap(0, Ordering::Relaxed);
        self.state.unsent.release_moving(moving);
    }

    /// Forgets what is left, for others that may have it.
    pub(super) fn give_up(&self) {
        self.lock().lose();
        self.release();
    }

    fn release(&self) {
        if self.reserved.load(Ordering::Relaxed) > 0 {
            let reserved = self.reserved.swap(0, Ordering::Relaxed);
            self.state.unsent.release(reserved);
        }
        if self.is_moving() {
            self.end_moving();
        }
    }

    /// Answers the request of this number in the application's place, if nothing of its answer has left, else breaks that
    /// off, and tells the web server that nothing follows.
    pub(super) fn answer_instead(&self, turn: u64, page: &Page, is_nginx: bool) -> Answered {
        let mut connection = self.lock();
        let answered = connection.answer_instead(turn, page, is_nginx);
        if answered == Answered::TooLate {
            return answered;
        }
        let flushed = self.flush(&mut connection);
        self.shut_down(Shutdown::Write);
        if flushed == Flushed::All {
            answered
        } else {
            connection.lose();
            Answered::Cut
        }
    }

    /// Shuts the connection down, also for others that may have its descriptor; `false` when it is gone already.
    pub(super) fn shut_down(&self, how: Shutdown) -> bool {
        shutdown(self.socket.as_raw_fd(), how).is_ok()
    }
}

/// What is known of a file for as long as one [`Link::flush`] takes, which never waits: its descriptor, and up to which offset its
/// bytes are there.
#[derive(Default)]
struct SeenOfFile(Option<(RawFd, u64)>);

/// Promises a record of a file only if its last byte is there. Where it is not, the file is read: its size is not its content
/// (sysfs, FUSE), or it has become shorter. `true` when that is to be looked at again.
fn look_at_file(connection: &mut Connection, seen: &mut SeenOfFile) -> io::Result<bool> {
    let Some(record) = connection.unsent().file_at_record() else {
        return Ok(false);
    };
    let FileAtRecord {
        file,
        at,
        length,
        left,
    } = record;
    let position = |at: u64| i64::try_from(at).map_err(io::Error::other);
    let is_there = |end: u64| -> io::Result<bool> {
        let last = position(end.saturating_sub(1))?;
        Ok(pread(file, &mut [0], last)? == 1)
    };
    let end = at.saturating_add(length as u64);
    if matches!(seen.0, Some((of, to)) if of == file.as_raw_fd() && end <= to) {
        return Ok(false);
    }
    // The next records, too: a look for each would be a third of the system calls.
    let ahead = at.saturating_add(left.min(AHEAD));
    if ahead > end && left < u64::MAX / 2 && is_there(ahead)? {
        *seen = SeenOfFile(Some((file.as_raw_fd(), ahead)));
        return Ok(false);
    }
    if is_there(end)? {
        return Ok(false);
    }
    let mut bytes = vec![0; length];
    let mut count = 0;
    while count < length {
        match pread(file, &mut bytes[count..], position(at + count as u64)?)? {
            0 => break,
            some => count += some,
        }
    }
    let subject = connection.unsent().subject().to_owned();
    if connection.unsent().file_gave(&bytes[..count]).is_err() {
        log::error!(
            "{subject}: {SHORTER} than its Content-Length says; cut, so that the client can tell"
        );
        connection.file_ended();
    }
    Ok(true)
}

/// Whether the web server has gone, and not the file.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected
    )
}

/// What is said of a file that does not hold what was promised.
const SHORTER: &str = "the file that is the response has become shorter";

fn became_shorter() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, SHORTER)
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Before its number goes to another file.
        forked::keep_in_child(self.socket.as_raw_fd());
        self.release();
    }
}
