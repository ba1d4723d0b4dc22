//! A listening socket from the responder's side: takes one connection, if it is one to be taken.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::POLLRDHUP;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{PeerCredentials, TcpNoDelay};
use nix::sys::socket::{SockFlag, SockaddrStorage, accept4, getpeername, getsockopt, setsockopt};

use super::{AllowList, standard};
use crate::gateway::forked;

/// Where web servers connect.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: OwnedFd,
    tcp: bool,
}

/// What a listener gave.
pub(super) enum Accepted {
    /// A connection, which does not block.
    Socket(OwnedFd),
    /// One that is not to be served, or has gone already.
    Refused,
    /// Nobody waits, or another process was faster.
    Nothing,
    /// The process or the system has no descriptors or memory left.
    Exhausted,
    /// It may be so that it goes better in a while.
    Failed(Errno),
    /// It is no listening socket any more: the application has closed it or shut it down.
    Broken(Errno),
}

/// How often it is told that somebody may not connect, who may try as often as he likes.
const REFUSALS: Duration = Duration::from_secs(1);

impl Listener {
    /// A non-blocking listening socket, and whether it is a TCP socket. Children that the application forks close it: it would
    /// listen for as long as one of them lives.
    pub fn new(socket: OwnedFd, tcp: bool) -> Self {
        forked::close_in_child(socket.as_raw_fd());
        Self { socket, tcp }
    }

    /// Has nothing to do with the socket any more: its number may be that of another file by now, so it is not closed.
    pub(super) fn abandon(self) {
        forked::keep_in_child(self.socket.as_raw_fd());
        std::mem::forget(self);
    }

    /// Takes one new connection.
    pub(super) fn accept(&self, allow: &AllowList) -> Accepted {
        standard::fill();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = match accept4(self.socket.as_raw_fd(), flags) {
            // SAFETY: the descriptor was made by accept4 just now and belongs to nobody else.
            Ok(socket) => unsafe { OwnedFd::from_raw_fd(socket) },
            Err(Errno::EAGAIN) if self.is_shut_down() => return Accepted::Broken(Errno::EINVAL),
            Err(Errno::EAGAIN) => return Accepted::Nothing,
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                return Accepted::Exhausted;
            }
            // The peer has gone, or a signal came: there may be another. accept(2) also gives the network's errors of a
            // connection that it would have given.
            Err(
                Errno::ECONNABORTED
                | Errno::EINTR
                | Errno::EPROTO
                | Errno::ENETDOWN
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH,
            ) => return Accepted::Refused,
            Err(error @ (Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EOPNOTSUPP)) => {
                return Accepted::Broken(error);
            }
            Err(error) => return Accepted::Failed(error),
        };
        let Ok(socket) = standard::above(socket) else {
            return Accepted::Exhausted;
        };
        if self.tcp {
            // Small records would otherwise wait for the peer's acknowledgement: 40 ms a request.
            let _ = setsockopt(&socket, TcpNoDelay, &true);
            if !allow.is_empty() && !may_connect(&socket, allow) {
                return Accepted::Refused;
            }
        }
        if allow.user().is_some_and(|user| !is_of(&socket, user)) {
            return Accepted::Refused;
        }
        Accepted::Socket(socket)
    }
}

impl Listener {
    /// Whether somebody has shut it down: of a Unix socket that does not block, accept(2) does not tell.
    fn is_shut_down(&self) -> bool {
        let closed = PollFlags::from_bits_retain(POLLRDHUP);
        let mut fds = [PollFd::new(self.socket.as_fd(), closed)];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        polled.is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Before its number goes to another file.
        forked::keep_in_child(self.socket.as_raw_fd());
    }
}

/// Whether this user has made the connection.
fn is_of(socket: &OwnedFd, user: u32) -> bool {
    let peer = getsockopt(socket, PeerCredentials);
    let is_user = peer.is_ok_and(|peer| peer.uid() == user);
    if !is_user {
        log::warn!("refused a connection by another user: this is for the CGI programs of one");
    }
    is_user
}

fn may_connect(socket: &OwnedFd, allow: &AllowList) -> bool {
    let peer = getpeername::<SockaddrStorage>(socket.as_raw_fd())
        .ok()
        .and_then(|peer| {
            let v4 = peer.as_sockaddr_in().map(|peer| IpAddr::V4(peer.ip()));
            v4.or_else(|| peer.as_sockaddr_in6().map(|peer| IpAddr::V6(peer.ip())))
        });
    let allowed = peer.is_some_and(|peer| allow.allows(peer));
    if !allowed {
        let peer = peer.map_or_else(|| "an unknown host".to_owned(), |peer| peer.to_string());
        tell_refusal(&peer);
    }
    allowed
}

fn tell_refusal(peer: &str) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let now = Instant::now();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| now >= last + REFUSALS) {
        *last = Some(now);
        log::warn!("refused a connection from {peer}: not in --allow or FCGI_WEB_SERVER_ADDRS");
    }
}
