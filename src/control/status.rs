//! How it stands with a gateway, as `status --json` tells it: what the other forms are made of, and what a client reads.
//!
//! Nothing of a name here is taken back: who reads this by a program is not to find another word in the next version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::process::Histogram;

/// How it stands with a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// How it is called.
    pub name: String,
    /// The application, as it was named.
    pub application: String,
    /// Of the gateway.
    pub version: String,
    /// The master's process id.
    pub pid: u32,
    /// The user id that the master runs as.
    pub uid: u32,
    /// Seconds since it began.
    pub uptime_seconds: f64,
    /// `starting`, `serving`, `failed` or `ending`.
    pub state: String,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
    /// The generation of the application's code that serves.
    pub generation: Option<u32>,
    /// The one that is being started to follow it.
    pub candidate: Option<u32>,
    /// Whether the settings have changed since they were read.
    pub settings_stale: bool,
    /// What came of reloads.
    pub reloads: ReloadStatus,
    /// How many workers there are of each kind.
    pub workers: WorkerCounts,
    /// Application threads, of the workers that serve.
    pub threads: u64,
    /// How many of them are in a request.
    pub threads_busy: u64,
    /// Who waits, by address.
    pub waiting: Vec<WaitingAt>,
    /// Seconds that the oldest request has run.
    pub oldest_request_seconds: Option<f64>,
    /// Requests that the application was given.
    pub requests: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Answers by class, `1xx` to `5xx`; those of the gateway's own too.
    pub answers: BTreeMap<String, u64>,
    /// Seconds in the application, of all requests so far.
    pub duration: TimesStatus,
    /// Seconds that requests waited for a thread, as far as workers have seen it.
    pub queue_duration: TimesStatus,
    /// Bytes of requests' bodies that came.
    pub request_bytes: u64,
    /// Bytes of responses' bodies that were sent.
    pub response_bytes: u64,
    /// How often the application has failed, by kind: `exception`, `protocol`, `after_head`.
    pub application_errors: BTreeMap<String, u64>,
    /// Requests whose client, or web server, had gone.
    pub client_aborts: u64,
    /// Requests that ran longer than `--slow-log`.
    pub slow_requests: u64,
    /// Requests that ran longer than `--request-timeout`.
    pub request_timeouts: u64,
    /// Requests that were not served as they were sent, by reason: `connections`, `body`, `params`, `header_timeout`, `io_timeout`.
    pub refused: BTreeMap<String, u64>,
    /// Lines of the access log that were dropped, as nobody took them.
    pub log_lines_dropped: u64,
    /// How many workers have ended, by reason.
    pub worker_exits: BTreeMap<String, u64>,
    /// Processors of the machine that it may use.
    pub cpus: u64,
    /// Seconds of processor time of the processes that there are.
    pub cpu_seconds: f64,
    /// Bytes of resident memory of the processes that there are.
    pub resident_bytes: u64,
    /// Each worker.
    pub worker_list: Vec<WorkerStatus>,
}

impl Status {
    /// As JSON, in one line.
    pub fn write(&self) -> String {
        // Of numbers and texts alone: that does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What was written so, by this version or another.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimesStatus {
    /// How many took at most so many seconds, and longer than the bound before; the last is of those above all bounds, of which
    /// there is one less.
    pub counts: Vec<u64>,
    /// The bounds of these.
    pub bounds_seconds: Vec<f64>,
    /// The sum of all.
    pub sum_seconds: f64,
    /// Half of them took no longer; nothing where there were none.
    pub median_seconds: Option<f64>,
    /// 95 % took no longer.
    pub p95_seconds: Option<f64>,
    /// 99 % took no longer.
    pub p99_seconds: Option<f64>,
}

impl TimesStatus {
    pub(super) fn of(times: &Histogram) -> Self {
        let at = |part| times.quantile(part).map(|time| time.as_secs_f64());
        // Microseconds of what a machine can have served.
        let seconds = |micros: u64| micros as f64 / 1e6;
        Self {
            counts: times.counts.to_vec(),
            bounds_seconds: Histogram::BOUNDS.map(seconds).to_vec(),
            sum_seconds: seconds(times.sum),
            median_seconds: at(0.5),
            p95_seconds: at(0.95),
            p99_seconds: at(0.99),
        }
    }

    /// As the scoreboard has it; nothing where it is of another version.
    pub fn histogram(&self) -> Option<Histogram> {
        Some(Histogram {
            counts: self.counts.as_slice().try_into().ok()?,
            // What is no number is none.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            sum: (self.sum_seconds * 1e6) as u64,
        })
    }
}

/// What came of reloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// How many have brought a new generation.
    pub succeeded: u64,
    /// How many have not.
    pub failed: u64,
    /// Seconds since the last one.
    pub last_seconds_ago: Option<f64>,
    /// Why the last one has failed, if it has.
    pub last_failure: Option<String>,
    /// Why the last has failed of those that have, where that was not the last one.
    pub failure_before: Option<String>,
}

/// How many workers there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCounts {
    /// The least number that is kept.
    pub min: u64,
    /// The most.
    pub max: u64,
    /// Those that import the application.
    pub starting: u64,
    /// Those that serve, and have no request.
    pub idle: u64,
    /// Those that serve, and have.
    pub busy: u64,
    /// Those that finish what they have.
    pub draining: u64,
}

/// Who waits at a listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingAt {
    /// The address.
    pub address: String,
    /// Connections that nobody has taken yet; nothing where the kernel does not say.
    pub connections: Option<u64>,
    /// How many may wait.
    pub room: Option<u64>,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number.
    pub number: u32,
    /// Its process; nothing while it is made.
    pub pid: Option<i32>,
    /// Of its code.
    pub generation: Option<u32>,
    /// `starting`, `idle`, `busy`, `draining`, `stopped` (by a signal) or `fallback` (which answers in the place of workers).
    pub state: String,
    /// Why it is to end, where it is.
    pub reason: Option<String>,
    /// Seconds that it has for that.
    pub limit_seconds: Option<f64>,
    /// Its application threads.
    pub threads: u64,
    /// Those that are in a request.
    pub threads_busy: u64,
    /// Requests that it has begun.
    pub requests: u64,
    /// Seconds of them in the application.
    pub duration: TimesStatus,
    /// Seconds since it began.
    pub uptime_seconds: f64,
    /// Seconds from there until it was ready.
    pub start_seconds: Option<f64>,
    /// Bytes of resident memory.
    pub resident_bytes: u64,
    /// Seconds of processor time.
    pub cpu_seconds: f64,
    /// What it serves now, the oldest first.
    pub now: Vec<RequestStatus>,
}

/// A request that is being served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestStatus {
    /// Seconds that it has run.
    pub seconds: f64,
    /// Method and path; the query only for the gateway's own user.
    pub request: String,
}
