//! A worker's access log: which requests have a line, what is measured for it, and who gets it.

mod line;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Failure;
use super::service::FastcgiService;
use crate::config::{AccessLogSettings, AccessPart, LineTarget};
use crate::fastcgi::FastcgiExchange;
use crate::gateway::{Exchange as _, RequestFigures, Variables};
use crate::logging::calendar;
use crate::process::{
    self, LineFileError, LineFiles, LineKind, LineSink, WorkerSlot, monotonic_now,
};
use line::AccessEntry;

/// Requests that take less than this, as others of their thread do, are not worth the system calls that tell how much of that
/// was the processor's.
const SHORT: u64 = 200_000;

/// In less than this no request makes a process so much larger that it matters.
const UNNOTICED: u64 = 1_000_000;

/// Opens the files that lines of requests go to.
///
/// # Errors
/// When one cannot be opened.
pub fn open_line_files(settings: &AccessLogSettings) -> Result<LineFiles, LineFileError> {
    let mut files = LineFiles::default();
    match &settings.to {
        Some(LineTarget::File(path)) => files.open_access(path)?,
        Some(LineTarget::StandardOutput) => files.access_to_stdout()?,
        Some(LineTarget::Syslog(path)) => files.access_to_syslog(path),
        None => {}
    }
    if let Some(path) = &settings.slow {
        files.open_slow(path)?;
    }
    Ok(files)
}

/// A worker's lines of requests.
pub(super) struct AccessLog {
    sink: Arc<LineSink>,
    settings: AccessLogSettings,
    name: String,
    /// Of this process: asking is a system call.
    pid: u32,
    number: u32,
    needs_cpu: bool,
    needs_memory: bool,
    clock: WallClock,
    /// The most memory that was resident when that was last asked, in bytes.
    memory: AtomicU64,
}

/// What one thread measures of its requests.
#[derive(Debug, Default)]
pub(super) struct ThreadUsage {
    /// A running mean of how long they took, in nanoseconds.
    mean: u64,
    /// The processor's time of the thread when the one that runs began, if that was looked at.
    cpu: Option<u64>,
}

impl AccessLog {
    /// That of a worker of this number, if the operator wants any. What is dropped is counted in the slot.
    ///
    /// # Errors
    /// When a file cannot be opened, where there is no master to do that, or when there is no thread to be had.
    pub(super) fn new(
        service: &FastcgiService,
        number: u32,
        slot: &WorkerSlot,
    ) -> Result<Option<Self>, Failure> {
        let settings = &service.settings().access_log;
        if settings.to.is_none() && settings.slow.is_none() {
            return Ok(None);
        }
        let sink = match service.line_sender() {
            Some(sender) => LineSink::to_writer(sender.try_clone()?, slot.clone()),
            None => LineSink::to_files(open_line_files(settings)?, slot.clone()),
        };
        let has = |is: fn(&AccessPart) -> bool| settings.to.is_some() && settings.format.has(is);
        Ok(Some(Self {
            sink: sink.map_err(Failure::Threads)?,
            needs_cpu: has(|part| matches!(part, AccessPart::Cpu)),
            needs_memory: has(|part| matches!(part, AccessPart::Memory(_))),
            settings: settings.clone(),
            name: service.settings().gateway.clone(),
            pid: std::process::id(),
            number,
            clock: WallClock::default(),
            memory: AtomicU64::new(process::peak_memory()),
        }))
    }

    /// Whether the slow log has a file of its own.
    pub(super) fn has_slow_log(&self) -> bool {
        self.settings.slow.is_some()
    }

    /// Writes to the slow log.
    pub(super) fn tell_slow(&self, text: &str) {
        let since = self.clock.at(monotonic_now());
        self.sink.put(LineKind::Slow, |out| {
            calendar::write_iso(since, out);
            let (worker, name) = (self.number, &self.name);
            let text = text.trim_end();
            out.extend_from_slice(format!(" {name} worker {worker}: {text}\n").as_bytes());
        });
    }

    /// A request begins on a thread.
    pub(super) fn begin(&self, usage: &mut ThreadUsage) {
        let is_worth_it = self.needs_cpu && usage.mean > SHORT;
        usage.cpu = is_worth_it.then(process::thread_cpu_time);
    }

