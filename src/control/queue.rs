//! How many connections wait at a listening socket, as the kernel tells whoever asks (sock_diag(7)): for Unix sockets, too.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendmsg, socket,
};

use crate::process::AddressSeen;

/// `SOCK_DIAG_BY_FAMILY` in linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `UDIAG_SHOW_RQLEN`, and the attribute that it asks for, `UNIX_DIAG_RQLEN`, in linux/unix_diag.h.
const SHOW_QUEUE: u32 = 0x10;
const QUEUE: u16 = 4;
/// `TCP_LISTEN` in linux/tcp_states.h, as a bit.
const LISTENING: u32 = 1 << 10;

/// Bytes of the largest answer that is read at once.
const ANSWER: usize = 32 * 1024;

/// Bytes of `struct nlmsghdr`, `struct unix_diag_msg` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const UNIX_MESSAGE: usize = 16;
const INET_MESSAGE: usize = 72;

/// Who waits at a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    /// Connections that nobody has taken yet.
    pub(super) waiting: u32,
    /// How many may wait.
    pub(super) room: u32,
}

/// The way to ask the kernel.
#[derive(Debug)]
pub(super) struct Queues(Option<OwnedFd>);

impl Queues {
    pub(super) fn new() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkSockDiag;
        let opened = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol);
        Self(
            opened
                .inspect_err(|error| log::debug!("who waits cannot be asked: {error}"))
                .ok(),
        )
    }

    /// Who waits at each of these sockets; nothing where the kernel does not say.
    pub(super) fn look(&self, addresses: &[AddressSeen]) -> Vec<Option<Queue>> {
        let mut found = vec![None; addresses.len()];
        let Some(socket) = &self.0 else {
            return found;
        };
        let tcp = || addresses.iter().filter(|address| address.tcp);
        let mut inet = Vec::new();
        if tcp().next().is_some() {
            for family in [libc::AF_INET, libc::AF_INET6] {
                inet.extend(all_inet(socket, family).unwrap_or_default());
            }
        }
        for (address, found) in addresses.iter().zip(&mut found) {
            let inode = u32::try_from(address.inode).unwrap_or(0);
            *found = match address.tcp {
                true => inet
                    .iter()
                    .find(|(of, _)| *of == inode)
                    .map(|(_, queue)| *queue),
                false => unix(socket, inode).ok().flatten(),
            };
        }
        found
    }
}

/// A request: its header (netlink(7)) with these flags, and the rest.
fn ask(socket: &OwnedFd, flags: u16, rest: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER + rest.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(HEADER + rest.len());
    message.extend(length.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend((flags | 1).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(rest);
    let kernel = NetlinkAddr::new(0, 0);
    let flags = MsgFlags::empty();
    let pieces = [IoSlice::new(&message)];
    sendmsg(socket.as_raw_fd(), &pieces, &[], flags, Some(&kernel))?;
    Ok(())
}

/// Reads answers up to their end, or to the first where there is only one: the kernel has them ready when the request was sent.
fn answers(socket: &OwnedFd, is_dump: bool, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut bytes = vec![0; ANSWER];
    loop {
        let count = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        let mut rest = &bytes[..count];
        while let Some((length, kind)) = header(rest) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(()),
                // It may have been answered wrongly, or not at all: nothing is known then.
                libc::NLMSG_ERROR => return Err(io::ErrorKind::NotFound.into()),
                _ => each(&rest[HEADER..length]),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        if !is_dump {
            return Ok(());
        }
    }
}

/// The length of the message at the front, header and all, and its kind.
fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = number(bytes, 0)? as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    (HEADER..=bytes.len())
        .contains(&length)
        .then_some((length, kind))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// `struct unix_diag_req` for one socket.
fn unix(socket: &OwnedFd, inode: u32) -> io::Result<Option<Queue>> {
    let mut request = vec![1, 0, 0, 0];
    request.extend(u32::MAX.to_ne_bytes());
    request.extend(inode.to_ne_bytes());
    request.extend(SHOW_QUEUE.to_ne_bytes());
    // Whichever socket has this number.
    request.extend([0xff; 8]);
    ask(socket, 0, &request)?;
    let mut found = None;
    answers(socket, false, |message| {
        let mut rest = message.get(UNIX_MESSAGE..).unwrap_or_default();
        while let (Some(head), true) = (number(rest, 0), rest.len() >= 4) {
            let [a, b, c, d] = head.to_ne_bytes();
            let length = usize::from(u16::from_ne_bytes([a, b]));
            if u16::from_ne_bytes([c, d]) == QUEUE {
                // Of a listening socket: who waits, and how many may.
                found = number(rest, 4)
                    .zip(number(rest, 8))
                    .map(|(waiting, room)| Queue { waiting, room });
            }
            let next = length.max(4).next_multiple_of(4);
            rest = rest.get(next..).unwrap_or_default();
        }
    })?;
    Ok(found)
}

/// All listening sockets of TCP of a family, by their numbers.
fn all_inet(socket: &OwnedFd, family: i32) -> io::Result<Vec<(u32, Queue)>> {
    let family = u8::try_from(family).map_err(io::Error::other)?;
    let tcp = u8::try_from(libc::IPPROTO_TCP).map_err(io::Error::other)?;
    // `struct inet_diag_req_v2`.
    let mut request = vec![family, tcp, 0, 0];
    request.extend(LISTENING.to_ne_bytes());
    request.extend([0; 48]);
    let dump = u16::try_from(libc::NLM_F_DUMP).map_err(io::Error::other)?;
    ask(socket, dump, &request)?;
    let mut found = Vec::new();
    answers(socket, true, |message| {
        // Behind the addresses: timer, queues, user and inode.
        let field = |at: usize| number(message, at);
        if message.len() >= INET_MESSAGE {
            let queue = field(56).zip(field(60));
            let queue = queue.map(|(waiting, room)| Queue { waiting, room });
            found.extend(field(68).zip(queue));
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{Queue, Queues};
    use crate::process::AddressSeen;
    use nix::sys::stat::fstat;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn seen(socket: impl AsFd, tcp: bool) -> AddressSeen {
        AddressSeen {
            name: String::new(),
            inode: fstat(socket.as_fd()).unwrap().st_ino,
            tcp,
        }
    }

    #[test]
    fn who_waits_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [seen(&unix, false), seen(&tcp, true)];
        let queues = Queues::new();
        let waiting = || -> Vec<Option<u32>> {
            let found = queues.look(&addresses).into_iter();
            found
                .map(|queue| queue.map(|Queue { waiting, .. }| waiting))
                .collect()
        };
        assert_eq!(waiting(), [Some(0), Some(0)]);
        let _unix: Vec<_> = (0..3)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        let _tcp = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        assert_eq!(waiting(), [Some(3), Some(1)]);
        let nobody = AddressSeen {
            name: String::new(),
            inode: 1,
            tcp: false,
        };
        assert_eq!(queues.look(&[nobody]), [None]);
    }
}
