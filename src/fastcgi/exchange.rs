//! A request that the application has, as the core uses it: the calls of the seam, which may wait where the connection
//! does not.

mod body;
mod figures;
mod writer;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::connection::{Answered, Connection};
use super::link::{Flushed, Got, Link};
use crate::gateway::{
    Exchange, MadeId, Page, Portion, Pushed, RequestFigures, ResponseProgress, TimeSpan, Variables,
    interrupted, sent_id,
};
use figures::ExchangeFigures;

/// Bytes that may wait for the sender; above it the application waits for the web server. Those of one block that the web
/// server was slow to take are not counted.
const MAX_QUEUED: usize = 64 * 1024;

/// How long a thread waits for a web server to take a block before it leaves that to the sender: most are done in that time,
/// and waking up another thread takes as long.
const MOMENT: Duration = Duration::from_millis(1);

/// How often it is looked whether the web server still wants a response that goes on: it "stops within a second".
const LOOK: Duration = Duration::from_millis(250);

/// How often it is looked whether there is a place by now for the rest of a response: others' are moved to files meanwhile.
const LOOK_FOR_PLACE: Duration = Duration::from_millis(10);

/// Bytes that are read at once while the application has the request.
const READ: usize = 32 * 1024;

/// A request that the application has.
pub struct FastcgiExchange {
    link: Arc<Link>,
    /// Which of the connection's requests it is.
    turn: u64,
    variables: Variables,
    figures: ExchangeFigures,
    /// Where the web server has sent none.
    made_id: Option<MadeId>,
    /// Application threads that wait for the body: they read what comes.
    readers: AtomicUsize,
    writing: Mutex<Writing>,
}

/// What only one thread at a time does: a piece of the response is not to stand in another's middle.
#[derive(Debug)]
struct Writing {
    /// When a block of the body last left or was handed to the sender.
    last_block: Option<Instant>,
    /// When it was last looked whether the response is still wanted.
    looked: Option<Instant>,
    /// Bytes that were put behind a block of which the web server has not taken all.
    behind: usize,
}

impl FastcgiExchange {
    /// The request that is ready on a connection, and begins now, after `waited`: both in nanoseconds, of the monotonic clock.
    pub(super) fn begin(link: &Arc<Link>, now: u64, waited: u64) -> Option<Arc<Self>> {
        let mut connection = link.lock();
        let (variables, turn) = connection.begin()?;
        let request = connection.request(turn).ok()?;
        let received = request.body.is_whole().then(|| request.body.come());
        let has_id = request.has_id;
        drop(connection);
        let is_sent = has_id && sent_id(&variables).is_some();
        let made_id = (!is_sent).then(MadeId::next);
        Some(Arc::new(Self {
            link: Arc::clone(link),
            turn,
            variables,
            made_id,
            figures: ExchangeFigures::new(now, waited, received),
            readers: AtomicUsize::new(0),
            writing: Mutex::new(Writing {
                last_block: None,
                looked: None,
                behind: 0,
            }),
        }))
    }

    /// The variables, if nobody else has the request any more.
    pub(super) fn into_variables(self: Arc<Self>) -> Option<Variables> {
        Arc::into_inner(self).map(|exchange| exchange.variables)
    }

    /// The method and the URI of the request, for the eyes of operators and as the web server sent them. The URI is in two
    /// pieces that belong together. Empty where there is no such variable.
    pub fn request_line(&self) -> (&[u8], [&[u8]; 2]) {
        let value = |name: &[u8]| self.variables.get(name);
        let method = value(b"REQUEST_METHOD").unwrap_or_default();
        let uri = match value(b"REQUEST_URI") {
            Some(uri) if !uri.is_empty() => [uri, &[]],
            _ => [&b"SCRIPT_NAME"[..], b"PATH_INFO"].map(|name| value(name).unwrap_or_default()),
        };
        (method, uri)
    }

    /// When it was given to a thread, in nanoseconds of the monotonic clock.
    pub fn begun(&self) -> u64 {
        self.figures.begun
    }

    /// What came of it, for who keeps count, when the application is done with it.
    pub fn figures(&self) -> RequestFigures {
        let received = self.figures.received.or_else(|| {
            let mut connection = self.link.lock();
            let request = connection.request(self.turn).ok();
            request.map(|request| request.body.come())
        });
        self.figures.read(received.unwrap_or(0))
    }

    /// When its head left, where that was before the end of its response, in nanoseconds of the monotonic clock.
    pub fn first(&self) -> Option<u64> {
        self.figures.first()
    }

    /// Whether nobody has told of it yet, which who asks does then.
    pub fn is_to_be_told(&self) -> bool {
        self.figures.is_to_be_told()
    }

    /// The status code of the answer, for who counts it: once.
    pub fn take_status(&self) -> Option<u16> {
        self.figures.take_status()
    }

