//! A responder: listeners and connections in one epoll set, and the application threads that serve them.
//!
//! The thread with the baton leads: it waits for events, reads and assembles requests, and calls the application.
//! Connections stay level-triggered in the set; the one whose request runs is taken out only when another thread comes
//! to lead meanwhile, so a short request on a kept connection costs no system call but its own read and write.

mod upkeep;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{Shutdown, shutdown};

use super::baton::Baton;
use super::connection::{Connection, Step};
use super::limits::TURNED_AWAY;
use super::listener::{Accepted, Listener};
use super::{AllowList, Limits, Shared};
use crate::gateway::forked;
use upkeep::PAUSE;

/// A mean wall time of requests above which the baton is passed before the application is called.
const LONG: Duration = Duration::from_micros(200);

/// How often deadlines are looked at while there are connections.
const SWEEP: Duration = Duration::from_secs(1);

const EVENTS: usize = 64;
const SCRATCH: usize = 64 * 1024;

/// Serves FastCGI connections with the threads that call [`Responder::run`].
#[derive(Debug)]
pub struct Responder {
    shared: Arc<Shared>,
    allow: AllowList,
    threads: usize,
    /// Whether threads run Python code at the same time, so that polling alone is what a leader should do.
    parallel: bool,
    epoll: Epoll,
    wake: EventFd,
    baton: Baton,
    table: Mutex<Table>,
    /// Threads that run the application without the baton.
    busy: AtomicUsize,
    /// The registered connection whose request the leader runs, or -1.
    running: AtomicI32,
    /// Running mean of the requests' wall time in nanoseconds.
    mean: AtomicU32,
    /// Connections that were taken, and whether their first reads were rather in time (positive) or too early.
    accepted: AtomicU32,
    early: AtomicI32,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct Table {
    /// Connections that wait for an event, by descriptor.
    waiting: BTreeMap<RawFd, Box<Connection>>,
    listeners: Vec<Listener>,
    /// Until when the listeners are out of the epoll set, for want of descriptors or connections.
    paused: Option<Instant>,
    /// When trouble with new connections was last told.
    complained: Option<Instant>,
    draining: bool,
    next_sweep: Instant,
}

/// What an epoll event is about.
enum Source {
    Wake,
    Listener(usize),
    Connection(RawFd),
}

impl Source {
    /// The event's 64 bits of data: a connection's are its descriptor.
    const WAKE: u64 = u64::MAX;
    const LISTENER: u64 = 1 << 32;

    fn of(data: u64) -> Self {
        match RawFd::try_from(data) {
            Ok(fd) => Self::Connection(fd),
            Err(_) if data == Self::WAKE => Self::Wake,
            Err(_) => Self::Listener(usize::try_from(data ^ Self::LISTENER).unwrap_or(usize::MAX)),
        }
    }
}

/// The thread that leads, with its buffer and its way to the application.
struct Leader<'a> {
    turn: u64,
    scratch: &'a mut [u8],
    serve: &'a mut dyn FnMut(Box<Connection>) -> Box<Connection>,
}

