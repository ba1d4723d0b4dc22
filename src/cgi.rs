//! The CGI door: this process's environment, standard input and output as one request (RFC 3875).
//!
//! The response goes byte by byte as PEP 3333's `run_with_cgi` writes it, through a descriptor that nothing else knows:
//! what the application prints goes to standard error.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::sendfile::sendfile64;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;
use nix::sys::uio::pread;
use nix::unistd::{dup2_stdin, dup2_stdout};

use crate::gateway::{
    Exchange, FileSpan, KeptBytes, MadeId, Portion, Pushed, Request, RequestBody, ResponseProgress,
    ResponseWriter, Variables, interrupted, sent_id,
};

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
    /// The two as another program has moved them, which is this process now.
    pub fn moved(input: OwnedFd, output: OwnedFd) -> Self {
        Self {
            input: input.into(),
            output: output.into(),
        }
    }

    /// The two descriptors, which are nobody's but this request's.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.input.as_fd(), self.output.as_fd()]
    }
}

/// Takes out of the environment what a client has put there and programs take for the operator's word: under a web server a
/// request's Proxy header is HTTP_PROXY (httpoxy, CVE-2016-5385).
///
/// # Safety
/// This process must have a single thread.
pub unsafe fn disarm_environment() {
    if std::env::var_os("REQUEST_METHOD").is_some() {
        // SAFETY: as the caller says, nobody reads the environment meanwhile.
        unsafe { std::env::remove_var("HTTP_PROXY") };
    }
}

/// The variables of the request that this process was started for: its environment. A process without REQUEST_METHOD was started
/// from a terminal and answers a GET of /.
pub fn request_variables() -> Variables {
    let mut variables = Variables::new();
    for (name, value) in std::env::vars_os() {
        variables.push(name.as_bytes(), value.as_bytes());
    }
    if variables.get(b"REQUEST_METHOD").is_none() {
        variables.push(b"REQUEST_METHOD", b"GET");
        if variables.get(b"PATH_INFO").is_none() {
            variables.push(b"PATH_INFO", b"/");
        }
    }
    variables
}

/// How much of standard input is the request's body: a program "MUST NOT attempt to read more" (RFC 3875 section 4.2), since what
/// follows on a client's own socket is its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyExtent {
    /// So many bytes.
    Bytes(u64),
    /// All of it.
    ToTheEnd,
}

impl BodyExtent {
    /// That of a request with these variables.
    pub fn of(variables: &Variables) -> Self {
        let is = |name: &[u8], test: &dyn Fn(&[u8]) -> bool| variables.get(name).is_some_and(test);
        if let Some(announced) = Request::content_length(variables.get(b"CONTENT_LENGTH")) {
            return Self::Bytes(announced);
        }
        // Apache gives a chunked body decoded and ends it; others leave the input open for ever.
        let is_chunked = is(b"HTTP_TRANSFER_ENCODING", &|coding| {
            coding.eq_ignore_ascii_case(b"chunked")
        });
        let is_apache = is(b"SERVER_SOFTWARE", &|software| {
            software.starts_with(b"Apache")
        });
        match is_chunked && is_apache {
            true => Self::ToTheEnd,
            false => Self::Bytes(0),
        }
    }

    /// The most bytes.
    pub fn most(self) -> u64 {
        match self {
            Self::Bytes(count) => count,
            Self::ToTheEnd => u64::MAX,
        }
    }
}

/// One CGI request.
pub struct CgiExchange {
    variables: Variables,
    stdin: File,
    /// Until the request has ended. One piece of the response at a time has it.
    stdout: Mutex<Option<File>>,
    /// Whether the body is read to the end of the input, since nothing announces its length.
    to_the_end: bool,
    /// Its id, where the web server has sent none.
    made_id: Option<MadeId>,
    body: Mutex<StdinBody>,
    progress: Mutex<ResponseProgress>,
    /// The request has ended, for whoever still waits for its body.
    over: AtomicBool,
}

/// What was read of the body.
struct StdinBody {
    /// The first `used` bytes were consumed.
    buffer: Vec<u8>,
    used: usize,
    /// Bytes of the input that belong to the body and were not read.
    unread: u64,
    /// The input has ended.
    ended: bool,
}

const BUFFER: usize = 64 * 1024;

