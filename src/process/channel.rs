//! What the master, its template and its workers tell each other: messages on a SOCK_SEQPACKET pair, each whole or not
//! at all. That the other end is gone is how either learns that the other has died.
//!
//! The master believes nothing that comes this way: any code in a worker can write here. What it hears is a message that can
//! be one, and which process has sent it, as the kernel says (SCM_CREDENTIALS in unix(7)); whether that one may say it now is
//! judged by `master::rules`, which opens with a table of who may say what and when. Descriptors that come with it are not
//! taken in.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixCredentials, recvmsg, sendmsg, setsockopt, socketpair,
};
use nix::unistd::Pid;

use super::forks;
use super::messages::{ChildMessage, MasterMessage};

/// The most text in one message, in bytes: a message has to fit the socket's buffer.
const MAX_TEXT: usize = 96 * 1024;

/// The most descriptors that travel with one message.
const MAX_FDS: usize = 64;

/// One end of the pair. Children that the application forks do not have it: who does can speak for this process.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// What a read gave.
#[derive(Debug)]
pub enum Received {
    /// A message of the master.
    Message(MasterMessage),
    /// None has come.
    Nothing,
    /// The other end is closed: who had it has died.
    Closed,
}

/// What the master heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message, and the process that has sent it.
    Message(ChildMessage, Pid),
    /// What no process of ours sends.
    Nonsense(&'static str),
    /// Nothing has come.
    Nothing,
    /// The other end is closed: who had it has died, or has closed it.
    Closed,
}

impl Channel {
    /// Two ends, the first of which is the master's.
    ///
    /// # Errors
    /// When the kernel has no descriptors or memory left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        setsockopt(&one, PassCred, &true)?;
        Ok((Self::from_fd(one), Self::from_fd(other)))
    }

    /// Another handle on the same end.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.socket.try_clone().map(Self::from_fd)
    }

    /// The end as a descriptor, to be sent to the process that is to have it.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// The end that a descriptor is.
    pub fn from_fd(socket: OwnedFd) -> Self {
        forks::close_in_children(&socket);
        Self { socket }
    }

    /// Tells the master something, and waits for room.
    ///
    /// # Errors
    /// When the other end is closed.
    pub fn send(&self, message: &ChildMessage) -> io::Result<()> {
        let text = message.text().as_bytes();
        self.send_parts(&message.head(), text, &[], MsgFlags::empty())
    }

    /// Tells the master something if there is room at once.
    ///
    /// # Errors
    /// When there is none ([`io::ErrorKind::WouldBlock`]), or the other end is closed.
    pub fn send_now(&self, message: &ChildMessage) -> io::Result<()> {
        let text = message.text().as_bytes();
        self.send_parts(&message.head(), text, &[], MsgFlags::MSG_DONTWAIT)
    }

    /// Tells a child something if there is room at once.
    ///
    /// # Errors
    /// As [`Channel::send_now`].
    pub(super) fn tell(&self, message: &MasterMessage) -> io::Result<()> {
        let (kind, text, fds) = message.parts();
        self.send_parts(&[kind], text.as_bytes(), fds, MsgFlags::MSG_DONTWAIT)
    }

    fn send_parts(
        &self,
        head: &[u8],
        text: &[u8],
        fds: &[OwnedFd],
        flags: MsgFlags,
    ) -> io::Result<()> {
        let flags = flags | MsgFlags::MSG_NOSIGNAL;
        let text = &text[..text.len().min(MAX_TEXT)];
        let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let rights = if fds.is_empty() { &[][..] } else { &rights };
        let pieces = [IoSlice::new(head), IoSlice::new(text)];
        loop {
            match sendmsg::<()>(self.socket.as_raw_fd(), &pieces, rights, flags, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message, without waiting for one.
    pub fn receive(&self) -> Received {
        self.receive_with(MsgFlags::MSG_DONTWAIT)
    }

    /// The next message, waiting for one.
    pub fn wait(&self) -> Received {
        self.receive_with(MsgFlags::empty())
    }

    /// What the other end has to say to the master, without waiting for it.
    pub(super) fn hear(&self) -> Heard {
        let mut bytes = vec![0; MAX_TEXT + 2];
        // No room for descriptors, which the kernel then drops.
        let mut space = cmsg_space!(UnixCredentials);
        loop {
            let mut pieces = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let socket = self.socket.as_raw_fd();
            let received = recvmsg::<()>(socket, &mut pieces, Some(&mut space), flags);
            let (count, flags, sender) = match received {
                Ok(received) => (received.bytes, received.flags, sender(&received)),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Heard::Nothing,
                Err(_) => return Heard::Closed,
            };
            if flags.contains(MsgFlags::MSG_CTRUNC) {
                return Heard::Nonsense("descriptors");
            }
            // An empty message has a sender, too.
            let Some(sender) = sender else {
                return Heard::Closed;
            };
            if flags.contains(MsgFlags::MSG_TRUNC) {
                return Heard::Nonsense("a message that is too long");
            }
            let bytes = &bytes[..count];
            return match ChildMessage::read(bytes) {
                Some(message) => Heard::Message(message, sender),
                None if MasterMessage::read(bytes, Vec::new()).is_some() => {
                    Heard::Nonsense("what only the master says")
                }
                None => Heard::Nonsense("a message that is none"),
            };
        }
    }

    fn receive_with(&self, flags: MsgFlags) -> Received {
        let mut bytes = vec![0; MAX_TEXT + 2];
        let mut space = cmsg_space!([RawFd; MAX_FDS]);
        loop {
            let mut pieces = [IoSliceMut::new(&mut bytes)];
            let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
            let received = recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut pieces,
                Some(&mut space),
                flags,
            );
            let (count, fds) = match received {
                Ok(received) => (received.bytes, take_fds(&received)),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Received::Nothing,
                Err(_) => return Received::Closed,
            };
            if count == 0 {
                return Received::Closed;
            }
            if let Some(message) = MasterMessage::read(&bytes[..count], fds) {
                return Received::Message(message);
            }
        }
    }
}

fn sender(received: &nix::sys::socket::RecvMsg<'_, '_, ()>) -> Option<Pid> {
    let mut messages = received.cmsgs().into_iter().flatten();
    messages.find_map(|message| match message {
        ControlMessageOwned::ScmCredentials(who) => Some(Pid::from_raw(who.pid())),
        _ => None,
    })
}

fn take_fds(received: &nix::sys::socket::RecvMsg<'_, '_, ()>) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    for message in received.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(rights) = message {
            for fd in rights {
                // SAFETY: the kernel has just made the descriptor for this process, and nobody else knows of it.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                // Where the application has closed one of the standard descriptors: a copy is at no less than 3.
                let copy = (fd.as_raw_fd() < 3).then(|| fd.try_clone());
                fds.extend(copy.map_or(Some(fd), Result::ok));
            }
        }
    }
    fds
}

