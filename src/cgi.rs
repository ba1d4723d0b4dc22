//! The CGI door: this process's environment, standard input and output as one request (RFC 3875).
//!
//! The response goes byte by byte as PEP 3333's `run_with_cgi` writes it, through a descriptor that nothing else knows:
//! what the application prints goes to standard error.

use std::any::Any;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::sendfile::sendfile64;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;
use nix::sys::uio::pread;
use nix::unistd::{dup2_stdin, dup2_stdout};

use crate::gateway::{Arrival, Exchange, FileError, FileSpan, Head, Request, Variables};

/// The process's standard input and output, moved to where the application does not find them.
#[derive(Debug)]
pub struct Stdio {
    input: File,
    output: File,
}

impl Stdio {
    /// Moves descriptors 0 and 1 away, and puts /dev/null and standard error in their place. To be called before
    /// anything of the application's runs, and while there is one thread.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn take() -> io::Result<Self> {
        let moved =
            |fd: BorrowedFd<'_>| -> io::Result<File> { Ok(fd.try_clone_to_owned()?.into()) };
        let stdio = Self {
            input: moved(io::stdin().as_fd())?,
            output: moved(io::stdout().as_fd())?,
        };
        let nothing: OwnedFd = open(
            "/dev/null",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        dup2_stdin(&nothing)?;
        dup2_stdout(io::stderr())?;
        Ok(stdio)
    }
}

impl Stdio {
    /// The two descriptors, which are nobody's but this request's.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.input.as_fd(), self.output.as_fd()]
    }
}

/// One CGI request.
pub struct CgiExchange {
    variables: Variables,
    stdio: Stdio,
    /// Whether the body is read to the end of the input, since nothing announces its length.
    to_the_end: bool,
    /// What was read of the body; the first `used` bytes were consumed.
    buffer: Vec<u8>,
    used: usize,
    /// Bytes of the input that belong to the body and were not read: "MUST NOT attempt to read more" (RFC 3875 section
    /// 4.2), since what follows on a client's own socket is its next request.
    unread: u64,
    /// Bytes of the body that may still be sent before the web server takes the response for complete.
    left: Option<u64>,
    complete: bool,
}

const BUFFER: usize = 64 * 1024;

impl CgiExchange {
    /// The request that this process was started for; to be made while there is one thread. A process without REQUEST_METHOD was started from a terminal and
    /// answers a GET of /.
    pub fn new(stdio: Stdio) -> Box<Self> {
        let mut variables = Variables::new();
        for (name, value) in std::env::vars_os() {
            variables.push(name.as_bytes(), value.as_bytes());
        }
        if variables.get(b"REQUEST_METHOD").is_some() {
            // httpoxy (CVE-2016-5385): under a web server this is the client's word, and libraries that look for the
            // operator's would find it in os.environ.
            // SAFETY: this process has one thread as yet, so nobody reads the environment meanwhile.
            unsafe { std::env::remove_var("HTTP_PROXY") };
        } else {
            variables.push(b"REQUEST_METHOD", b"GET");
            if variables.get(b"PATH_INFO").is_none() {
                variables.push(b"PATH_INFO", b"/");
            }
        }
        let is = |name: &[u8], test: &dyn Fn(&[u8]) -> bool| variables.get(name).is_some_and(test);
        let announced = Request::content_length(variables.get(b"CONTENT_LENGTH"));
        // Apache gives a chunked body decoded and ends it; others leave the input open for ever.
        let to_the_end = announced.is_none()
            && is(b"HTTP_TRANSFER_ENCODING", &|coding| {
                coding.eq_ignore_ascii_case(b"chunked")
            })
            && is(b"SERVER_SOFTWARE", &|software| {
                software.starts_with(b"Apache")
            });
        let unread = announced.unwrap_or(if to_the_end { u64::MAX } else { 0 });
        Box::new(Self {
            unread,
            variables,
            stdio,
            to_the_end,
            buffer: Vec::new(),
            used: 0,
            left: None,
            complete: false,
        })
    }

