//! What systemd is told, when it is systemd that has started the gateway (sd_notify(3)).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::reaction::Notice;

/// How often the status line is told when it has changed.
const STATUS: Duration = Duration::from_secs(5);

/// systemd, if it is there.
#[derive(Debug)]
pub(super) struct Systemd {
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

impl Systemd {
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

    /// Tells how things are.
    pub(super) fn note(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Ready => {
                self.notify(&[NotifyState::Ready]);
                self.next_status = self.is_there.then_some(now);
            }
            Notice::Reloading => match NotifyState::monotonic_usec_now() {
                Ok(when) => self.notify(&[NotifyState::Reloading, when]),
                Err(_) => self.notify(&[NotifyState::Reloading]),
            },
            Notice::Stopping => self.notify(&[NotifyState::Stopping]),
        }
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
