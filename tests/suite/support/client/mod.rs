//! A web server's side of FastCGI 1.0, for the tests. Shares no code with `src/`: what it knows it
//! has from the specification. It is strict: a record that a web server could not place is a panic.

mod connection;
mod records;
mod request;
mod response;

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::thread;

pub(crate) use connection::Connection;
pub(crate) use records::{Record, begin, long_length, pairs, parse_pairs, record, stream};
pub(crate) use request::Request;
pub(crate) use response::{EndRequest, Response};

use crate::support::gateway::DEADLINE;

// Section 8: the record types, the roles, the protocol statuses.
pub(crate) const BEGIN_REQUEST: u8 = 1;
pub(crate) const ABORT_REQUEST: u8 = 2;
pub(crate) const END_REQUEST: u8 = 3;
pub(crate) const PARAMS: u8 = 4;
pub(crate) const STDIN: u8 = 5;
pub(crate) const STDOUT: u8 = 6;
pub(crate) const STDERR: u8 = 7;
pub(crate) const DATA: u8 = 8;
pub(crate) const GET_VALUES: u8 = 9;
pub(crate) const GET_VALUES_RESULT: u8 = 10;
pub(crate) const UNKNOWN_TYPE: u8 = 11;

pub(crate) const RESPONDER: u16 = 1;
pub(crate) const AUTHORIZER: u16 = 2;
pub(crate) const FILTER: u16 = 3;

pub(crate) const REQUEST_COMPLETE: u8 = 0;
pub(crate) const CANT_MPX_CONN: u8 = 1;
pub(crate) const UNKNOWN_ROLE: u8 = 3;

/// Name and value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// A new connection and a whole exchange on it.
pub(crate) fn fetch(socket: &Path, request: &Request) -> Response {
    Connection::open(socket).request(request)
}

/// Waits until the other side has read everything that was written, so that what is written next
/// arrives by itself. For a Unix socket the kernel knows: the bytes stay charged to the sender until
/// the receiver takes them.
pub(crate) fn wait_until_read(connection: &Connection) {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let mut unread: nix::libc::c_int = 0;
        // SAFETY: the descriptor is open while `connection` is borrowed, and TIOCOUTQ writes one int.
        let result = unsafe {
            nix::libc::ioctl(
                connection.as_fd().as_raw_fd(),
                nix::libc::TIOCOUTQ,
                &raw mut unread,
            )
        };
        assert_eq!(result, 0);
        if unread == 0 {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the responder does not read"
        );
        thread::yield_now();
    }
}