    /// Whether the response came to its end.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// lighttpd sends SIGTERM as soon as it has as many bytes as Content-Length says: the application's `close()` and
    /// Python's own end have to survive that.
    fn count(&mut self, head: Option<&Head>, bytes: u64, last: bool) {
        if let Some(head) = head {
            self.left = head.content_length();
        }
        self.left = self.left.map(|left| left.saturating_sub(bytes));
        if last || self.left == Some(0) {
            static IGNORED: AtomicBool = AtomicBool::new(false);
            if !IGNORED.swap(true, Ordering::Relaxed) {
                // SAFETY: ignoring a signal installs no handler.
                let _ = unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) };
            }
        }
    }

    fn write(&mut self, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            let count = pieces.len().min(1024);
            match self.stdio.output.write_vectored(&pieces[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => IoSlice::advance_slices(&mut pieces, sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_writable()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A web server may have given us a descriptor that does not block.
    fn wait_writable(&self) -> io::Result<()> {
        wait(&self.stdio.output, PollFlags::POLLOUT)
    }

    fn send_span(&mut self, span: FileSpan<'_>) -> Result<u64, FileError> {
        let mut sent = 0;
        while sent < span.length {
            let unread = |error| FileError::Unread { sent, error };
            let mut position = i64::try_from(span.offset.saturating_add(sent))
                .map_err(|error| unread(io::Error::other(error)))?;
            let left = span.length - sent;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
            let count = match sendfile64(&self.stdio.output, span.file, Some(&mut position), count)
            {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {
                    self.wait_writable().map_err(FileError::Peer)?;
                    continue;
                }
                // An output or a file that sendfile cannot serve (a file opened for appending, for one).
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    let mut piece = vec![0; count.min(BUFFER)];
                    let read = pread(span.file, &mut piece, position)
                        .map_err(|error| unread(error.into()))?;
                    self.write(&mut [IoSlice::new(&piece[..read])])
                        .map_err(FileError::Peer)?;
                    read
                }
                Err(error @ (Errno::EPIPE | Errno::ECONNRESET)) => {
                    return Err(FileError::Peer(error.into()));
                }
                Err(error) => return Err(unread(error.into())),
            };
            if count == 0 {
                break;
            }
            sent += count as u64;
        }
        Ok(sent)
    }
}

impl Exchange for CgiExchange {
    fn variables(&self) -> &Variables {
        &self.variables
    }

    fn marks_end_of_body(&self) -> bool {
        self.to_the_end
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }

    fn fill(&mut self) -> io::Result<bool> {
        if self.used < self.buffer.len() {
            return Ok(true);
        }
        // A read of a pipe would wait with the exchange in hand.
        if !arrives(&self.stdio.input, Duration::ZERO)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let room = usize::try_from(self.unread).unwrap_or(usize::MAX);
        self.buffer.resize(BUFFER.min(room), 0);
        self.used = 0;
        loop {
            let read = self.stdio.input.read(&mut self.buffer);
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    let count = *read.as_ref().unwrap_or(&0);
                    self.buffer.truncate(count);
                    self.unread -= count as u64;
                    return read.map(|count| count > 0);
                }
            }
        }
    }

    fn arrival(&self) -> io::Result<Arrival> {
        let input = self.stdio.input.try_clone()?;
        Ok(Arrival {
            wait: Box::new(move |limit| arrives(&input, limit)),
            limit: None,
        })
    }

    fn send(&mut self, head: Option<&Head>, blocks: &[&[u8]], last: bool) -> io::Result<()> {
        let mut bytes = Vec::new();
        if let Some(head) = head {
            head.write_status_first(&mut bytes);
        }
        self.count(
            head,
            blocks.iter().map(|block| block.len() as u64).sum(),
            last,
        );
        let mut pieces = vec![IoSlice::new(&bytes)];
        pieces.extend(blocks.iter().map(|block| IoSlice::new(block)));
        self.write(&mut pieces)?;
        self.complete = last;
        Ok(())
    }

    fn send_file(&mut self, head: Option<&Head>, span: FileSpan<'_>) -> Result<u64, FileError> {
        // While nothing has left the response can still be another one.
        let first = i64::try_from(span.offset)
            .map_err(io::Error::other)
            .and_then(|offset| Ok(pread(span.file, &mut [0], offset)?));
        match first {
            Ok(0) => return Ok(0),
            Ok(_) => {}
            Err(error) => return Err(FileError::Unread { sent: 0, error }),
        }
        self.send(head, &[], false).map_err(FileError::Peer)?;
        self.count(None, span.length, false);
        self.send_span(span)
    }

    fn report(&mut self, text: &[u8]) {
        let _ = io::stderr().write_all(text);
    }

    fn flush_reports(&mut self) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Whether there is something to read within this time, or the end.
fn arrives(input: &File, limit: Duration) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(
        &mut [PollFd::new(input.as_fd(), PollFlags::POLLIN)],
        timeout,
    ) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn wait(file: &File, events: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(file.as_fd(), events)], PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
