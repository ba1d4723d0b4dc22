//! What the master and its observer tell each other, on a SOCK_SEQPACKET pair of their own: knowledge one way, and the other
//! way what somebody who has connected to the control socket wants done.
//!
//! The observer reads what strangers send, so that the master believes nothing that it says: an [`Ask`] is nine bytes of
//! fixed form, and comes with the very connection that it was asked on. Whether who is at the other end of that may ask it
//! the kernel tells the master itself (SO_PEERCRED in unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt,
    recvmsg, sendmsg, socketpair,
};
use nix::unistd::geteuid;

use super::forks;

/// What somebody wants the master to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take up the application's new code.
    Reload,
    /// Finish what is in flight, and end.
    Stop,
    /// Have at most so many workers.
    Resize(u32),
    /// Open the log files anew.
    Reopen,
    /// Tell where each thread of this worker is; of all without a number.
    Stacks(Option<u32>),
}

/// That somebody wants something.
#[derive(Debug)]
pub(super) struct Ask {
    /// The observer's number for it.
    pub(super) id: u32,
    /// What is to be done.
    pub(super) command: Command,
    /// The connection that it was asked on.
    pub(super) connection: OwnedFd,
}

/// What came of an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutcome {
    /// What a command that has asked it exits with.
    pub exit: u8,
    /// What it says.
    pub text: String,
}

/// What the observer is told. All but numbers comes in sealed memory.
#[derive(Debug)]
pub enum DeskNotice {
    /// What the master knows, as JSON of a [`Snapshot`](super::Snapshot).
    Snapshot(OwnedFd),
    /// The slot of the worker of this number, to be read.
    Slot(u32, OwnedFd),
    /// What came of the ask of this number, its exit code, and what there is to say.
    Outcome(u32, u8, OwnedFd),
}

/// One end of the pair.
#[derive(Debug)]
pub struct Desk {
    socket: OwnedFd,
}

/// Bytes of the longest message.
const LONGEST: usize = 9;

impl Command {
    fn write(self) -> (u8, u32) {
        match self {
            Self::Reload => (1, 0),
            Self::Stop => (2, 0),
            Self::Resize(count) => (3, count),
            Self::Reopen => (4, 0),
            // Workers are counted from 1.
            Self::Stacks(worker) => (5, worker.unwrap_or(0)),
        }
    }

    fn read(kind: u8, argument: u32) -> Option<Self> {
        Some(match kind {
            1 => Self::Reload,
            2 => Self::Stop,
            3 => Self::Resize(argument),
            4 => Self::Reopen,
            5 => Self::Stacks(Some(argument).filter(|worker| *worker != 0)),
            _ => return None,
        })
    }
}

impl Ask {
    /// Whether who asks may have something done: root, and the user of this process.
    pub(super) fn is_allowed(&self) -> bool {
        let asks = getsockopt(&self.connection, PeerCredentials);
        asks.is_ok_and(|asks| asks.uid() == 0 || asks.uid() == geteuid().as_raw())
    }
}

