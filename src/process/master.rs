//! The master: keeps the right number of workers serving, of the right generation. It runs no application, has one
//! thread and never waits for anything but the next event.
//!
//! What it does follows from what is there: at every event it compares the workers that there are with those that are
//! wanted, makes the missing, and sends away those that have a ready replacement. A crash, a limit that a worker has
//! reached, a reload and an operator's word differ only in which workers count as replaceable.

mod births;
mod ending;
mod fallback;
mod generations;
mod rules;
mod service;
mod sizing;
mod workers;

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;

use super::crew::Crew;
use super::forks::close_in_children;
use super::identity::Identity;
use super::listening::Listening;
use super::output::{LineForm, Output};
use super::pool::{Backoff, Pool};
use super::signals::{Catch, Signal, Signals};
use fallback::Need;
use generations::Generation;
use service::Service;
use workers::WorkerProcess;

/// How often the sockets' files are looked after.
const LOOK: Duration = Duration::from_secs(3);

/// How often a pool that may grow is looked at, beside what its workers report.
const TICK: Duration = Duration::from_millis(100);

/// How often the application's files are looked at with `--reload`.
const FILES: Duration = Duration::from_millis(300);

/// What the operator wants of the master.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The application's name, for `ps`.
    pub name: String,
    /// The least number of workers; 0 makes them on demand.
    pub min: usize,
    /// The most workers.
    pub max: usize,
    /// Application threads of each.
    pub threads: usize,
    /// How long a worker above the least number may be without a request.
    pub idle_timeout: Duration,
    /// How long a worker, or the template, may take until it is ready.
    pub startup_timeout: Duration,
    /// How long a worker that was told to end may take.
    pub graceful_timeout: Duration,
    /// How long a request may take. Workers see to it themselves, unless they are stopped.
    pub request_timeout: Option<Duration>,
    /// Whether workers are forked from a template that has imported the application.
    pub preload: bool,
    /// Whether changes of the application's files are a reload.
    pub watch_files: bool,
    /// Whether workers answer with the reason when a reload fails.
    pub show_trouble: bool,
    /// What becomes of what workers write to their standard output and error.
    pub worker_output: LineForm,
    /// As whom the workers run.
    pub identity: Identity,
}

/// How the master has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told to, and everything in flight was finished.
    Finished,
    /// It was told to, and something was cut.
    Cut,
    /// The first worker could not load the application.
    CannotLoad,
    /// The first worker ended with another exit code.
    Failed(i32),
}

/// What the master is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    /// Told to end: workers finish what they have.
    Ending,
}

/// The master.
pub struct Master<'a> {
    plan: Plan,
    crew: &'a dyn Crew,
    /// None in a child: who has its other end can end the master by it.
    signals: Option<Signals>,
    listening: Listening,
    /// How often the listening sockets have been made anew.
    version: u32,
    /// Readable when connections that workers have passed on wait for another.
    passed_on: OwnedFd,
    /// How many workers there may be at a time, with those on their way out.
    places: usize,
    pool: Pool,
    backoff: Backoff,
    need: Need,
    /// Workers that no limit of --max-rss fits, and the code of which it was told.
    outgrown: Backoff,
    outgrown_told: u32,
    workers: Vec<WorkerProcess>,
    /// Outputs of workers that have died, still open in children of theirs.
    strays: Vec<(u32, Output)>,
    /// The code that serves; none before the first.
    current: Option<Generation>,
    /// The code that is to follow it.
    candidate: Option<Generation>,
    generations: u32,
    reload_again: bool,
    /// How many workers are started at a time beside the first: importing is work for the processor.
    at_once: usize,
    files: BTreeMap<PathBuf, Stamp>,
    /// Why the newest code does not load, where workers are to answer with that.
    trouble: Option<String>,
    stage: Stage,
    ending: Ending,
    /// Until when a report that all threads of a worker are in long requests is taken for news.
    full_until: Option<Instant>,
    next_look: Instant,
    next_files: Instant,
    /// Requests of workers that are gone.
    requests: u64,
    service: Service,
    /// Called on SIGUSR1.
    reopen_log: &'a dyn Fn(),
}

