//! A connection's socket: what sends and waits, each wait bounded.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send, sendmsg};

/// Pieces in one system call; the kernel takes 1,024 (IOV_MAX).
const MAX_PIECES: usize = 512;

/// Waits until the socket is ready for `events`, or has an error to tell.
pub(super) fn wait(socket: BorrowedFd<'_>, events: PollFlags, limit: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(socket, events)], timeout) {
            Ok(0) => {
                let text =
                    format!("nothing from or to the web server for {limit:?} (--io-timeout)");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether there is something to read within this time, or an error to tell.
pub(super) fn readable(socket: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    match wait(socket, PollFlags::POLLIN, limit) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sends all of `bytes`, waiting for room where the socket has none.
pub(super) fn write_all(
    socket: BorrowedFd<'_>,
    mut bytes: &[u8],
    limit: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(socket, PollFlags::POLLOUT, limit)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends all pieces in order.
pub(super) fn write_pieces(
    socket: BorrowedFd<'_>,
    mut pieces: &mut [IoSlice<'_>],
    limit: Duration,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let some = &pieces[..pieces.len().min(MAX_PIECES)];
        match sendmsg::<()>(socket.as_raw_fd(), some, &[], MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) => IoSlice::advance_slices(&mut pieces, sent),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(socket, PollFlags::POLLOUT, limit)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