impl Responder {
    /// A responder on these listeners for `threads` application threads, which may run Python code `parallel`ly.
    ///
    /// # Errors
    /// When the kernel gives no epoll instance or event descriptor.
    pub fn new(
        listeners: Vec<Listener>,
        limits: Limits,
        allow: AllowList,
        threads: usize,
        parallel: bool,
    ) -> nix::Result<Self> {
        let responder = Self {
            shared: Arc::new(Shared::new(limits)),
            allow,
            threads,
            parallel,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            baton: Baton::default(),
            table: Mutex::new(Table {
                waiting: BTreeMap::new(),
                listeners,
                paused: None,
                complained: None,
                draining: false,
                next_sweep: Instant::now() + SWEEP,
            }),
            busy: AtomicUsize::new(0),
            running: AtomicI32::new(-1),
            mean: AtomicU32::new(0),
            accepted: AtomicU32::new(0),
            early: AtomicI32::new(0),
            stopping: AtomicBool::new(false),
        };
        let wake = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, Source::WAKE);
        responder.epoll.add(&responder.wake, wake)?;
        responder.listen(&responder.table())?;
        Ok(responder)
    }

    /// Serves requests until the responder has drained. Every application thread calls this once; `serve` has the
    /// application answer a request and gives the connection back.
    pub fn run(&self, serve: &mut dyn FnMut(Box<Connection>) -> Box<Connection>) {
        let mut scratch = vec![0; SCRATCH];
        let mut leader = Leader {
            turn: 0,
            scratch: &mut scratch,
            serve,
        };
        while let Some(turn) = self.baton.take() {
            leader.turn = turn;
            self.lead(&mut leader);
            self.busy.fetch_sub(1, Ordering::AcqRel);
            self.tell_again();
        }
    }

    /// Passes the baton on for threads whose requests take long. Needed where there is more than one thread; returns
    /// when the responder has drained.
    pub fn watch(&self) {
        self.baton.watch(|| {
            self.busy.fetch_add(1, Ordering::AcqRel);
            self.tell_again();
            let running = self.running.swap(-1, Ordering::AcqRel);
            if running >= 0 {
                // SAFETY: the descriptor belongs to the connection whose request the leader runs. The leader learns
                // that it has lost the baton under the lock that is held here, and closes nothing before.
                let socket = unsafe { BorrowedFd::borrow_raw(running) };
                let _ = self.epoll.delete(socket);
            }
        });
    }

    /// Begins to drain: nothing new is taken but what has already connected, what is open is answered, idle connections
    /// are closed, then every [`Responder::run`] returns. May be called from any thread, more than once.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.notify();
    }

    fn notify(&self) {
        // Failing means that the counter is full, so that a wake-up is due anyway.
        let _ = self.wake.write(1);
    }

    /// Who leads next has to hear of the end too: the event may be among those that this leader does not come to.
    fn tell_again(&self) {
        if self.stopping.load(Ordering::Acquire) {
            self.notify();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls and serves until the baton is lost or all is over.
    fn lead(&self, leader: &mut Leader<'_>) {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    log::error!("epoll_wait failed: {error}");
                    0
                }
            };
            self.housekeeping();
            for event in &events[..count] {
                let ready = match Source::of(event.data()) {
                    Source::Wake if self.stopping.load(Ordering::Acquire) => {
                        if !self.drain(leader) {
                            return;
                        }
                        None
                    }
                    Source::Wake => None,
                    Source::Listener(index) => self
                        .accept(index)
                        .ok()
                        .flatten()
                        .and_then(|new| self.wait_if_silent(new)),
                    Source::Connection(fd) => self.take(fd),
                };
                let kept = ready.is_none_or(|connection| self.handle(connection, leader));
                if !kept {
                    // What else was reported is reported again to who leads now.
                    return;
                }
            }
            if self.is_over() {
                self.busy.fetch_add(1, Ordering::AcqRel);
                self.baton.end();
                return;
            }
        }
    }

    /// Takes a connection out of those that wait.
    fn take(&self, fd: RawFd) -> Option<Box<Connection>> {
        self.table().waiting.remove(&fd)
    }

    fn is_over(&self) -> bool {
        if !self.stopping.load(Ordering::Acquire) || self.busy.load(Ordering::Acquire) > 0 {
            return false;
        }
        let table = self.table();
        table.draining && table.waiting.is_empty()
    }

    fn timeout(&self) -> EpollTimeout {
        let table = self.table();
        let wait = match table.paused {
            Some(_) => PAUSE,
            None if self.shared.open.load(Ordering::Relaxed) == 0 => return EpollTimeout::NONE,
            None => SWEEP,
        };
        EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
    }

    /// Leaves a new connection to wait for its first event where reading at once has lately been in vain: some web
    /// servers send their request with the connection, others a moment later.
    fn wait_if_silent(&self, connection: Box<Connection>) -> Option<Box<Connection>> {
        const PROBE: u32 = 16;
        let count = self.accepted.fetch_add(1, Ordering::Relaxed);
        if self.early.load(Ordering::Relaxed) >= 0 || count % PROBE == 0 {
            return Some(connection);
        }
        self.park(connection);
        None
    }

    /// Remembers whether a new connection's first read gave anything.
    fn note_first_read(&self, connection: &Connection) {
        const MOST: i32 = 8;
        let early = self.early.load(Ordering::Relaxed);
        let early = if connection.is_untouched() {
            early - 1
        } else {
            early + MOST / 2
        };
        self.early
            .store(early.clamp(-MOST, MOST), Ordering::Relaxed);
    }

    /// Reads what is on the connection and does what follows from it. `false`: this thread leads no more.
    fn handle(&self, mut connection: Box<Connection>, leader: &mut Leader<'_>) -> bool {
        let is_new = !connection.registered;
        let mut step = connection.readable(leader.scratch);
        if is_new {
            self.note_first_read(&connection);
        }
        let mut leads = true;
        loop {
            match step {
                Step::Wait if connection.request.is_none() && self.is_unwanted(&connection) => {
                    self.close(connection);
                    return leads;
                }
                Step::Wait => {
                    self.park(connection);
                    return leads;
                }
                Step::Close => {
                    self.close(connection);
                    return leads;
                }
                Step::Ready => {
                    connection = self.call(connection, leader, &mut leads);
                    step = connection.finish();
                    if step == Step::Wait {
                        step = connection.resume();
                    }
                }
            }
        }
    }

    /// Whether a draining responder has no more use for a connection with no open request.
    fn is_unwanted(&self, connection: &Connection) -> bool {
        self.stopping.load(Ordering::Relaxed) && connection.used && connection.is_idle()
    }

    /// Has the application answer the request, with or without the baton in hand.
    fn call(
        &self,
        mut connection: Box<Connection>,
        leader: &mut Leader<'_>,
        leads: &mut bool,
    ) -> Box<Connection> {
        if self.threads == 1 {
            return (leader.serve)(connection);
        }
        let mean = Duration::from_nanos(u64::from(self.mean.load(Ordering::Relaxed)));
        if *leads && (self.parallel || mean > LONG) {
            self.unregister(&mut connection);
            self.busy.fetch_add(1, Ordering::AcqRel);
            self.tell_again();
            self.baton.pass();
            *leads = false;
        }
        let begun = Instant::now();
        let answered = if *leads {
            let running = if connection.registered {
                connection.as_fd().as_raw_fd()
            } else {
                -1
            };
            self.running.store(running, Ordering::Release);
            self.baton.begin_run();
            let mut answered = (leader.serve)(connection);
            *leads = self.baton.end_run(leader.turn);
            if !*leads {
                answered.registered = false;
            }
            answered
        } else {
            (leader.serve)(connection)
        };
        self.count_time(begun.elapsed());
        answered
    }

    /// Two threads may do this at once and lose one's figure: it is a mean, not an account.
    fn count_time(&self, took: Duration) {
        let took = i64::from(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
        let mean = i64::from(self.mean.load(Ordering::Relaxed));
        let mean = u32::try_from(mean + (took - mean) / 8).unwrap_or(u32::MAX);
        self.mean.store(mean, Ordering::Relaxed);
    }

    /// Leaves the connection to wait for its next event.
    fn park(&self, mut connection: Box<Connection>) {
        let fd = connection.as_fd().as_raw_fd();
        // The lock is held until the connection is in the table, so that whoever leads finds it there on its event.
        let mut table = self.table();
        if !connection.registered {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, fd as u64);
            if let Err(error) = self.epoll.add(&*connection, event) {
                log::error!("a connection could not be watched: {error}");
                self.close(connection);
                return;
            }
            connection.registered = true;
        }
        table.waiting.insert(fd, connection);
    }

    /// Closes the connection.
    fn close(&self, mut connection: Box<Connection>) {
        if forked::has_forked() || connection.is_shared() {
            self.unregister(&mut connection);
            let _ = shutdown(connection.as_fd().as_raw_fd(), Shutdown::Both);
        }
    }

    fn unregister(&self, connection: &mut Connection) {
        if connection.registered {
            let _ = self.epoll.delete(&*connection);
            connection.registered = false;
        }
    }

    /// Takes one new connection: `Err` when there is none to be had at the moment.
    fn accept(&self, index: usize) -> Result<Option<Box<Connection>>, ()> {
        let mut table = self.table();
        let listener = table.listeners.get(index).ok_or(())?;
        let socket = match listener.accept(&self.allow) {
            Accepted::Socket(socket) => socket,
            Accepted::Refused => return Ok(None),
            Accepted::Nothing => return Err(()),
            Accepted::Exhausted => {
                table.complain(
                    "no new connection can be taken: the process or the system has no descriptors or memory left; raise \
                     the limit of open files (ulimit -n, LimitNOFILE=) or lower --max-connections",
                );
                self.pause(&mut table);
                return Err(());
            }
        };
        let open = self.shared.open.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = self.shared.limits.connections;
        if open > limit {
            table.complain(
                "all connections are in use (--max-connections): further requests are answered with 503; raise it, or \
                 lower the web server's keep-alive",
            );
        }
        if open >= limit + TURNED_AWAY {
            self.pause(&mut table);
        }
        Ok(Some(Connection::new(
            socket,
            Arc::clone(&self.shared),
            open > limit,
        )))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}
