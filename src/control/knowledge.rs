//! What the observer knows: what the master tells, the slots of the workers, and what the kernel says of processes and
//! sockets. Any code in a worker can have written what stands in its slot: no number there is taken for granted.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};

use super::history::History;
use super::queue::{Queue, Queues};
use super::status::{
    ReloadStatus, RequestStatus, Status, TimesStatus, WaitingAt, WorkerCounts, WorkerStatus,
};
use crate::process::{
    DeskNotice, GatewayStage, SlotView, Snapshot, Totals, WorkerSeen, WorkerStage, unseal, uptime,
};

/// What does not change.
#[derive(Clone, Debug)]
pub struct About {
    /// How the gateway is called.
    pub name: String,
    /// The application, as it was named.
    pub application: String,
    /// The user that the master runs as.
    pub uid: u32,
}

/// What the observer knows.
#[derive(Debug)]
pub(super) struct Knowledge {
    about: About,
    threads: usize,
    snapshot: Option<Snapshot>,
    slots: BTreeMap<u32, SlotView>,
    queues: Queues,
    history: History,
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    resident: u64,
    cpu: Duration,
}

impl Knowledge {
    pub(super) fn new(about: About, threads: usize) -> Self {
        Self {
            about,
            threads,
            snapshot: None,
            slots: BTreeMap::new(),
            queues: Queues::new(),
            history: History::default(),
        }
    }

    /// What there was lately.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Notes how it stands, where that is due; when it is next.
    pub(super) fn note_history(&mut self, now: Instant) -> Instant {
        if now >= self.history.due(now) {
            let status = self.status(false);
            self.history.note(now, &status);
        }
        self.history.due(now)
    }

    /// The user whose gateway it is.
    pub(super) fn owner(&self) -> u32 {
        self.about.uid
    }

    /// Takes in what the master tells. Gives an outcome back, which is for who waits for it.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn note(&mut self, notice: DeskNotice) -> io::Result<Option<(u32, u8, OwnedFd)>> {
        match notice {
            DeskNotice::Snapshot(text) => {
                let text = unseal(text)?;
                let snapshot: Snapshot = serde_json::from_slice(&text)?;
                let is_there =
                    |number: &u32| snapshot.workers.iter().any(|it| it.number == *number);
                self.slots.retain(|number, _| is_there(number));
                self.snapshot = Some(snapshot);
            }
            DeskNotice::Slot(number, slot) => {
                self.slots
                    .insert(number, SlotView::map(slot, self.threads)?);
            }
            DeskNotice::Outcome(id, exit, text) => return Ok(Some((id, exit, text))),
        }
        Ok(None)
    }

    /// Why nobody should be sent here now; nothing where somebody serves.
    pub(super) fn unready(&self) -> Option<&'static str> {
        let Some(snapshot) = &self.snapshot else {
            return Some("starting");
        };
        let serves =
            |worker: &WorkerSeen| worker.stage == WorkerStage::Ready && worker.generation.is_some();
        match snapshot.stage {
            GatewayStage::Ending => Some("draining"),
            GatewayStage::Failed => Some("the application cannot be loaded"),
            _ if snapshot.workers.iter().any(serves) => None,
            // The first comes with the first request.
            GatewayStage::Serving if snapshot.min == 0 && snapshot.workers.is_empty() => None,
            GatewayStage::Starting => Some("starting"),
            GatewayStage::Serving => Some("no worker"),
        }
    }

    /// How it stands; with what stands behind the path of URLs, or without.
    pub(super) fn status(&mut self, shows_query: bool) -> Status {
        let empty = Snapshot {
            taken: uptime(),
            age: Duration::ZERO,
            pid: 0,
            stage: GatewayStage::Starting,
            generation: None,
            candidate: None,
            min: 0,
            max: 0,
            threads: self.threads,
            reloads: Default::default(),
            workers: Vec::new(),
            ended: BTreeMap::new(),
            gone: Totals::default(),
            addresses: Vec::new(),
            has_stale_settings: false,
        };
        let snapshot = self.snapshot.as_ref().unwrap_or(&empty);
        let since = uptime().saturating_sub(snapshot.taken);
        let mut status = Status {
            name: self.about.name.clone(),
            application: self.about.application.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: snapshot.pid,
            uid: self.about.uid,
            uptime_seconds: (snapshot.age + since).as_secs_f64(),
            state: word(&snapshot.stage),
            generation: snapshot.generation,
            candidate: snapshot.candidate,
            settings_stale: snapshot.has_stale_settings,
            reloads: reloads(snapshot, since),
            workers: WorkerCounts {
                min: snapshot.min as u64,
                max: snapshot.max as u64,
                ..WorkerCounts::default()
            },
            worker_exits: snapshot.ended.clone(),
            cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
            ..Status::default()
        };
        let (ticks, page) = (
            constant(SysconfVar::CLK_TCK, 100),
            constant(SysconfVar::PAGE_SIZE, 4096),
        );
        let master = i32::try_from(snapshot.pid).unwrap_or(0);
        for pid in [master, std::process::id().try_into().unwrap_or(0)] {
            add_use(&mut status, Use::of(pid, ticks, page));
        }
        let mut totals = snapshot.gone.clone();
        for worker in &snapshot.workers {
            let slot = self.slots.get(&worker.number);
            let used = worker.pid.map(|pid| Use::of(pid, ticks, page));
            let used = used.unwrap_or_default();
            let own = slot.map(SlotView::totals).unwrap_or_default();
            totals.add(&own);
            let shown = WorkerStatus {
                requests: own.requests,
                duration: TimesStatus::of(&own.duration),
                ..shown(worker, slot, self.threads, since, used, shows_query)
            };
            add_use(&mut status, used);
            add_worker(&mut status, shown);
        }
        put_totals(&mut status, &totals);
        let queues = self.queues.look(&snapshot.addresses);
        status.waiting = snapshot
            .addresses
            .iter()
            .zip(queues)
            .map(|(address, queue)| WaitingAt {
                address: address.name.clone(),
                connections: queue.map(|Queue { waiting, .. }| waiting.into()),
                room: queue.map(|Queue { room, .. }| room.into()),
            })
            .collect();
        status.problems = problems(&status, self.unready());
        status.ok = status.problems.is_empty();
        status
    }
}

