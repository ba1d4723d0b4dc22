//! A web server's side of FastCGI 1.0, for the tests. Shares no code with `src/`: what it knows it
//! has from the specification. It is strict: a record that a web server could not place is a panic.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

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

/// One request as a web server would send it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) params: Vec<Pair>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) keep: bool,
    pub(crate) id: u16,
    pub(crate) role: u16,
}

impl Request {
    /// The variables of nginx's stock `fastcgi_params`, with the application at the root.
    pub(crate) fn get(path_and_query: &str) -> Request {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let path_info = percent_decoded(path);
        let mut request = Request {
            params: Vec::new(),
            stdin: Vec::new(),
            keep: false,
            id: 1,
            role: RESPONDER,
        };
        for (name, value) in [
            ("QUERY_STRING", query.as_bytes()),
            ("REQUEST_METHOD", b"GET"),
            ("CONTENT_TYPE", b""),
            ("CONTENT_LENGTH", b""),
            ("SCRIPT_NAME", b""),
            ("PATH_INFO", &path_info),
            ("REQUEST_URI", path_and_query.as_bytes()),
            ("DOCUMENT_URI", &path_info),
            ("DOCUMENT_ROOT", b"/var/www/html"),
            ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ("REQUEST_SCHEME", b"http"),
            ("GATEWAY_INTERFACE", b"CGI/1.1"),
            ("SERVER_SOFTWARE", b"nginx/1.26.3"),
            ("REMOTE_ADDR", b"127.0.0.1"),
            ("REMOTE_PORT", b"54321"),
            ("REMOTE_USER", b""),
            ("SERVER_ADDR", b"127.0.0.1"),
            ("SERVER_PORT", b"80"),
            ("SERVER_NAME", b"localhost"),
            ("REDIRECT_STATUS", b"200"),
            ("HTTP_HOST", b"localhost"),
            ("HTTP_USER_AGENT", b"suite"),
            ("HTTP_ACCEPT", b"*/*"),
        ] {
            request = request.add_param(name, value);
        }
        request
    }

    pub(crate) fn post(path: &str, body: &[u8]) -> Request {
        let mut request = Request::get(path)
            .param("REQUEST_METHOD", "POST")
            .param("CONTENT_TYPE", "application/octet-stream")
            .param("CONTENT_LENGTH", body.len().to_string());
        request.stdin = body.to_vec();
        request
    }

    /// Sets a variable: replaces its value where it stands, or adds it.
    pub(crate) fn param(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        match self.params.iter_mut().find(|pair| pair.0 == name) {
            Some(pair) => pair.1 = value.as_ref().to_vec(),
            None => return self.add_param(name, value),
        }
        self
    }

    /// Adds a variable, also when there is one of that name.
    pub(crate) fn add_param(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.params
            .push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn without(mut self, name: impl AsRef<[u8]>) -> Self {
        self.params.retain(|pair| pair.0 != name.as_ref());
        self
    }

    /// With `FCGI_KEEP_CONN`.
    pub(crate) fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn role(mut self, role: u16) -> Self {
        self.role = role;
        self
    }

    /// The whole request as nginx would write it: one record a stream where it fits, padded to eight.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut wire = self.head();
        wire.extend(stream(STDIN, self.id, &self.stdin, 32_768));
        wire
    }

    /// Up to the end of `FCGI_PARAMS`.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut wire = begin(self.id, self.role, u8::from(self.keep));
        wire.extend(stream(PARAMS, self.id, &pairs(&self.params), 65_528));
        wire
    }
}

fn percent_decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            decoded.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            decoded.push(byte);
        }
    }
    decoded
}

/// One record, as section 3.3 draws it.
pub(crate) fn record(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("the content of a record");
    let mut wire = vec![1, kind];
    wire.extend(id.to_be_bytes());
    wire.extend(length.to_be_bytes());
    wire.extend([padding, 0]);
    wire.extend(content);
    // Not zeroes: padding is ignored, so what is in it must not matter.
    wire.extend(std::iter::repeat_n(0xA5, usize::from(padding)));
    wire
}

/// A stream in records of at most `size` bytes, and the empty record that ends it.
pub(crate) fn stream(kind: u8, id: u16, content: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for part in content.chunks(size) {
        let padding = part.len().wrapping_neg() % 8;
        wire.extend(record(kind, id, part, u8::try_from(padding).unwrap()));
    }
    wire.extend(record(kind, id, b"", 0));
    wire
}

