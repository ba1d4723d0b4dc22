//! Passes one request on, and its answer back: nothing of either is looked at.
//!
//! A responder that ends before it has read anything of a request has not answered it: so nothing of the body is taken from the
//! web server before something was read, and the request can be given to another, or answered without one.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use nix::unistd::{read, write};

use super::find::ResponderSocket;
use crate::cgi::BodyExtent;
use crate::fastcgi::{Reply, ReplyReader, write_body, write_request};
use crate::gateway::Variables;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024 - 8;

/// As much as a pipe that can be written to takes without a wait (pipe(7), PIPE_BUF).
const PIPE: usize = 4096;

/// A request that is passed on.
#[derive(Debug)]
pub struct PassedOn<'a> {
    /// Its variables.
    pub variables: &'a Variables,
    /// How much of `input` is its body.
    pub extent: BodyExtent,
    /// Where its body is read.
    pub input: BorrowedFd<'a>,
    /// Where the response is written.
    pub output: BorrowedFd<'a>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, and this program is to end with this exit code.
    Answered(u8),
    /// Nothing of it was read.
    Unread,
    /// The responder has died, and nothing of an answer has come.
    Unanswered,
    /// The answer was cut.
    Cut,
    /// The web server does not want the answer any more.
    Unwanted,
}

/// Passes the request on to the responder, and its answer to the web server.
pub fn pass_on(connection: ResponderSocket, request: &PassedOn<'_>) -> Outcome {
    let ResponderSocket { socket } = connection;
    let left = request.extent.most();
    let mut first = Vec::with_capacity(PIPE);
    write_request(&mut first, request.variables.iter(), left > 0);
    if left > 0 {
        // Then there is room for more only when it has read of this: Linux wants three quarters of the buffer to be free.
        let _ = setsockopt(&socket, sockopt::SndBuf, &first.len());
    }
    let mut relay = Relay {
        request,
        left,
        was_read: left == 0,
        unsent: first,
        sent: 0,
        answer: Vec::new(),
        written: 0,
        has_begun: false,
        status: None,
        socket,
    };
    relay.run().unwrap_or_else(|error| {
        log::error!("the request cannot be passed on: {error}");
        relay.lost()
    })
}

/// One that is on its way.
struct Relay<'a> {
    request: &'a PassedOn<'a>,
    socket: UnixStream,
    /// Bytes of the body that were not taken from the web server.
    left: u64,
    /// Whether the responder has read of the request, which may be the application's then. Not asked where there is no body.
    was_read: bool,
    /// What is to be sent, and how much of it was.
    unsent: Vec<u8>,
    sent: usize,
    /// What of the answer is to be written, and how much of it was.
    answer: Vec<u8>,
    written: usize,
    /// Whether anything of the answer has come.
    has_begun: bool,
    /// The exit code, once the answer is whole.
    status: Option<u32>,
}

/// What can be done without a wait.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    to_send: bool,
    to_receive: bool,
    to_write: bool,
    to_take: bool,
    is_unwanted: bool,
}