fn add_use(status: &mut Status, used: Use) {
    status.cpu_seconds += used.cpu.as_secs_f64();
    status.resident_bytes = status.resident_bytes.saturating_add(used.resident);
}

fn add_worker(status: &mut Status, worker: WorkerStatus) {
    let counts = &mut status.workers;
    match worker.state.as_str() {
        "starting" => counts.starting += 1,
        "idle" => counts.idle += 1,
        "busy" | "stopped" => counts.busy += 1,
        "draining" => counts.draining += 1,
        _ => {}
    }
    if matches!(worker.state.as_str(), "idle" | "busy") {
        status.threads += worker.threads;
        status.threads_busy += worker.threads_busy;
    }
    let oldest = worker.now.first().map(|request| request.seconds);
    status.oldest_request_seconds = match (status.oldest_request_seconds, oldest) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    };
    status.worker_list.push(worker);
}

fn put_totals(status: &mut Status, totals: &Totals) {
    let named = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    };
    status.requests = totals.requests;
    status.connections = totals.connections;
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let answers: Vec<(&str, u64)> = classes.into_iter().zip(totals.answers).collect();
    status.answers = named(&answers);
    status.duration = TimesStatus::of(&totals.duration);
    status.queue_duration = TimesStatus::of(&totals.waited);
    status.request_bytes = totals.received;
    status.response_bytes = totals.sent;
    let failures = &totals.failures;
    status.application_errors = named(&[
        ("exception", failures.exception),
        ("protocol", failures.protocol),
        ("after_head", failures.after_head),
    ]);
    status.client_aborts = totals.client_aborts;
    status.slow_requests = totals.slow;
    status.request_timeouts = totals.timeouts;
    let refused = &totals.refused;
    status.refused = named(&[
        ("connections", refused.connections),
        ("body", refused.body),
        ("params", refused.params),
        ("header_timeout", refused.header_timeout),
        ("io_timeout", refused.io_timeout),
    ]);
    status.log_lines_dropped = totals.log_dropped;
}

