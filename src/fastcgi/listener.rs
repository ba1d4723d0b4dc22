//! A listening socket from the responder's side: takes one connection, if it is one to be taken.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::TcpNoDelay;
use nix::sys::socket::{SockFlag, SockaddrStorage, accept4, getpeername, setsockopt};

use super::AllowList;
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
}

impl Listener {
    /// A non-blocking listening socket, and whether it is a TCP socket. Children that the application forks close it: it would
    /// listen for as long as one of them lives.
    pub fn new(socket: OwnedFd, tcp: bool) -> Self {
        forked::close_in_child(socket.as_raw_fd());
        Self { socket, tcp }
    }

    /// Takes one new connection.
    pub(super) fn accept(&self, allow: &AllowList) -> Accepted {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = match accept4(self.socket.as_raw_fd(), flags) {
            // SAFETY: the descriptor was made by accept4 just now and belongs to nobody else.
            Ok(socket) => unsafe { OwnedFd::from_raw_fd(socket) },
            Err(Errno::EAGAIN) => return Accepted::Nothing,
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                return Accepted::Exhausted;
            }
            // The peer has gone, or a signal came: there may be another.
            Err(Errno::ECONNABORTED | Errno::EINTR | Errno::EPROTO) => return Accepted::Refused,
            Err(error) => {
                log::error!("a connection could not be taken: {error}");
                return Accepted::Nothing;
            }
        };
        if self.tcp {
            // Small records would otherwise wait for the peer's acknowledgement: 40 ms a request.
            let _ = setsockopt(&socket, TcpNoDelay, &true);
            if !allow.is_empty() && !may_connect(&socket, allow) {
                return Accepted::Refused;
            }
        }
        Accepted::Socket(socket)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Before its number goes to another file.
        forked::keep_in_child(self.socket.as_raw_fd());
    }
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
        log::warn!("refused a connection from {peer}: not in --allow or FCGI_WEB_SERVER_ADDRS");
    }
    allowed
}