/// What changes when a file does.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamp(found: io::Result<Metadata>) -> Stamp {
    found
        .ok()
        .map(|found| (found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
}

impl<'a> Master<'a> {
    /// A master of this crew on these sockets. `passed_on` is readable when connections that workers have passed on wait
    /// for another.
    ///
    /// # Errors
    /// When the kernel has no memory or descriptors left.
    pub fn new(
        plan: Plan,
        crew: &'a dyn Crew,
        listening: Listening,
        passed_on: OwnedFd,
        reopen_log: &'a dyn Fn(),
    ) -> io::Result<Self> {
        /// Workers beside those of a full generation, for those that are on their way out.
        const SPARE: usize = 8;
        let _ = set_child_subreaper(true);
        // A copy of what the workers have, and no child of theirs.
        close_in_children(&passed_on);
        Ok(Self {
            pool: Pool::new(plan.min, plan.max),
            crew,
            signals: Some(Signals::catch(Catch::All)?),
            listening,
            version: 0,
            passed_on,
            places: 2 * plan.max + SPARE,
            backoff: Backoff::default(),
            need: Need::default(),
            outgrown: Backoff::default(),
            outgrown_told: 0,
            workers: Vec::new(),
            strays: Vec::new(),
            current: None,
            candidate: None,
            generations: 0,
            reload_again: false,
            at_once: std::thread::available_parallelism().map_or(2, |cpus| cpus.get().max(2)),
            files: BTreeMap::new(),
            trouble: None,
            stage: Stage::Serving,
            ending: Ending::Finished,
            full_until: None,
            next_look: Instant::now() + LOOK,
            next_files: Instant::now() + FILES,
            requests: 0,
            service: Service::new(),
            reopen_log,
            plan,
        })
    }

    /// Serves until told to end.
    pub fn run(mut self) -> Ending {
        super::title::set_title(&format!("wsgi-gateway: master {}", self.plan.name));
        self.begin_generation(Instant::now());
        loop {
            let now = Instant::now();
            match self.stage {
                Stage::Serving => self.look_after(now),
                Stage::Ending if self.workers.is_empty() => break,
                Stage::Ending => {}
            }
            self.watch_for_frozen(now);
            self.enforce_deadlines(now);
            let status = self.service.wants_status(now).then(|| self.describe());
            self.service.tell(now, status);
            self.wait(now);
            self.obey_signals();
            self.read_all();
            self.reap();
            self.forget_unborn();
        }
        self.read_all();
        // Children of workers still have these.
        for (number, output) in &mut self.strays {
            output.read_last(|line| workers::tell(*number, line));
        }
        self.ending
    }

    /// Everything that is compared with what is wanted at every event.
    fn look_after(&mut self, now: Instant) {
        if now >= self.next_look {
            self.next_look = now + LOOK;
            if self.listening.mend() {
                self.version += 1;
            }
            if self.listening.has_lost() {
                // Until those who have one open, too, have ended.
                self.next_look = now + TICK;
            }
            if self.listening.is_over() {
                log::error!("cannot go on: nothing is listened on any more");
                self.ending = Ending::Failed(1);
                return self.end(now);
            }
            // Also those who could not be told the last time.
            self.tell_listeners();
        }
        if self.plan.watch_files && now >= self.next_files {
            self.next_files = now + FILES;
            self.watch_files(now);
        }
        self.further_candidate(now);
        self.keep_template(now);
        self.size(now);
        self.retire_outgrown(now);
        self.make_missing(now);
        self.relieve_old(now);
        self.keep_fallback(now);
    }

    /// Sleeps until something happens or is due.
    fn wait(&mut self, now: Instant) {
        let watches = self.stage == Stage::Serving
            && (self.watches_listeners() || self.would_answer_itself(now));
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        fds.extend(self.signals.as_ref().map(|signals| signals.as_fd()));
        fds.extend(self.workers.iter().flat_map(WorkerProcess::descriptors));
        fds.extend(self.strays.iter().map(|(_, output)| output.as_fd()));
        for generation in self.current.iter().chain(&self.candidate) {
            fds.extend(generation.descriptors());
        }
        if watches {
            let sockets = self.listening.sockets();
            fds.extend(sockets.iter().map(|bound| bound.socket.as_fd()));
            fds.push(self.passed_on.as_fd());
        }
        let mut fds: Vec<PollFd<'_>> = fds
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let wait = self
            .next_wake(now)
            .saturating_duration_since(Instant::now());
        // Rounded up: a wait that ends early would be repeated until the time has come.
        let wait = wait + Duration::from_micros(999);
        let _ = poll(
            &mut fds,
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX),
        );
    }

    /// When something is due without an event.
    fn next_wake(&self, now: Instant) -> Instant {
        let mut next = now + Duration::from_secs(3600);
        let mut by = |instant: Option<Instant>| next = instant.map_or(next, |at| next.min(at));
        by(self.service.next());
        for worker in &self.workers {
            by(worker.deadline(self.plan.startup_timeout));
            by(worker.budget.until());
        }
        by(self.next_frozen(now));
        if self.stage == Stage::Serving {
            by(self.listening.has_files().then_some(self.next_look));
            by(self.plan.watch_files.then_some(self.next_files));
            by(self.backoff.until(now));
            by(self.next_sizing(now));
            by(self.next_outgrown(now));
            by(self.next_fallback(now));
            // Asked for while the one that has just succeeded went on.
            by((self.reload_again && self.candidate.is_none()).then_some(now));
            for generation in self.current.iter().chain(&self.candidate) {
                by(generation.deadline(self.plan.startup_timeout));
                let template = generation.template.as_ref();
                by(template.and_then(|template| template.budget.until()));
            }
        }
        next
    }

    fn obey_signals(&mut self) {
        while let Some(signal) = self.signals.as_mut().and_then(Signals::read) {
            let now = Instant::now();
            match signal {
                Signal::Terminate => self.end(now),
                Signal::Interrupt => self.end_at_once(),
                Signal::ReopenLog => (self.reopen_log)(),
                Signal::Child => {}
                _ if self.stage == Stage::Ending => {}
                Signal::Reload => {
                    self.crew.before_reload();
                    self.reload(now, "SIGHUP");
                }
                Signal::More => self.change_size(1),
                Signal::Fewer => self.change_size(-1),
            }
        }
    }

    fn change_size(&mut self, by: isize) {
        let most = (self.places / 2).max(1);
        self.pool.change(by, most);
        log::info!(
            "told to change the number of workers: at least {}, at most {}",
            self.pool.min,
            self.pool.max
        );
    }
}