/// What is wrong, a sentence each.
fn problems(status: &Status, unready: Option<&str>) -> Vec<String> {
    let mut problems = Vec::new();
    match unready {
        Some("no worker") => problems.push("no worker serves".to_owned()),
        Some("starting") => problems.push("the first worker is not ready yet".to_owned()),
        Some("draining") => problems.push("the gateway is about to end".to_owned()),
        Some(other) => problems.push(other.to_owned()),
        None => {}
    }
    if let Some(failure) = &status.reloads.last_failure {
        let last = failure.trim_end().lines().last().unwrap_or_default();
        problems.push(format!("the last reload failed: {last}"));
    }
    let waits = |it: &&WaitingAt| it.connections.is_some_and(|count| count > 0);
    let all_busy = status.threads > 0 && status.threads_busy >= status.threads;
    for waiting in status.waiting.iter().filter(waits) {
        if let (Some(count), true) = (waiting.connections, all_busy) {
            problems.push(format!(
                "{count} connections wait at {}, and all threads are busy",
                waiting.address
            ));
        }
    }
    for worker in &status.worker_list {
        if worker.state == "stopped" {
            problems.push(format!("worker {} is stopped by a signal", worker.number));
        }
    }
    problems
}

fn reloads(snapshot: &Snapshot, since: Duration) -> ReloadStatus {
    let reloads = &snapshot.reloads;
    let last = reloads.last.as_ref();
    ReloadStatus {
        succeeded: reloads.succeeded,
        failed: reloads.failed,
        last_seconds_ago: last.map(|last| (last.age + since).as_secs_f64()),
        last_failure: last.and_then(|last| last.failure.clone()),
        failure_before: reloads
            .last_failed
            .as_ref()
            .and_then(|failed| failed.failure.clone()),
    }
}

fn shown(
    worker: &WorkerSeen,
    slot: Option<&SlotView>,
    threads: usize,
    since: Duration,
    used: Use,
    shows_query: bool,
) -> WorkerStatus {
    let mut running = slot.map(SlotView::running).unwrap_or_default();
    running.sort_by_key(|request| Reverse(request.age));
    let state = match worker.stage {
        WorkerStage::Starting => "starting",
        WorkerStage::Draining => "draining",
        WorkerStage::Ready if worker.generation.is_none() => "fallback",
        WorkerStage::Ready if worker.is_stopped => "stopped",
        WorkerStage::Ready if running.is_empty() => "idle",
        WorkerStage::Ready => "busy",
    };
    let seconds = |time: Duration| time.as_secs_f64();
    WorkerStatus {
        number: worker.number,
        pid: worker.pid,
        generation: worker.generation,
        state: state.to_owned(),
        reason: worker.reason.clone(),
        limit_seconds: worker
            .limit
            .map(|limit| seconds(limit.saturating_sub(since))),
        threads: threads as u64,
        threads_busy: running.len() as u64,
        uptime_seconds: seconds(worker.age + since),
        start_seconds: worker.start.map(seconds),
        resident_bytes: used.resident,
        cpu_seconds: seconds(used.cpu),
        now: running
            .into_iter()
            .map(|request| RequestStatus {
                seconds: seconds(request.age),
                request: match shows_query {
                    true => request.request,
                    false => without_query(&request.request).to_owned(),
                },
            })
            .collect(),
        ..WorkerStatus::default()
    }
}

/// A request line without what stands behind the path: secrets travel there.
fn without_query(request: &str) -> &str {
    request
        .split_once('?')
        .map_or(request, |(path, _query)| path)
}

/// The word that a value is in JSON.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn constant(variable: SysconfVar, otherwise: u64) -> u64 {
    let found = sysconf(variable).ok().flatten();
    found
        .and_then(|found| u64::try_from(found).ok())
        .filter(|found| *found > 0)
        .unwrap_or(otherwise)
}

impl Use {
    /// Of the process of this number; nothing of one that is gone (proc_pid_stat(5)).
    fn of(pid: i32, ticks: u64, page: u64) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, in which anything may stand.
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_ascii_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        // Fields 14, 15 and 24 of that page, the first of which here is 4.
        let field = |number: usize| fields.get(number - 4).copied().unwrap_or(0);
        let millis = (field(14) + field(15)).saturating_mul(1000) / ticks;
        Self {
            resident: field(24).saturating_mul(page),
            cpu: Duration::from_millis(millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Use, without_query};

    #[test]
    fn no_query_is_shown() {
        assert_eq!(without_query("GET /a?token=1?2"), "GET /a");
        assert_eq!(without_query("GET /a"), "GET /a");
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        let own = Use::of(i32::try_from(std::process::id()).unwrap(), 100, 4096);
        assert!(own.resident > 100_000, "{own:?}");
        let gone = Use::of(0, 100, 4096);
        assert_eq!((gone.resident, gone.cpu.as_nanos()), (0, 0));
    }
}
