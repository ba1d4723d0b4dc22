//! The handoff channel: how the workers of one master give each other connections that nobody has asked anything on.
//!
//! One pair of sockets for all workers: anybody sends, and whoever is free receives. A message is one byte and at most
//! one descriptor. The connection belongs to the channel from the send on, so that the sender does no more to it than
//! to close its own copy of the descriptor.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

use super::standard;
use crate::gateway::forked;

/// The two ends of the channel, which all workers of a master share, those of every generation.
#[derive(Debug)]
pub struct Handoff {
    /// Where connections are sent.
    pub to: OwnedFd,
    /// Where they are received.
    pub from: OwnedFd,
}

impl Drop for Handoff {
    fn drop(&mut self) {
        // Before their numbers go to other files.
        forked::keep_in_child(self.to.as_raw_fd());
        forked::keep_in_child(self.from.as_raw_fd());
    }
}

/// What travels.
#[derive(Debug)]
pub(super) struct PassedConnection {
    /// The connection; `None` where it is only to wake the receiver.
    pub(super) socket: Option<OwnedFd>,
    pub(super) note: Note,
}

/// What the receiver has to know, as the bits of one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note(u8);

impl Note {
    pub(super) const NOTHING: Self = Self(0);
    /// A request was answered on the connection before.
    pub(super) const USED: Self = Self(1);
    /// Something to read has come.
    pub(super) const READABLE: Self = Self(2);
    /// There may be connections at the listeners that nobody was told of.
    pub(super) const LOOK: Self = Self(4);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// This and `other`, if that is so.
    pub(super) fn with(self, other: Self, so: bool) -> Self {
        if so { Self(self.0 | other.0) } else { self }
    }
}

/// What the channel gave.
#[derive(Debug)]
pub(super) enum HandoffReceived {
    Message(PassedConnection),
    /// Nothing is there, or another worker was faster.
    Nothing,
    /// The process has no descriptor for what is there.
    Exhausted,
    /// It is no channel any more: the application has closed it.
    Broken(Errno),
}

impl Handoff {
    /// Makes the channel.
    ///
    /// # Errors
    /// When the kernel gives no descriptors or memory.
    pub fn pair() -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (to, from) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok(Self::closed_in_children(to, from))
    }

    /// The channel whose two ends this process has inherited; children that the application forks have no part in it.
    pub fn closed_in_children(to: OwnedFd, from: OwnedFd) -> Self {
        forked::close_in_child(to.as_raw_fd());
        forked::close_in_child(from.as_raw_fd());
        Self { to, from }
    }

    /// The same channel once more, for another responder.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        let (to, from) = (self.to.try_clone()?, self.from.try_clone()?);
        Ok(Self::closed_in_children(to, from))
    }

    /// Gives a connection, on which something to read has come, to a responder that waits on this channel.
    ///
    /// # Errors
    /// When the channel is full.
    pub fn pass(&self, connection: BorrowedFd<'_>) -> nix::Result<()> {
        self.send(Some(connection), Note::READABLE)
    }

    /// Has a worker that waits look at the listeners. A connection wakes only one of the workers that wait (see
    /// EPOLLEXCLUSIVE in epoll_ctl(2)); when that one dies before it came to take it, the others have to be told.
    pub fn wake_to_look(&self) {
        self.wake(true);
    }

    /// Wakes a worker that waits; with `look` to look at the listeners.
    pub(super) fn wake(&self, look: bool) {
        if let Err(error) = self.send(None, Note::NOTHING.with(Note::LOOK, look)) {
            // A full channel has woken everybody already.
            log::debug!("the other workers could not be told to look who waits: {error}");
        }
    }

    /// Sends, without a wait.
    ///
    /// # Errors
    /// EAGAIN or ETOOMANYREFS when the channel is full: nothing was sent.
    pub(super) fn send(&self, socket: Option<BorrowedFd<'_>>, note: Note) -> nix::Result<()> {
        let descriptor = socket.map(|socket| [socket.as_raw_fd()]);
        let rights = descriptor
            .as_ref()
            .map(|descriptor| ControlMessage::ScmRights(descriptor));
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let to = self.to.as_raw_fd();
        loop {
            match sendmsg::<()>(
                to,
                &[IoSlice::new(&[note.0])],
                rights.as_slice(),
                flags,
                None,
            ) {
                Err(Errno::EINTR) => {}
                sent => return sent.map(drop),
            }
        }
    }

    /// Takes one message, without a wait.
    pub(super) fn receive(&self) -> HandoffReceived {
        // A message that is received with no descriptor to be had loses its connection, so ask first. The clone's place
        // is free again for the connection; another thread may take the last one between these two calls only.
        match fcntl(&self.from, FcntlArg::F_DUPFD_CLOEXEC(3)) {
            // SAFETY: the descriptor was made just now and belongs to nobody else.
            Ok(place) => drop(unsafe { OwnedFd::from_raw_fd(place) }),
            Err(Errno::EBADF) => return HandoffReceived::Broken(Errno::EBADF),
            Err(_) => return HandoffReceived::Exhausted,
        }
        standard::fill();
        let mut byte = [0; 1];
        let mut pieces = [IoSliceMut::new(&mut byte)];
        // As many as can come, so that none is left open when there are more than one (SCM_RIGHTS in unix(7)).
        let mut space = nix::cmsg_space!([RawFd; 253]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let socket = loop {
            match recvmsg::<()>(self.from.as_raw_fd(), &mut pieces, Some(&mut space), flags) {
                Ok(message) if message.bytes == 0 => return HandoffReceived::Nothing,
                Ok(message) => match message.cmsgs() {
                    Ok(all) => break all.flat_map(owned).collect::<Vec<_>>().into_iter().next(),
                    Err(error) => {
                        log::error!(
                            "a kept connection from another worker was lost for want of a descriptor: {error}"
                        );
                        break None;
                    }
                },
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return HandoffReceived::Nothing,
                Err(error) => return HandoffReceived::Broken(error),
            }
        };
        let socket = socket.and_then(|socket| standard::above(socket).ok());
        HandoffReceived::Message(PassedConnection {
            socket,
            note: Note(byte[0]),
        })
    }
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