impl Relay<'_> {
    fn run(&mut self) -> io::Result<Outcome> {
        self.socket.set_nonblocking(true)?;
        let mut reader = ReplyReader::default();
        let mut buffer = vec![0; PIECE];
        loop {
            self.send()?;
            let ready = self.wait()?;
            if ready.is_unwanted || (ready.to_write && !self.write()?) {
                return Ok(Outcome::Unwanted);
            }
            if ready.to_send {
                self.note_read();
            }
            if ready.to_take {
                self.take_body();
            }
            if ready.to_receive {
                if let Some(outcome) = self.receive(&mut reader, &mut buffer)? {
                    return Ok(outcome);
                }
                // Most of the time nobody has to be waited for.
                if !self.sends_body() && !self.write()? {
                    return Ok(Outcome::Unwanted);
                }
            }
            if let (Some(status), true) = (self.status, self.answer.is_empty()) {
                return Ok(Outcome::Answered(u8::try_from(status).unwrap_or(1)));
            }
        }
    }

    /// What has come of the request when there is nothing more.
    fn lost(&self) -> Outcome {
        match (self.has_begun, self.was_read) {
            (true, _) => Outcome::Cut,
            (false, true) => Outcome::Unanswered,
            (false, false) => Outcome::Unread,
        }
    }

    /// Whether a part of the body is still on its way, so that what writes the answer may not wait: the web server may read
    /// nothing before it has given all.
    fn sends_body(&self) -> bool {
        self.left > 0 || !self.unsent.is_empty()
    }

    /// Waits until something can be done.
    fn wait(&self) -> io::Result<Ready> {
        let mut from = PollFlags::empty();
        from.set(
            PollFlags::POLLIN,
            self.answer.is_empty() && self.status.is_none(),
        );
        from.set(
            PollFlags::POLLOUT,
            !self.unsent.is_empty() || !self.was_read,
        );
        let takes = self.left > 0 && self.was_read && self.unsent.is_empty();
        let mut to = PollFlags::empty();
        to.set(PollFlags::POLLOUT, !self.answer.is_empty());
        let mut fds = vec![PollFd::new(self.request.output, to)];
        if takes {
            fds.push(PollFd::new(self.request.input, PollFlags::POLLIN));
        }
        if !from.is_empty() {
            fds.push(PollFd::new(self.socket.as_fd(), from));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(Ready::default()),
            found => found?,
        };
        let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        let output = events(&fds[0]);
        let mut ready = Ready {
            to_write: output.contains(PollFlags::POLLOUT),
            is_unwanted: output.contains(PollFlags::POLLERR),
            to_take: takes && !events(&fds[1]).is_empty(),
            ..Ready::default()
        };
        if !from.is_empty() {
            let socket = fds.last().map_or(PollFlags::empty(), events);
            let over = PollFlags::POLLHUP | PollFlags::POLLERR;
            ready.to_send = socket.contains(PollFlags::POLLOUT);
            // Not before what has come is written: the end of a responder would be taken for that of the answer.
            ready.to_receive =
                self.answer.is_empty() && socket.intersects(PollFlags::POLLIN | over);
        }
        Ok(ready)
    }

    /// Sends as much as the responder takes.
    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.unsent.len() {
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match send(self.socket.as_raw_fd(), &self.unsent[self.sent..], flags) {
                Ok(count) => self.sent += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                // It wants no more of the body, and may have said why; or it has gone.
                Err(Errno::EPIPE | Errno::ECONNRESET) => {
                    self.left = 0;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }

    /// More can be sent: where all that stands before the body was, it was read.
    fn note_read(&mut self) {
        /// As the kernel has it by itself.
        const USUAL: usize = 104 * 1024;
        if !self.was_read && self.unsent.is_empty() {
            self.was_read = true;
            let _ = setsockopt(&self.socket, sockopt::SndBuf, &USUAL);
        }
    }

    /// Takes a piece of the body from the web server.
    fn take_body(&mut self) {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
        let mut piece = vec![0; room];
        let count = match read(self.request.input, &mut piece) {
            Err(Errno::EINTR | Errno::EAGAIN) => return,
            // As if it ended there: the application is told how much is missing.
            Err(_) => 0,
            Ok(count) => count,
        };
        self.left -= count as u64;
        if count > 0 {
            write_body(&mut self.unsent, &piece[..count]);
        } else {
            self.left = 0;
        }
        if self.left == 0 {
            write_body(&mut self.unsent, &[]);
        }
    }

    /// Receives a piece of the answer; gives what has come of the request where there is nothing more.
    fn receive(
        &mut self,
        reader: &mut ReplyReader,
        buffer: &mut [u8],
    ) -> io::Result<Option<Outcome>> {
        let lost = self.lost();
        let count = match read(&self.socket, buffer) {
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(None),
            // There was something that it had not read; and all of a request without a body is read at once, or the application
            // has not seen it.
            Err(Errno::ECONNRESET) => {
                let has_body = self.request.extent.most() > 0;
                let is_unread = !self.has_begun && (!has_body || !self.was_read);
                return Ok(Some(if is_unread { Outcome::Unread } else { lost }));
            }
            Err(error) => return Err(error.into()),
            Ok(0) => return Ok(Some(lost)),
            Ok(count) => count,
        };
        let mut rest = &buffer[..count];
        loop {
            match reader.next(&mut rest) {
                Ok(Some(Reply::Stdout(piece))) => {
                    self.has_begun |= !piece.is_empty();
                    self.answer.extend_from_slice(piece);
                }
                Ok(Some(Reply::Stderr(piece))) => {
                    // Who does not read it does not lose the answer by that.
                    let _ = io::stderr().write_all(piece);
                }
                Ok(Some(Reply::End(status))) => {
                    // What is left of the body is nobody's.
                    self.left = 0;
                    self.unsent.clear();
                    self.sent = 0;
                    self.status = Some(status);
                    return Ok(None);
                }
                Ok(None) => return Ok(None),
                Err(_) => {
                    // What has come before is the web server's.
                    self.left = 0;
                    let _ = self.write();
                    return Ok(Some(Outcome::Cut));
                }
            }
        }
    }

    /// Writes what has come of the answer, or as much of it as goes without a wait where the body is still on its way: `false` when
    /// the web server has gone.
    fn write(&mut self) -> io::Result<bool> {
        while self.written < self.answer.len() {
            let all = &self.answer[self.written..];
            let piece = match self.sends_body() {
                true => &all[..all.len().min(PIPE)],
                false => all,
            };
            match write(self.request.output, piece) {
                Ok(count) => self.written += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(true),
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if self.sends_body() {
                break;
            }
        }
        if self.written == self.answer.len() {
            self.answer.clear();
            self.written = 0;
        }
        Ok(true)
    }
}