/// Milliseconds after which a thread that waits for the body looks whether the request has ended.
const LOOK: u16 = 250;

impl CgiExchange {
    /// The request that this process was started for; to be made while there is one thread.
    pub fn new(stdio: Stdio) -> Arc<Self> {
        let variables = request_variables();
        let made_id = sent_id(&variables).is_none().then(MadeId::next);
        let extent = BodyExtent::of(&variables);
        let to_the_end = extent == BodyExtent::ToTheEnd;
        let unread = extent.most();
        let is_head = variables.get(b"REQUEST_METHOD") == Some(b"HEAD");
        Arc::new(Self {
            variables,
            stdin: stdio.input,
            stdout: Mutex::new(Some(stdio.output)),
            to_the_end,
            made_id,
            body: Mutex::new(StdinBody {
                buffer: Vec::new(),
                used: 0,
                unread,
                ended: false,
            }),
            progress: Mutex::new(ResponseProgress::new(is_head)),
            over: AtomicBool::new(false),
        })
    }

    /// Whether the response came to its end.
    pub fn is_complete(&self) -> bool {
        lock(&self.progress).has_ended()
    }

    /// The request has ended: the web server sees the end of the response, and nothing more of the body is read.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
        drop(lock(&self.stdout).take());
    }

    fn check_open(&self) -> io::Result<()> {
        if self.over.load(Ordering::Acquire) {
            return Err(over());
        }
        Ok(())
    }

    /// How much of a piece may be sent.
    ///
    /// lighttpd sends SIGTERM as soon as it has as many bytes as Content-Length says: the application's `close()` and
    /// Python's own end have to survive that.
    fn admit(
        &self,
        admit: impl FnOnce(&mut ResponseProgress) -> io::Result<Portion>,
    ) -> io::Result<Portion> {
        let portion = admit(&mut lock(&self.progress))?;
        if portion.is_whole {
            static IGNORED: AtomicBool = AtomicBool::new(false);
            if !IGNORED.swap(true, Ordering::Relaxed) {
                // SAFETY: ignoring a signal installs no handler.
                let _ = unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) };
            }
        }
        Ok(portion)
    }

    fn settle(&self, sent: io::Result<()>, portion: &Portion) -> io::Result<Pushed> {
        sent.inspect_err(|_| lock(&self.progress).fail())?;
        portion.result()
    }

    /// Sends the head if it leaves now, and of the blocks what may go.
    fn write_piece(stdout: &File, portion: &Portion, blocks: &[&[u8]]) -> io::Result<()> {
        let mut bytes = Vec::new();
        if let Some(head) = &portion.head {
            head.write_status_first(&mut bytes);
        }
        let mut room = usize::try_from(portion.bytes).unwrap_or(usize::MAX);
        let mut pieces = vec![IoSlice::new(&bytes)];
        for block in blocks {
            let count = room.min(block.len());
            pieces.push(IoSlice::new(&block[..count]));
            room -= count;
        }
        write(stdout, &mut pieces)
    }
}

impl RequestBody for CgiExchange {
    fn remaining(&self) -> Option<u64> {
        let body = lock(&self.body);
        let here = (body.buffer.len() - body.used) as u64;
        (!self.to_the_end).then(|| body.unread + here)
    }

    fn take(&self, work: &mut dyn FnMut(&[u8]) -> usize) -> io::Result<()> {
        self.check_open()?;
        let mut body = lock(&self.body);
        let count = work(&body.buffer[body.used..]);
        body.used += count;
        Ok(())
    }

    fn fill(&self) -> io::Result<bool> {
        loop {
            self.check_open()?;
            let mut body = lock(&self.body);
            if body.used < body.buffer.len() {
                return Ok(true);
            }
            if body.ended || body.unread == 0 {
                return match body.unread {
                    lacks @ 1.. if !self.to_the_end => Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("the request's body ended {lacks} bytes before its CONTENT_LENGTH"),
                    )),
                    _ => Ok(false),
                };
            }
            // Under the lock: another thread may have read meanwhile what was waited for.
            if wait(&self.stdin, PollFlags::POLLIN, PollTimeout::ZERO)? {
                body.read(&self.stdin)?;
                continue;
            }
            drop(body);
            wait(&self.stdin, PollFlags::POLLIN, PollTimeout::from(LOOK))?;
        }
    }
}

