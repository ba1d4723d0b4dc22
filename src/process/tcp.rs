//! A socket for a TCP port: at one address, or at all of the machine.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockaddrStorage};

use super::Address;
use super::address::ALL;
use super::bind_error::BindError;
use super::holder::AddressHolder;
use super::listener::bind_socket;

/// A socket that is bound to this port of this host, and does not listen yet.
///
/// # Errors
/// Which address, what is in the way, and the way out.
pub(super) fn bind_port(address: &Address, host: &str, port: u16) -> Result<OwnedFd, BindError> {
    if host == ALL {
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        return match bind_place(both) {
            // Without IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                let place = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                bind_place(place).map_err(|error| refused(address, place, error))
            }
            bound => bound.map_err(|error| refused(address, both, error)),
        };
    }
    let unknown = |reason: String| BindError::NoHost {
        address: address.clone(),
        host: host.to_owned(),
        reason,
    };
    let places = (host, port).to_socket_addrs();
    let mut places = places.map_err(|error| unknown(format!(": {error}")))?;
    let place = places.next().ok_or_else(|| unknown(String::new()))?;
    bind_place(place).map_err(|error| refused(address, place, error))
}

fn bind_place(place: SocketAddr) -> io::Result<OwnedFd> {
    let family = match place.is_ipv4() {
        true => AddressFamily::Inet,
        false => AddressFamily::Inet6,
    };
    bind_socket(family, &SockaddrStorage::from(place))
}

fn refused(address: &Address, place: SocketAddr, error: io::Error) -> BindError {
    let address = address.clone();
    let is_closed = error.kind() == io::ErrorKind::PermissionDenied && place.port() < 1024;
    let reason = is_closed.then(|| {
        "ports below 1024 are root's: choose another, or give the service CAP_NET_BIND_SERVICE"
            .to_owned()
    });
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::taken(address, AddressHolder::of_port(place)),
        io::ErrorKind::AddrNotAvailable => BindError::NotOurs(address),
        _ => BindError::Refused {
            address,
            error,
            reason,
        },
    }
}