impl Drop for Channel {
    fn drop(&mut self) {
        forks::keep_in_children(&self.socket);
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, ChildMessage, Heard, MAX_FDS, MasterMessage, Received};
    use nix::sys::socket::{MsgFlags, send};
    use nix::unistd::getpid;
    use std::os::fd::AsRawFd;

    #[test]
    fn messages_arrive_whole_and_with_their_descriptors() {
        let (master, child) = Channel::pair().unwrap();
        assert!(matches!(child.receive(), Received::Nothing));
        child
            .send(&ChildMessage::Log(3, "a line".to_owned()))
            .unwrap();
        let Heard::Message(ChildMessage::Log(3, line), _) = master.hear() else {
            panic!()
        };
        assert_eq!(line, "a line");
        master
            .tell(&MasterMessage::Trouble("x".repeat(200_000)))
            .unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        master
            .tell(&MasterMessage::Fork(7, vec![file.into()]))
            .unwrap();
        drop(master);
        let Received::Message(MasterMessage::Trouble(text)) = child.wait() else {
            panic!()
        };
        assert_eq!(text.len(), super::MAX_TEXT);
        let Received::Message(MasterMessage::Fork(7, fds)) = child.receive() else {
            panic!()
        };
        assert_eq!(fds.len(), 1);
        assert!(matches!(child.receive(), Received::Closed));
    }

    /// Whatever comes, and with nothing of it left behind.
    #[test]
    fn the_master_hears_who_speaks_and_takes_no_descriptors() {
        let (master, worker) = Channel::pair().unwrap();
        // A file that no other test has open.
        let passed = tempfile::NamedTempFile::new().unwrap();
        let open = || {
            let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            links.filter(|link| link == passed.path()).count()
        };
        let raw = |bytes: &[u8]| {
            send(worker.socket.as_raw_fd(), bytes, MsgFlags::empty()).unwrap();
        };
        worker.send(&ChildMessage::Full).unwrap();
        assert!(
            matches!(master.hear(), Heard::Message(ChildMessage::Full, pid) if pid == getpid())
        );
        for nonsense in [&b""[..], b"\0", b"\xff", b"\x05", &[1; 110_000]] {
            raw(nonsense);
            assert!(matches!(master.hear(), Heard::Nonsense(_)));
        }
        worker.tell(&MasterMessage::Drain).unwrap();
        assert!(matches!(
            master.hear(),
            Heard::Nonsense("what only the master says")
        ));
        for count in [1, MAX_FDS] {
            let file = || std::fs::File::open(passed.path()).unwrap().into();
            let before = open();
            let message = MasterMessage::Listen((0..count).map(|_| file()).collect());
            assert_eq!(open(), before + count);
            worker.tell(&message).unwrap();
            drop(message);
            assert!(matches!(master.hear(), Heard::Nonsense("descriptors")));
            assert_eq!(open(), before);
        }
        assert!(matches!(master.hear(), Heard::Nothing));
        drop(worker);
        assert!(matches!(master.hear(), Heard::Closed));
    }
}