/// `FCGI_BEGIN_REQUEST` (section 5.1).
pub(crate) fn begin(id: u16, role: u16, flags: u8) -> Vec<u8> {
    let [high, low] = role.to_be_bytes();
    record(BEGIN_REQUEST, id, &[high, low, flags, 0, 0, 0, 0, 0], 0)
}

/// Name-value pairs (section 3.4): one byte for a length up to 127, else four.
pub(crate) fn pairs(pairs: &[Pair]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (name, value) in pairs {
        for length in [name.len(), value.len()] {
            if length < 0x80 {
                wire.push(u8::try_from(length).unwrap());
            } else {
                wire.extend(long_length(length));
            }
        }
        wire.extend(name);
        wire.extend(value);
    }
    wire
}

/// The form of four bytes, which is legal for any length.
pub(crate) fn long_length(length: usize) -> [u8; 4] {
    (u32::try_from(length).unwrap() | 0x8000_0000).to_be_bytes()
}

/// The way back.
pub(crate) fn parse_pairs(mut wire: &[u8]) -> Vec<Pair> {
    fn length(wire: &mut &[u8]) -> usize {
        let first = usize::from(wire[0]);
        if first < 0x80 {
            *wire = &wire[1..];
            return first;
        }
        let long = u32::from_be_bytes(wire[..4].try_into().unwrap());
        *wire = &wire[4..];
        usize::try_from(long & 0x7FFF_FFFF).unwrap()
    }
    let mut found = Vec::new();
    while !wire.is_empty() {
        let name = length(&mut wire);
        let value = length(&mut wire);
        let (pair, rest) = wire.split_at(name + value);
        let (name, value) = pair.split_at(name);
        found.push((name.to_vec(), value.to_vec()));
        wire = rest;
    }
    found
}

/// A record that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: u8,
    pub(crate) id: u16,
    pub(crate) content: Vec<u8>,
    pub(crate) padding: u8,
}

impl Record {
    /// The content of an `FCGI_END_REQUEST` (section 5.5).
    pub(crate) fn end_request(&self) -> EndRequest {
        assert_eq!(self.kind, END_REQUEST, "{self:?}");
        assert_eq!(self.content.len(), 8, "FCGI_EndRequestBody is 8 bytes");
        assert_eq!(self.content[5..], [0, 0, 0], "reserved bytes");
        EndRequest {
            app_status: u32::from_be_bytes(self.content[..4].try_into().unwrap()),
            protocol_status: self.content[4],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndRequest {
    pub(crate) app_status: u32,
    pub(crate) protocol_status: u8,
}

/// What came for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// 200 where the application named none, 0 where no whole head came.
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// All but `Status`, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) end: Option<EndRequest>,
    /// Content lengths of the `FCGI_STDOUT` records, without the empty one that ends the stream.
    pub(crate) stdout_records: Vec<usize>,
    pub(crate) stderr_records: Vec<usize>,
    /// Whether the empty record came.
    pub(crate) stdout_ended: bool,
    pub(crate) stderr_ended: bool,
    pub(crate) raw_stdout: Vec<u8>,
    /// Whether the other side has closed the connection.
    pub(crate) closed: bool,
    /// Whether the response was given up with a header that no web server can take for its end.
    pub(crate) broken: bool,
    /// Whether it ended with a reset: what a peer sees that still had bytes on the way.
    pub(crate) reset: bool,
}

impl Response {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|header| header.0.eq_ignore_ascii_case(name))
            .map(|header| header.1.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A complete response that ended as it should: what most tests expect before they look closer.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{self:#?}");
        assert!(!self.reset, "{self:#?}");
        assert_eq!(
            self.end.map(|end| end.protocol_status),
            Some(REQUEST_COMPLETE),
            "{self:#?}"
        );
        self
    }

    fn parse_head(&mut self) {
        let raw = std::mem::take(&mut self.raw_stdout);
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            self.status = 200;
            for line in raw[..end].split(|byte| *byte == b'\n') {
                let line: String = line.iter().map(|byte| char::from(*byte)).collect();
                let line = line.strip_suffix('\r').unwrap_or(&line);
                let (name, value) = line
                    .split_once(':')
                    .unwrap_or_else(|| panic!("header line without a colon: {line:?}"));
                let value = value.trim();
                if name.eq_ignore_ascii_case("status") {
                    let (code, reason) = value.split_once(' ').unwrap_or((value, ""));
                    self.status = code.parse().unwrap();
                    self.reason = reason.into();
                } else {
                    self.headers.push((name.into(), value.into()));
                }
            }
            self.body = raw[end + 4..].to_vec();
        }
        self.raw_stdout = raw;
    }
}

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
        let read = self.stream.read(&mut self.buffer[filled..]);
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
