//! A connection to a responder, and what comes on it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use super::records::{Record, record};
use super::request::Request;
use super::response::Response;
use super::{END_REQUEST, STDERR, STDOUT};
use crate::support::gateway::DEADLINE;

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn try_clone(&self) -> Stream {
        match self {
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().unwrap()),
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().unwrap()),
        }
    }

    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(block),
            Stream::Tcp(stream) => stream.read(block),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        }
    }
}

/// A connection to a responder.
pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
    /// Set by a reset or a broken pipe, on either way.
    pub(crate) reset: bool,
    /// Set by what comes instead of the rest of a response that is given up.
    broken: bool,
}

impl Connection {
    pub(crate) fn open(socket: &Path) -> Connection {
        let stream = UnixStream::connect(socket)
            .unwrap_or_else(|error| panic!("connect {}: {error}", socket.display()));
        Connection::over(stream)
    }

    /// Over a stream made otherwise: an abstract address, one end of a pair.
    pub(crate) fn over(stream: UnixStream) -> Connection {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Connection::new(Stream::Unix(stream))
    }

    pub(crate) fn tcp(address: SocketAddr) -> Connection {
        Connection::over_tcp(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn over_tcp(stream: TcpStream) -> Connection {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        // A cut between two writes must arrive as two pieces.
        stream.set_nodelay(true).unwrap();
        Connection::new(Stream::Tcp(stream))
    }

    fn new(stream: Stream) -> Connection {
        Connection {
            stream,
            buffer: Vec::new(),
            start: 0,
            reset: false,
            broken: false,
        }
    }

    /// The same connection for a second thread, which writes while this one reads.
    pub(crate) fn writer(&self) -> Connection {
        Connection::new(self.stream.try_clone())
    }

    /// Writes all of it. A peer that has closed is not this call's business: what came back before
    /// tells (section 3: an answer may come before the request has been read).
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        match self.stream.write_all(bytes) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => self.reset = true,
            Err(error) => panic!("writing {} bytes: {error}", bytes.len()),
        }
    }

