//! Descriptors 0, 1 and 2, which the application may close: /dev/null takes their place, and never a connection, to which
//! everything that is printed would go.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::dup2;

/// The last of them.
const LAST: i32 = 2;

/// Fills the places of those that are closed. To be called before the kernel is asked for a descriptor, of which it gives
/// the lowest that is free.
pub(super) fn fill() {
    let is_open = |fd: BorrowedFd<'_>| fcntl(fd, FcntlArg::F_GETFD) != Err(Errno::EBADF);
    let all = is_open(io::stdin().as_fd())
        && is_open(io::stdout().as_fd())
        && is_open(io::stderr().as_fd());
    if all {
        return;
    }
    while let Ok(nothing) = nothing() {
        if nothing.as_raw_fd() > LAST {
            return;
        }
        leave(nothing);
    }
}

/// What was received, at a number above them: another thread may have closed one since [`fill`].
///
/// # Errors
/// When there are no descriptors left.
pub(super) fn above(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > LAST {
        return Ok(fd);
    }
    // At the lowest free number from 3 on.
    let moved = fd.try_clone()?;
    let mut place = fd;
    // At once in the place of the other, so that nobody finds that free.
    dup2(nothing()?, &mut place)?;
    leave(place);
    Ok(moved)
}

fn nothing() -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    open("/dev/null", flags, Mode::empty())
}

/// Has it stay open, and programs that the application starts inherit it.
fn leave(fd: OwnedFd) {
    let _ = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty()));
    let _ = fd.into_raw_fd();
}
