//! What systemd is told, when it is systemd that has started the gateway (sd_notify(3)).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::super::scoreboard::WorkerSlot;
use super::Master;

/// How often the status line is told when it has changed.
const STATUS: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Service {
    is_there: bool,
    /// How often systemd wants to hear that the master lives: half of what it allows.
    watchdog: Option<Duration>,
    next_watchdog: Instant,
    next_status: Option<Instant>,
    last: String,
}

/// Tells a socket in the abstract name space, as container managers give one; sd_notify knows files only.
fn notify_abstract(name: &[u8], states: &[NotifyState<'_>]) -> io::Result<()> {
    let place = SocketAddr::from_abstract_name(name)?;
    let lines: String = states.iter().fold(String::new(), |lines, state| {
        lines + &state.to_string() + "\n"
    });
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(lines.as_bytes(), &place).map(drop)
}

impl Service {
    pub(super) fn new() -> Self {
        let is_there = std::env::var_os("NOTIFY_SOCKET").is_some();
        let now = Instant::now();
        Self {
            is_there,
            watchdog: sd_notify::watchdog_enabled()
                .filter(|_| is_there)
                .map(|period| (period / 2).max(Duration::from_millis(1))),
            next_watchdog: now,
            next_status: is_there.then_some(now + STATUS),
            last: String::new(),
        }
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        if self.is_there {
            let place = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
            let told = match place.as_bytes().strip_prefix(b"@") {
                Some(name) => notify_abstract(name, states),
                None => sd_notify::notify(states),
            };
            if let Err(error) = told {
                log::debug!("systemd cannot be told: {error}");
            }
        }
    }

    pub(super) fn ready(&mut self, now: Instant) {
        self.notify(&[NotifyState::Ready]);
        self.next_status = self.is_there.then_some(now);
    }

    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(when) => self.notify(&[NotifyState::Reloading, when]),
            Err(_) => self.notify(&[NotifyState::Reloading]),
        }
    }

    pub(super) fn stopping(&self) {
        self.notify(&[NotifyState::Stopping]);
    }

    /// When something is to be told.
    pub(super) fn next(&self) -> Option<Instant> {
        let watchdog = self.watchdog.map(|_| self.next_watchdog);
        [watchdog, self.next_status].into_iter().flatten().min()
    }

    /// Whether a status line is due.
    pub(super) fn wants_status(&self, now: Instant) -> bool {
        self.next_status.is_some_and(|next| now >= next)
    }

    /// Tells what is due.
    pub(super) fn tell(&mut self, now: Instant, status: Option<String>) {
        if let Some(period) = self.watchdog {
            if now >= self.next_watchdog {
                self.next_watchdog = now + period;
                self.notify(&[NotifyState::Watchdog]);
            }
        }
        if let Some(status) = status {
            self.next_status = Some(now + STATUS);
            if status != self.last {
                self.notify(&[NotifyState::Status(&status)]);
                self.last = status;
            }
        }
    }
}

impl Master<'_> {
    /// One line on how things are.
    pub(super) fn describe(&self) -> String {
        let ready = self.workers.iter().filter(|worker| worker.serves());
        let places: Vec<&WorkerSlot> = ready.map(|worker| &worker.place).collect();
        let busy = places.iter().filter(|place| place.idle().is_none()).count();
        let living: u64 = self
            .workers
            .iter()
            .map(|worker| worker.place.requests())
            .fold(0, u64::saturating_add);
        format!(
            "{} workers ready, {busy} busy; {} requests served; generation {}",
            places.len(),
            self.requests.saturating_add(living),
            self.current.as_ref().map_or(0, |current| current.number)
        )
    }
}