    /// Writes what there is room for, without a wait.
    pub(crate) fn write_some(&mut self, bytes: &[u8]) {
        use nix::errno::Errno::{EAGAIN, ECONNRESET, EPIPE};
        use nix::sys::socket::{MsgFlags, send};
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.as_fd().as_raw_fd(), bytes, flags) {
            Ok(_) => {}
            Err(EAGAIN) => thread::yield_now(),
            Err(EPIPE | ECONNRESET) => self.reset = true,
            Err(error) => panic!("writing {} bytes: {error}", bytes.len()),
        }
    }

    pub(crate) fn record(&mut self, kind: u8, id: u16, content: &[u8], padding: u8) {
        self.write(&record(kind, id, content, padding));
    }

    /// More bytes into the buffer; false at the end.
    fn fill(&mut self) -> bool {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let filled = self.buffer.len();
        self.buffer.resize(filled + 128 * 1024, 0);
        // A wait with a deadline ends so when the process is stopped and goes on.
        let read = loop {
            match self.stream.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(length) => length > 0,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.reset = true;
                false
            }
            Err(error) => panic!(
                "waiting for the responder: {error}; unread so far: {:?}",
                String::from_utf8_lossy(&self.buffer[self.start..])
            ),
        }
    }

    /// The next record, or `None` at the end of the connection between two records.
    pub(crate) fn read_record(&mut self) -> Option<Record> {
        while self.buffer.len() - self.start < 8 {
            if !self.fill() {
                let rest = &self.buffer[self.start..];
                assert!(
                    rest.is_empty() || self.reset,
                    "the connection ends inside a record header: {rest:?}"
                );
                return None;
            }
        }
        let head = &self.buffer[self.start..self.start + 8];
        if head[0] == 0 {
            // What comes instead of the rest of a response that is given up.
            assert!(matches!(head, [0, 6, _, _, 0, 8, 0, 0]), "{head:?}");
            self.start += 8;
            assert!(self.read_to_eof().is_empty(), "bytes after a break");
            self.broken = true;
            return None;
        }
        assert_eq!(head[0], 1, "version in the record header {head:?}");
        assert_eq!(head[7], 0, "reserved byte in the record header {head:?}");
        let kind = head[1];
        let id = u16::from_be_bytes([head[2], head[3]]);
        let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
        let padding = head[6];
        let whole = 8 + length + usize::from(padding);
        while self.buffer.len() - self.start < whole {
            if !self.fill() {
                // A response that is cut is cut by closing, but never inside a record.
                assert!(self.reset, "the connection ends inside a record");
                return None;
            }
        }
        let content = self.start + 8..self.start + 8 + length;
        let content = self.buffer[content].to_vec();
        self.start += whole;
        Some(Record {
            kind,
            id,
            content,
            padding,
        })
    }

    /// What comes for that request, up to its end or the end of the connection.
    pub(crate) fn response(&mut self, id: u16) -> Response {
        let mut response = Response::default();
        loop {
            let Some(record) = self.read_record() else {
                response.closed = true;
                break;
            };
            assert_eq!(record.id, id, "a record of another request: {record:?}");
            let length = record.content.len();
            match record.kind {
                STDOUT | STDERR => {
                    let (ended, records, bytes) = if record.kind == STDOUT {
                        (
                            &mut response.stdout_ended,
                            &mut response.stdout_records,
                            &mut response.raw_stdout,
                        )
                    } else {
                        (
                            &mut response.stderr_ended,
                            &mut response.stderr_records,
                            &mut response.stderr,
                        )
                    };
                    assert!(!*ended, "a record after the end of its stream");
                    if length == 0 {
                        *ended = true;
                    } else {
                        records.push(length);
                        bytes.extend(&record.content);
                    }
                }
                END_REQUEST => {
                    response.end = Some(record.end_request());
                    break;
                }
                _ => panic!("not a record of a response: {record:?}"),
            }
        }
        response.reset = self.reset;
        response.broken = self.broken;
        response.parse_head();
        response
    }

    /// A whole exchange. Without `keep` it includes the close by the responder.
    pub(crate) fn request(&mut self, request: &Request) -> Response {
        let wire = request.bytes();
        // What fits into a socket's buffer needs no second thread.
        let mut response = if wire.len() <= 65_536 {
            self.write(&wire);
            self.response(request.id)
        } else {
            let mut writer = self.writer();
            thread::scope(|scope| {
                scope.spawn(move || writer.write(&wire));
                self.response(request.id)
            })
        };
        if !request.keep && !response.closed {
            let rest = self.read_to_eof();
            assert!(rest.is_empty(), "bytes after FCGI_END_REQUEST: {rest:?}");
            response.closed = true;
            response.reset = self.reset;
        }
        response
    }

    /// No more will be sent, but answers are awaited.
    pub(crate) fn shutdown_write(&self) {
        // Fails only where the peer has gone already, which the next read tells.
        let _ = match &self.stream {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Everything up to the close.
    pub(crate) fn read_to_eof(&mut self) -> Vec<u8> {
        while self.fill() {}
        let rest = self.buffer.split_off(self.start);
        self.buffer.clear();
        self.start = 0;
        rest
    }

    /// Takes what comes of a response that may be cut anywhere, also inside a record, up to its end or the connection's: how many
    /// bytes that were.
    pub(crate) fn read_to_eof_or_end(&mut self) -> usize {
        let mut taken = 0;
        loop {
            let here = &self.buffer[self.start..];
            let head = here.first_chunk::<8>().copied();
            let whole = head.map(|head| {
                8 + usize::from(u16::from_be_bytes([head[4], head[5]])) + usize::from(head[6])
            });
            match (head, whole) {
                (Some(head), Some(whole)) if here.len() >= whole => {
                    self.start += whole;
                    taken += whole;
                    if head[1] == END_REQUEST {
                        return taken;
                    }
                }
                _ if !self.fill() => return taken + self.read_to_eof().len(),
                _ => {}
            }
        }
    }

    /// Whether nothing has come and the connection is still open, right now.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if self.start < self.buffer.len() {
            return false;
        }
        let mut byte = [0];
        let flags = nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT;
        nix::sys::socket::recv(self.as_fd().as_raw_fd(), &mut byte, flags)
            == Err(nix::errno::Errno::EAGAIN)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}
