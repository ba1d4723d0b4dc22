//! Takes the connections of the control sockets: those of FastCGI go on to the responder, those of HTTP are answered here. It never
//! waits for anybody, and bears few: a connection that is too many takes the place of the oldest.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, SockFlag, accept4, recv};

use super::answer::{Answer, Question};
use super::observer::{ObserverProcess, uid};
use crate::fastcgi::Handoff;
use crate::gateway::html::PAGE_FIELDS;
use crate::process::Bound;

/// Connections that are open at a time, and how many are taken before others have their turn.
const MOST: usize = 256;
const AT_ONCE: usize = 32;

/// How long a connection has for its request and its answer together.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of the longest request, and the most fields in it.
const REQUEST: usize = 8 * 1024;
const FIELDS: usize = 64;

/// `FCGI_VERSION_1`, with which every record begins (FastCGI section 3.3), and no method of HTTP.
const FASTCGI: u8 = 1;

/// The sockets and the connections.
pub(super) struct Intake {
    sockets: Vec<Bound>,
    connections: VecDeque<HttpConnection>,
    /// The way to the responder.
    handoff: Handoff,
}

/// A connection that is not known to be one of FastCGI.
struct HttpConnection {
    stream: Stream,
    since: Instant,
    /// What has come of the request.
    request: Vec<u8>,
    /// What is to be sent of the answer; nothing before there is one.
    answer: Option<Vec<u8>>,
    /// Whether it is to be closed.
    is_over: bool,
    /// Whether it may be one of FastCGI: nothing was read yet, of a Unix socket.
    is_new: bool,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Intake {
    pub(super) fn new(sockets: Vec<Bound>, handoff: Handoff) -> Self {
        Self {
            sockets,
            connections: VecDeque::new(),
            handoff,
        }
    }

    /// Sleeps until there is something to do here, something to read on this, or the time has come.
    pub(super) fn wait(&self, other: BorrowedFd<'_>, next: Instant) {
        let now = Instant::now();
        let mut fds = vec![PollFd::new(other, PollFlags::POLLIN)];
        let sockets = self.sockets.iter();
        fds.extend(sockets.map(|bound| PollFd::new(bound.socket.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.connections.iter().map(|connection| {
            let flags = match connection.answer {
                Some(_) => PollFlags::POLLOUT,
                None => PollFlags::POLLIN,
            };
            PollFd::new(connection.stream.as_fd(), flags)
        }));
        let due = self.connections.iter().map(|it| it.since + PATIENCE);
        let due = due.fold(next, Instant::min);
        let left = due.saturating_duration_since(now) + Duration::from_millis(1);
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut fds, wait);
    }

    /// Does what there is to do.
    pub(super) fn turn(&mut self, observer: &ObserverProcess) {
        self.accept();
        let now = Instant::now();
        for connection in &mut self.connections {
            connection.go_on(observer, &self.handoff);
            connection.is_over |= now >= connection.since + PATIENCE;
        }
        self.connections.retain(|connection| !connection.is_over);
    }

    fn accept(&mut self) {
        for bound in &self.sockets {
            for _ in 0..AT_ONCE {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let socket = match accept4(bound.socket.as_raw_fd(), flags) {
                    // SAFETY: the kernel has just made the descriptor for this process.
                    Ok(socket) => unsafe { OwnedFd::from_raw_fd(socket) },
                    Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                    Err(_) => break,
                };
                let stream = match bound.tcp {
                    true => Stream::Tcp(socket.into()),
                    false => Stream::Unix(socket.into()),
                };
                if self.connections.len() >= MOST {
                    self.connections.pop_front();
                }
                self.connections.push_back(HttpConnection {
                    is_new: !bound.tcp,
                    stream,
                    since: Instant::now(),
                    request: Vec::new(),
                    answer: None,
                    is_over: false,
                });
            }
        }
    }
}

impl HttpConnection {
    /// Goes on as far as it can without a wait.
    fn go_on(&mut self, observer: &ObserverProcess, handoff: &Handoff) {
        if self.is_new && !self.tell_apart(handoff) {
            return;
        }
        if self.answer.is_none() {
            self.read(observer);
        }
        if let Some(answer) = &mut self.answer {
            match self.stream.write(answer) {
                Ok(count) => drop(answer.drain(..count)),
                Err(error) if is_wait(&error) => {}
                Err(_) => self.is_over = true,
            }
            self.is_over |= answer.is_empty();
        }
    }

    /// Whether it is known to be one of HTTP.
    fn tell_apart(&mut self, handoff: &Handoff) -> bool {
        let mut first = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(self.stream.as_fd().as_raw_fd(), &mut first, flags) {
            Ok(1) if first == [FASTCGI] => {
                // The responder has a copy, or is full of them.
                let _ = handoff.pass(self.stream.as_fd());
                self.is_over = true;
                false
            }
            Ok(1) => {
                self.is_new = false;
                true
            }
            Err(Errno::EAGAIN | Errno::EINTR) => false,
            _ => {
                self.is_over = true;
                false
            }
        }
    }

    fn read(&mut self, observer: &ObserverProcess) {
        let mut bytes = [0; REQUEST];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.is_over = true,
            Ok(count) => self.request.extend_from_slice(&bytes[..count]),
            Err(error) if is_wait(&error) => {}
            Err(_) => self.is_over = true,
        }
        let answer = match answer(&self.request, self.stream.uid(), observer) {
            None if self.request.len() > REQUEST => Some(write(
                &Answer::new(
                    "431 Request Header Fields Too Large",
                    "text/plain",
                    "Too long.\n",
                ),
                false,
            )),
            answer => answer,
        };
        self.answer = self.answer.take().or(answer);
    }
}

/// The answer to a request, once it is whole.
fn answer(request: &[u8], uid: Option<u32>, observer: &ObserverProcess) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let plain = |status, text: &str| Some(write(&Answer::new(status, "text/plain", text), false));
    match parsed.parse(request) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return plain("400 Bad Request", "That is no HTTP.\n"),
    }
    let is_head = parsed.method == Some("HEAD");
    if !is_head && parsed.method != Some("GET") {
        return plain(
            "405 Method Not Allowed",
            "Only GET. What is to be done is told by wsgi-gateway's commands.\n",
        );
    }
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let field = |name: &str| {
        let mut fields = parsed.headers.iter();
        let found = fields.find(|field| field.name.eq_ignore_ascii_case(name));
        found.map_or(&[][..], |field| field.value)
    };
    let question = Question {
        path: path.as_bytes(),
        query: query.as_bytes(),
        accept: field("Accept"),
        uid,
    };
    Some(write(&question.answer(&mut observer.knowledge()), is_head))
}

/// An answer as HTTP has it, with or without its body.
fn write(answer: &Answer, is_head: bool) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
        answer.status,
        answer.kind,
        answer.body.len()
    );
    for (name, value) in PAGE_FIELDS {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    let body = if is_head { "" } else { &answer.body };
    [head.as_bytes(), body.as_bytes()].concat()
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl Stream {
    /// Who is at its other end, as far as the kernel says.
    fn uid(&self) -> Option<u32> {
        match self {
            Self::Unix(stream) => uid(stream.as_fd()),
            Self::Tcp(_) => None,
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}
