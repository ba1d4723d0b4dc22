//! A responder: listeners and connections in one epoll set, and the application threads that serve them.
//!
//! The thread with the baton leads: it waits for events, reads and assembles requests, and calls the application.
//! Connections stay level-triggered in the set; the one whose request runs is taken out only when another thread comes
//! to lead meanwhile, so a short request on a kept connection costs no system call but its own read and write.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::sockopt::TcpNoDelay;
use nix::sys::socket::{
    Shutdown, SockFlag, SockaddrStorage, accept4, getpeername, setsockopt, shutdown,
};

use super::baton::Baton;
use super::connection::{Connection, Step};
use super::forks;
use super::limits::TURNED_AWAY;
use super::{AllowList, Limits, Shared};

/// Where web servers connect.
#[derive(Debug)]
pub struct Listener {
    /// A non-blocking listening socket.
    pub socket: OwnedFd,
    /// Whether it is a TCP socket.
    pub tcp: bool,
}

/// A mean wall time of requests above which the baton is passed before the application is called.
const LONG: Duration = Duration::from_micros(200);

/// How often deadlines are looked at while there are connections.
const SWEEP: Duration = Duration::from_secs(1);

/// How long no listener is asked after the process ran out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection on which nothing came yet may hold up the end of a draining responder.
const FRESH_GRACE: Duration = Duration::from_secs(1);

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
    serve: &'a mut dyn FnMut(Box<Connection>) -> Option<Box<Connection>>,
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
        forks::watch();
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
    /// application answer a request and gives the connection back, or nothing when it was lost in a panic.
    pub fn run(&self, serve: &mut dyn FnMut(Box<Connection>) -> Option<Box<Connection>>) {
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
            if self.stopping.load(Ordering::Acquire) {
                self.notify();
            }
        }
    }

    /// Passes the baton on for threads whose requests take long. Needed where there is more than one thread; returns
    /// when the responder has drained.
    pub fn watch(&self) {
        self.baton.watch(|| {
            self.busy.fetch_add(1, Ordering::AcqRel);
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
                    Source::Listener(index) => {
                        self.accept(index).and_then(|new| self.wait_if_silent(new))
                    }
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
            None if table.waiting.is_empty() => return EpollTimeout::NONE,
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
                    let Some(answered) = self.call(connection, leader, &mut leads) else {
                        return leads;
                    };
                    connection = answered;
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
    ) -> Option<Box<Connection>> {
        if self.threads == 1 {
            return (leader.serve)(connection);
        }
        let mean = Duration::from_nanos(u64::from(self.mean.load(Ordering::Relaxed)));
        if *leads && (self.parallel || mean > LONG) {
            self.unregister(&mut connection);
            self.busy.fetch_add(1, Ordering::AcqRel);
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
            if let (false, Some(connection)) = (*leads, &mut answered) {
                connection.registered = false;
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
                return;
            }
            connection.registered = true;
        }
        table.waiting.insert(fd, connection);
    }

    /// Closes the connection.
    fn close(&self, mut connection: Box<Connection>) {
        if forks::have_happened() || connection.is_shared() {
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

    /// Takes one new connection.
    fn accept(&self, index: usize) -> Option<Box<Connection>> {
        let mut table = self.table();
        let listener = table.listeners.get(index)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = match accept4(listener.socket.as_raw_fd(), flags) {
            // SAFETY: the descriptor was made by accept4 just now and belongs to nobody else.
            Ok(socket) => unsafe { OwnedFd::from_raw_fd(socket) },
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                log::error!(
                    "no new connection can be taken: the process or the system has no descriptor or memory left \
                     (see ulimit -n)"
                );
                self.pause(&mut table);
                return None;
            }
            // Another process was faster, or the peer has gone already.
            Err(_) => return None,
        };
        if listener.tcp {
            // Small records would otherwise wait for the peer's acknowledgement: 40 ms a request.
            let _ = setsockopt(&socket, TcpNoDelay, &true);
            if !self.may_connect(&socket) {
                return None;
            }
        }
        let open = self.shared.open.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = self.shared.limits.connections;
        if open == limit + 1 {
            log::warn!(
                "all {limit} connections are in use: further requests are answered with 503; raise --max-connections \
                 or lower the web server's keep-alive"
            );
        }
        if open >= limit + TURNED_AWAY {
            self.pause(&mut table);
        }
        Some(Connection::new(
            socket,
            Arc::clone(&self.shared),
            open > limit,
        ))
    }

    fn may_connect(&self, socket: &OwnedFd) -> bool {
        if self.allow.is_empty() {
            return true;
        }
        let peer = getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok();
        let peer = peer.and_then(|peer| {
            let v4 = peer.as_sockaddr_in().map(|peer| peer.ip().into());
            v4.or_else(|| peer.as_sockaddr_in6().map(|peer| peer.ip().into()))
        });
        let allowed = peer.is_some_and(|peer| self.allow.allows(peer));
        if !allowed {
            let peer = peer.map_or_else(|| "an unknown host".to_owned(), |peer| peer.to_string());
            log::warn!("refused a connection from {peer}: not in --allow or FCGI_WEB_SERVER_ADDRS");
        }
        allowed
    }

    /// Puts the listeners into the epoll set. With EPOLLEXCLUSIVE a new connection wakes one of the processes that
    /// share a listener, the one that slept last.
    fn listen(&self, table: &Table) -> nix::Result<()> {
        for (index, listener) in table.listeners.iter().enumerate() {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
            let event = EpollEvent::new(flags, Source::LISTENER | index as u64);
            self.epoll.add(&listener.socket, event)?;
        }
        Ok(())
    }

    fn pause(&self, table: &mut Table) {
        if table.paused.replace(Instant::now() + PAUSE).is_none() {
            for listener in &table.listeners {
                let _ = self.epoll.delete(&listener.socket);
            }
        }
    }

    /// Ends pauses and connections whose time has come.
    fn housekeeping(&self) {
        let mut table = self.table();
        if table.waiting.is_empty() && table.paused.is_none() {
            return;
        }
        let now = Instant::now();
        if table.paused.is_some_and(|until| now >= until) {
            table.paused = None;
            if self.shared.open.load(Ordering::Relaxed)
                >= self.shared.limits.connections + TURNED_AWAY
            {
                table.paused = Some(now + PAUSE);
            } else if let Err(error) = self.listen(&table) {
                log::error!("the listeners could not be watched again: {error}");
            }
        }
        if now < table.next_sweep {
            return;
        }
        table.next_sweep = now + SWEEP;
        let expired: Vec<RawFd> = table
            .waiting
            .iter()
            .filter(|(_, connection)| now >= connection.deadline)
            .map(|(&fd, _)| fd)
            .collect();
        for fd in expired {
            let Some(mut connection) = table.waiting.remove(&fd) else {
                continue;
            };
            match connection.expire() {
                Step::Wait => {
                    table.waiting.insert(fd, connection);
                }
                Step::Ready | Step::Close => self.close(connection),
            }
        }
    }

    /// Begins the end, once: takes what has connected already, then closes the listeners and the idle connections.
    /// `false`: this thread leads no more (and will find its way back here).
    fn drain(&self, leader: &mut Leader<'_>) -> bool {
        let listeners = self.table().listeners.len();
        for index in 0..listeners {
            while let Some(connection) = self.accept(index) {
                if !self.handle(connection, leader) {
                    self.notify();
                    return false;
                }
            }
        }
        let mut table = self.table();
        if table.paused.take().is_none() {
            // By hand: the process that gave us a listener may have it open still, and then closing alone would leave it
            // in the set.
            for listener in &table.listeners {
                let _ = self.epoll.delete(&listener.socket);
            }
        }
        table.listeners.clear();
        table.draining = true;
        let now = Instant::now();
        table.next_sweep = now;
        let waiting = std::mem::take(&mut table.waiting);
        for (fd, mut connection) in waiting {
            if self.is_unwanted(&connection) {
                self.close(connection);
                continue;
            }
            if connection.is_idle() {
                connection.deadline = connection.deadline.min(now + FRESH_GRACE);
            }
            table.waiting.insert(fd, connection);
        }
        true
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}