    /// Reads or sends, and notes what the application is told of that where it fails.
    fn noted<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        work().inspect_err(|error| {
            let tally = &*self.link.state().rules.tally;
            self.figures.note_error(error, tally);
        })
    }

    /// The request for messages, in characters that cannot end a line of the log.
    fn subject(&self) -> String {
        let (method, uri) = self.request_line();
        let uri = uri.concat();
        format!("{} {}", method.escape_ascii(), uri.escape_ascii())
    }

    /// Whether the web server says that it is nginx.
    pub(super) fn is_for_nginx(&self) -> bool {
        let software = self.variables.get(b"SERVER_SOFTWARE");
        software.is_some_and(|software| software.starts_with(b"nginx"))
    }

    /// Answers in the application's place, if nothing of its answer has left: whoever comes first answers, and the other
    /// never after it. An answer that the application has begun is broken off. Never waits.
    pub fn answer_instead(&self, page: &Page) -> Answered {
        let is_nginx = self.is_for_nginx();
        let answered = self.link.answer_instead(self.turn, page, is_nginx);
        if answered != Answered::TooLate {
            self.figures.note_answer(page.code());
        }
        answered
    }

    /// The connection that the request has come on, for who wants to know who is at its other end.
    pub fn connection(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    fn timeout(&self) -> Duration {
        self.link.state().rules.limits.io_timeout
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what was put into the connection. What the web server does not take now is sent by others: by the event loop if
    /// this is the end of the response, else by the sender, so that the iterable can be asked for more: it may have
    /// none.
    fn leave<'a>(
        &'a self,
        mut connection: MutexGuard<'a, Connection>,
        ends: bool,
    ) -> io::Result<()> {
        match self.link.flush(&mut connection) {
            Flushed::All => Ok(()),
            Flushed::Lost => Err(io::ErrorKind::BrokenPipe.into()),
            Flushed::Blocked(_) if ends && self.link.store(&mut connection) => Ok(()),
            Flushed::Blocked(_) if ends => self.wait_sent(connection, ends),
            Flushed::Blocked(_) => self.hand_over(connection),
        }
    }

    /// Has the sender send what the web server does not take in a moment.
    fn hand_over<'a>(&'a self, mut connection: MutexGuard<'a, Connection>) -> io::Result<()> {
        let until = Instant::now() + MOMENT;
        loop {
            drop(connection);
            let wait = until.saturating_duration_since(Instant::now());
            wait_for(self.link.as_fd(), PollFlags::POLLOUT, wait)?;
            connection = self.link.lock();
            match self.link.flush(&mut connection) {
                Flushed::All => return Ok(()),
                Flushed::Lost => return Err(io::ErrorKind::BrokenPipe.into()),
                Flushed::Blocked(_) if Instant::now() < until => {}
                Flushed::Blocked(_) => break,
            }
        }
        match self.link.state().sender() {
            Some(sender) => {
                drop(connection);
                sender.send_rest(&self.link);
                Ok(())
            }
            None => self.wait_sent(connection, false),
        }
    }

    /// Waits until a block can be put behind what is to be sent: there is to be no more of that than one large block, and what
    /// is small behind it.
    ///
    /// So an iterable whose large blocks the web server is slow to take keeps its thread from the second of them on: what it does
    /// next belongs into the same thread and context (`threading.local`, `contextvars`), no block may be held back
    /// (PEP 3333, "Buffering and Streaming"), and all that it yields would have to be kept. Of the last block it cannot be
    /// known that it is the last before the iterable was asked for the next.
    fn wait_for_room(&self, writing: &mut Writing, block: u64) -> io::Result<()> {
        let connection = self.link.lock();
        if !connection.has_unsent() {
            writing.behind = 0;
            return Ok(());
        }
        let block = usize::try_from(block).unwrap_or(usize::MAX);
        writing.behind = writing.behind.saturating_add(block);
        if writing.behind > MAX_QUEUED {
            self.wait_sent(connection, false)?;
            writing.behind = 0;
        }
        Ok(())
    }

    /// Waits until everything has left, or, at the end of the response, until there is a place for the rest.
    fn wait_sent<'a>(
        &'a self,
        mut connection: MutexGuard<'a, Connection>,
        ends: bool,
    ) -> io::Result<()> {
        let mut until = Instant::now() + self.timeout();
        let mut scratch = vec![0; READ];
        // The sender need not come to it meanwhile.
        let _waiter = Waiter::new(&self.link.waited_for);
        loop {
            let reads = connection.has_room() && self.readers.load(Ordering::Relaxed) == 0;
            drop(connection);
            let mut events = PollFlags::POLLOUT;
            events.set(PollFlags::POLLIN, reads);
            let often = if ends { LOOK_FOR_PLACE } else { LOOK };
            let wait = often.min(until.saturating_duration_since(Instant::now()));
            let ready = wait_for(self.link.as_fd(), events, wait)?;
            connection = self.link.lock();
            if ready.contains(PollFlags::POLLIN) && self.readers.load(Ordering::Relaxed) == 0 {
                self.read_some(&mut connection, &mut scratch);
            }
            let request = connection.request(self.turn)?;
            if request.aborted {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if request.progress.has_failed() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match self.link.flush(&mut connection) {
                Flushed::All => return Ok(()),
                Flushed::Lost => return Err(io::ErrorKind::BrokenPipe.into()),
                Flushed::Blocked(_) if ends && self.link.store(&mut connection) => return Ok(()),
                Flushed::Blocked(true) => until = Instant::now() + self.timeout(),
                Flushed::Blocked(false) if Instant::now() >= until => {
                    connection.lose();
                    return Err(timed_out(self.timeout()));
                }
                Flushed::Blocked(false) => {}
            }
        }
    }

    /// Takes in what the web server sends while nobody reads the body: it may be an abort.
    fn read_some(&self, connection: &mut Connection, scratch: &mut [u8]) {
        match self.link.read(scratch) {
            Got::Bytes(count) => {
                connection.push_ahead(&scratch[..count]);
                connection.read_ahead();
            }
            Got::Nothing => {}
            Got::End => connection.end_of_input(),
        }
    }

    /// Now and then looks whether a response that goes on is still wanted.
    fn look(&self, writing: &mut Writing, now: Instant) {
        let looked = writing.looked.get_or_insert(now);
        if now < *looked + LOOK {
            return;
        }
        *looked = now;
        let mut connection = self.link.lock();
        if connection.has_room() && self.readers.load(Ordering::Relaxed) == 0 {
            self.read_some(&mut connection, &mut [0; 4096]);
            self.link.flush(&mut connection);
        }
    }

    /// Blocks until there are bytes of the body (`POLLIN`), or what was to be sent before can be (`POLLOUT`), bounded by the time
    /// limit for a silent web server.
    fn wait_ready(&self, events: PollFlags) -> io::Result<()> {
        let until = Instant::now() + self.timeout();
        loop {
            let wait = LOOK.min(until.saturating_duration_since(Instant::now()));
            if !wait_for(self.link.as_fd(), events, wait)?.is_empty() {
                return Ok(());
            }
            // The application may have come to its end meanwhile, or have been answered for.
            let mut connection = self.link.lock();
            connection.request(self.turn)?;
            if connection.has_failed_input() {
                return Ok(());
            }
            drop(connection);
            if Instant::now() >= until {
                log::warn!("nothing of a request's body came for --io-timeout");
                return Err(timed_out(self.timeout()));
            }
        }
    }

    /// Puts a complete piece of so many bytes behind what is to be sent, and has it leave.
    fn send_pieces(
        &self,
        total: u64,
        last: bool,
        admit: impl FnOnce(&mut ResponseProgress) -> io::Result<Portion>,
        put: impl FnOnce(&mut Connection, u16, &Portion),
    ) -> io::Result<Pushed> {
        self.noted(|| {
            let mut writing = self.writing();
            self.note_block(&mut writing, total, last)?;
            let mut connection = self.link.lock();
            let portion = connection.admit(self.turn, admit)?;
            self.figures.note_piece(&portion);
            let id = connection.put_head(portion.head.as_ref());
            put(&mut connection, id, &portion);
            if portion.ends {
                connection.put_end();
            }
            self.leave(connection, portion.ends)?;
            portion.result()
        })
    }

    /// A block of so many bytes comes.
    fn note_block(&self, writing: &mut Writing, bytes: u64, last: bool) -> io::Result<()> {
        if !last {
            let now = Instant::now();
            writing.last_block = Some(now);
            self.look(writing, now);
            self.wait_for_room(writing, bytes)?;
        }
        Ok(())
    }
}