impl StdinBody {
    /// Reads what is here.
    fn read(&mut self, mut stdin: &File) -> io::Result<()> {
        let room = usize::try_from(self.unread).unwrap_or(usize::MAX);
        self.buffer.resize(BUFFER.min(room), 0);
        self.used = 0;
        let read = stdin.read(&mut self.buffer);
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(count);
        self.unread -= count as u64;
        match read {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl ResponseWriter for CgiExchange {
    fn progress(&self, work: &mut dyn FnMut(&mut ResponseProgress)) {
        work(&mut lock(&self.progress));
    }

    fn send(&self, blocks: &[&[u8]], last: bool) -> io::Result<Pushed> {
        let guard = lock(&self.stdout);
        let stdout = guard.as_ref().ok_or_else(over)?;
        let total = blocks.iter().map(|block| block.len() as u64).sum();
        let portion = self.admit(|progress| progress.admit(total, last))?;
        self.settle(Self::write_piece(stdout, &portion, blocks), &portion)
    }

    fn send_kept(&self, blocks: Vec<KeptBytes>, last: bool) -> io::Result<Pushed> {
        let blocks: Vec<&[u8]> = blocks.iter().map(|block| (**block).as_ref()).collect();
        self.send(&blocks, last)
    }

    fn send_file(&self, mut span: FileSpan<'_>) -> io::Result<Pushed> {
        let guard = lock(&self.stdout);
        let stdout = guard.as_ref().ok_or_else(over)?;
        let portion = self.admit(|progress| progress.admit_file(span.length))?;
        span.length = portion.bytes;
        let sent = Self::write_piece(stdout, &portion, &[])
            .and_then(|()| send_span(stdout, span, portion.tells_its_end));
        self.settle(sent, &portion)
    }

    fn report(&self, text: &[u8]) {
        let _ = io::stderr().write_all(text);
    }

    fn flush_reports(&self) {}
}

impl Exchange for CgiExchange {
    fn variables(&self) -> &Variables {
        &self.variables
    }

    fn marks_end_of_body(&self) -> bool {
        self.to_the_end
    }

    fn id(&self) -> &str {
        let made = self.made_id.as_ref().map(MadeId::as_str);
        made.or_else(|| sent_id(&self.variables))
            .unwrap_or_default()
    }
}

/// Sends all pieces in order.
fn write(mut stdout: &File, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let count = pieces.len().min(1024);
        match stdout.write_vectored(&pieces[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => IoSlice::advance_slices(&mut pieces, sent),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => interrupted()?,
            // A web server may have given us a descriptor that does not block.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(stdout, PollFlags::POLLOUT, PollTimeout::NONE)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends a part of a file; `told`: the response's length was, so that a file that ends early is no end.
fn send_span(stdout: &File, span: FileSpan<'_>, told: bool) -> io::Result<()> {
    // Without a length that was told, the file's end is that of the response.
    let (mut offset, mut left) = (span.offset, if told { span.length } else { u64::MAX });
    while left > 0 {
        let mut position = i64::try_from(offset).map_err(io::Error::other)?;
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        let sent = match sendfile64(stdout, span.file, Some(&mut position), count) {
            Ok(sent) => sent,
            Err(Errno::EINTR) => {
                interrupted()?;
                continue;
            }
            Err(Errno::EAGAIN) => {
                wait(stdout, PollFlags::POLLOUT, PollTimeout::NONE)?;
                continue;
            }
            // An output or a file that sendfile cannot serve (a file opened for appending, for one).
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                let mut piece = vec![0; count.min(BUFFER)];
                let read = pread(span.file, &mut piece, position)?;
                write(stdout, &mut [IoSlice::new(&piece[..read])])?;
                read
            }
            Err(error) => return Err(error.into()),
        };
        if sent == 0 {
            if !told {
                return Ok(());
            }
            let text =
                "the file that is the response has become shorter than its Content-Length says";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        offset += sent as u64;
        left -= sent as u64;
    }
    Ok(())
}

/// Whether the file is ready for `events` within the time.
fn wait(file: &File, events: PollFlags, timeout: PollTimeout) -> io::Result<bool> {
    match poll(&mut [PollFd::new(file.as_fd(), events)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => interrupted().map(|()| false),
        Err(error) => Err(error.into()),
    }
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the request has ended")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