    /// The request of a thread has ended after so many nanoseconds.
    pub(super) fn end(
        &self,
        exchange: &FastcgiExchange,
        thread: usize,
        duration: u64,
        figures: &RequestFigures,
        usage: &mut ThreadUsage,
    ) {
        usage.mean = usage.mean - usage.mean / 8 + duration / 8;
        if self.settings.to.is_none() || !exchange.is_to_be_told() {
            return;
        }
        if self.is_left_out(exchange.variables()) {
            return;
        }
        let cpu = usage
            .cpu
            .map(|before| process::thread_cpu_time().saturating_sub(before));
        self.tell(exchange, thread, duration, figures, cpu);
    }

    /// A request was answered in the application's place, after so many nanoseconds: its thread may never come back.
    pub(super) fn tell_timed_out(&self, exchange: &FastcgiExchange, thread: usize, duration: u64) {
        let is_wanted = self.settings.to.is_some() && exchange.is_to_be_told();
        if is_wanted && !self.is_left_out(exchange.variables()) {
            self.tell(exchange, thread, duration, &exchange.figures(), None);
        }
    }

    fn tell(
        &self,
        exchange: &FastcgiExchange,
        thread: usize,
        duration: u64,
        figures: &RequestFigures,
        cpu: Option<u64>,
    ) {
        let (mut memory, mut grown) = (self.memory.load(Ordering::Relaxed), 0);
        if self.needs_memory && duration >= UNNOTICED {
            let now = process::peak_memory();
            let before = self.memory.fetch_max(now, Ordering::Relaxed);
            (memory, grown) = (now.max(before), now.saturating_sub(before));
        }
        let entry = AccessEntry {
            variables: exchange.variables(),
            figures: *figures,
            begun: self.clock.at(exchange.begun()),
            duration,
            first: exchange
                .first()
                .map(|at| at.saturating_sub(exchange.begun())),
            cpu,
            grown,
            memory,
            id: exchange.id(),
            name: &self.name,
            pid: self.pid,
            worker: self.number,
            thread: thread + 1,
        };
        self.sink.put(LineKind::Access, |out| {
            entry.write(&self.settings.format, out)
        });
    }

    /// Whether requests of this path have no line.
    fn is_left_out(&self, variables: &Variables) -> bool {
        !self.settings.skip.is_empty() && is_skipped(&self.settings.skip, variables)
    }

    /// Has files of this process's own opened anew.
    pub(super) fn reopen(&self) {
        self.sink.reopen();
    }

    /// Waits until what there is is on its way.
    pub(super) fn flush(&self) {
        self.sink.flush();
    }
}

fn is_skipped(skip: &[String], variables: &Variables) -> bool {
    let value = |name: &[u8]| variables.get(name).unwrap_or_default();
    let uri = value(b"REQUEST_URI");
    let path = match uri {
        [] => [value(b"SCRIPT_NAME"), value(b"PATH_INFO")].concat(),
        uri => uri
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default()
            .to_vec(),
    };
    skip.iter().any(|skip| match skip.strip_suffix('*') {
        Some(begin) => path.starts_with(begin.as_bytes()),
        None => path == skip.as_bytes(),
    })
}

/// The time of day by the monotonic clock, which is read with every request anyway: how far they are apart is looked at every second.
#[derive(Debug, Default)]
struct WallClock {
    /// Nanoseconds that the time since 1970 is ahead.
    ahead: AtomicU64,
    /// When that was looked at, by the monotonic clock.
    looked: AtomicU64,
}

impl WallClock {
    /// What has passed since 1970 at this moment of the monotonic clock, in nanoseconds.
    fn at(&self, monotonic: u64) -> Duration {
        const SECOND: u64 = 1_000_000_000;
        let looked = self.looked.load(Ordering::Relaxed);
        if looked == 0 || monotonic > looked + SECOND {
            let now = monotonic_now();
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let since = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
            self.ahead
                .store(since.saturating_sub(now), Ordering::Relaxed);
            self.looked.store(now, Ordering::Relaxed);
        }
        Duration::from_nanos(self.ahead.load(Ordering::Relaxed).saturating_add(monotonic))
    }
}