/// Counts a thread that waits: for the body, or until everything has left.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exchange for FastcgiExchange {
    fn variables(&self) -> &Variables {
        &self.variables
    }

    fn marks_end_of_body(&self) -> bool {
        true
    }

    fn id(&self) -> &str {
        let made = self.made_id.as_ref().map(MadeId::as_str);
        made.or_else(|| sent_id(&self.variables))
            .unwrap_or_default()
    }
}

impl fmt::Debug for FastcgiExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.link.as_fd().as_raw_fd();
        write!(f, "FastcgiExchange(fd {socket}, turn {})", self.turn)
    }
}

/// Waits until the socket is ready for `events`, or has an error to tell; nothing when the time is over.
fn wait_for(socket: BorrowedFd<'_>, events: PollFlags, wait: Duration) -> io::Result<PollFlags> {
    // Rounded up: a wait that ends early would be repeated until the time has come.
    let wait = wait + Duration::from_micros(999);
    let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    let mut polled = [PollFd::new(socket, events)];
    match poll(&mut polled, timeout) {
        Ok(_) => Ok(polled[0].revents().unwrap_or(PollFlags::empty())),
        Err(Errno::EINTR) => interrupted().map(|()| PollFlags::empty()),
        Err(error) => Err(error.into()),
    }
}

fn timed_out(limit: Duration) -> io::Error {
    let text = format!(
        "nothing from or to the web server for {} (--io-timeout)",
        TimeSpan(limit)
    );
    io::Error::new(io::ErrorKind::TimedOut, text)
}