impl Desk {
    /// The two ends.
    ///
    /// # Errors
    /// When the kernel has no descriptors or memory left.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let end = |socket| {
            forks::close_in_children(&socket);
            Self { socket }
        };
        Ok((end(one), end(other)))
    }

    /// Tells the observer something, if there is room at once.
    ///
    /// # Errors
    /// When there is none, or nobody to be told.
    pub(super) fn tell(&self, notice: &DeskNotice) -> io::Result<()> {
        match notice {
            DeskNotice::Snapshot(text) => self.send(&[1], text.as_fd()),
            DeskNotice::Slot(number, slot) => self.send(&message(2, *number, 0), slot.as_fd()),
            DeskNotice::Outcome(id, exit, text) => {
                self.send(&message(3, *id, u32::from(*exit)), text.as_fd())
            }
        }
    }

    /// Asks the master for something.
    ///
    /// # Errors
    /// When it has much to read already, or is gone.
    pub fn ask(&self, id: u32, command: Command, connection: impl AsFd) -> io::Result<()> {
        let (kind, argument) = command.write();
        self.send(&message(kind, id, argument), connection.as_fd())
    }

    /// The next that somebody asks for; `None` in place of what is no ask, which ends the observer.
    pub(super) fn hear(&self) -> Option<Option<Ask>> {
        let (bytes, fd) = self.receive().ok()??;
        let read = || {
            let (kind, id, argument) = numbers(&bytes)?;
            Some(Ask {
                id,
                command: Command::read(kind, argument)?,
                connection: fd?,
            })
        };
        Some(read())
    }

    /// The next that the master tells, without a wait; nothing when there is none.
    ///
    /// # Errors
    /// When the master is gone.
    pub fn next(&self) -> io::Result<Option<DeskNotice>> {
        let Some((bytes, Some(fd))) = self.receive()? else {
            return Ok(None);
        };
        Ok(match numbers(&bytes) {
            None => Some(DeskNotice::Snapshot(fd)),
            Some((2, number, _)) => Some(DeskNotice::Slot(number, fd)),
            Some((_, id, exit)) => {
                let exit = u8::try_from(exit).unwrap_or(1);
                Some(DeskNotice::Outcome(id, exit, fd))
            }
        })
    }

    fn send(&self, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
        let fds = [fd.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let to = self.socket.as_raw_fd();
        loop {
            match sendmsg::<()>(to, &[IoSlice::new(bytes)], &rights, flags, None) {
                Err(Errno::EINTR) => {}
                sent => return Ok(sent.map(drop)?),
            }
        }
    }

    /// A message and what has come with it; nothing when there is none.
    fn receive(&self) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
        let mut bytes = [0; LONGEST + 1];
        // As many as can come, so that none is left open where there is more than one.
        let mut space = cmsg_space!([RawFd; 253]);
        loop {
            let mut pieces = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let from = self.socket.as_raw_fd();
            let (count, fds) = match recvmsg::<()>(from, &mut pieces, Some(&mut space), flags) {
                Ok(message) => {
                    let fds = message.cmsgs().map(|all| all.flat_map(owned).collect());
                    (message.bytes, fds.unwrap_or_else(|_| Vec::new()))
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(Some((bytes[..count].to_vec(), fds.into_iter().next())));
        }
    }
}

impl AsFd for Desk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn message(kind: u8, number: u32, argument: u32) -> [u8; LONGEST] {
    let mut bytes = [kind; LONGEST];
    bytes[1..5].copy_from_slice(&number.to_be_bytes());
    bytes[5..].copy_from_slice(&argument.to_be_bytes());
    bytes
}

fn numbers(bytes: &[u8]) -> Option<(u8, u32, u32)> {
    let [kind, rest @ ..] = <[u8; LONGEST]>::try_from(bytes).ok()?;
    let [a, b, c, d, e, f, g, h] = rest;
    Some((
        kind,
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    ))
}

/// The descriptors that came with a message.
fn owned(message: ControlMessageOwned) -> Vec<OwnedFd> {
    let ControlMessageOwned::ScmRights(fds) = message else {
        return Vec::new();
    };
    // SAFETY: the kernel made them for this call, and they belong to nobody else.
    let own = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
    fds.into_iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::super::memory;
    use super::{Command, Desk, DeskNotice};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::os::fd::AsFd;

    #[test]
    fn what_is_asked_and_told_arrives() {
        let (master, observer) = Desk::pair().unwrap();
        let flags = SockFlag::SOCK_CLOEXEC;
        let (_asks, asked) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
        let commands = [
            Command::Reload,
            Command::Stop,
            Command::Resize(7),
            Command::Reopen,
            Command::Stacks(None),
            Command::Stacks(Some(3)),
        ];
        for (id, command) in (0..).zip(commands) {
            observer.ask(id, command, &asked).unwrap();
            let ask = master.hear().unwrap().unwrap();
            assert_eq!((ask.id, ask.command), (id, command));
            assert!(ask.is_allowed());
        }
        assert!(master.hear().is_none());
        let file = || memory::make(c"test").unwrap();
        master.tell(&DeskNotice::Slot(4, file())).unwrap();
        master.tell(&DeskNotice::Outcome(9, 3, file())).unwrap();
        master.tell(&DeskNotice::Snapshot(file())).unwrap();
        assert!(matches!(
            observer.next().unwrap(),
            Some(DeskNotice::Slot(4, _))
        ));
        let outcome = observer.next().unwrap();
        assert!(matches!(outcome, Some(DeskNotice::Outcome(9, 3, _))));
        assert!(matches!(
            observer.next().unwrap(),
            Some(DeskNotice::Snapshot(_))
        ));
        assert!(observer.next().unwrap().is_none());
        drop(master);
        assert!(observer.next().is_err());
    }

    #[test]
    fn what_is_no_ask_is_none() {
        let (master, observer) = Desk::pair().unwrap();
        let file = memory::make(c"test").unwrap();
        for bytes in [&b"x"[..], &[1; 8], &[1; 10], &[9, 0, 0, 0, 0, 0, 0, 0, 0]] {
            observer.send(bytes, file.as_fd()).unwrap();
            assert!(master.hear().unwrap().is_none());
        }
        // A connection that is no Unix socket says of nobody that he may.
        observer.ask(1, Command::Stop, &file).unwrap();
        assert!(!master.hear().unwrap().unwrap().is_allowed());
    }
}
