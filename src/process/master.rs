//! The master: keeps the right number of workers serving, of the right generation. It runs no application, has one
//! thread and never waits for anything but the next event.
//!
//! What it does is decided in `state`, which has no descriptor, no clock and no log. Here is the loop that has these: it
//! tells the state what happens (`MasterEvent`) and carries out what the state wants (`Action`).

mod children;
mod files;
mod observers;
mod plan;
mod reaction;
mod rules;
mod spawn;
mod state;
mod systemd;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::account::AccountFile;
use super::child::Child;
use super::forks::close_in_children;
use super::lines::LineWriter;
use super::listener::Bound;
use super::listening::Listening;
use super::messages::MasterMessage;
use super::output::Output;
use super::scoreboard::WorkerSlot;
use super::service::Service;
use super::signals::{Catch, Signals};
use children::{AT_ONCE, ChildProcess, tell};
pub use plan::{Ending, Plan};

use files::WatchedFiles;
use observers::ObserverLink;
use reaction::{Action, ChildId, Died, ListenersFound, MasterEvent};
use state::MasterState;
use systemd::Systemd;

/// The most outputs of dead workers that are read on for children of theirs: each takes a descriptor.
const MAX_ORPHAN_OUTPUTS: usize = 64;

/// The master.
pub struct Master<'a> {
    plan: Plan,
    service: &'a dyn Service,
    state: MasterState,
    /// None in a child: who has its other end can end the master by it.
    signals: Option<Signals>,
    listening: Listening,
    /// Readable when connections that workers have passed on wait for another.
    passed_on: OwnedFd,
    children: BTreeMap<ChildId, ChildProcess>,
    /// Outputs of workers that have died, still open in children of theirs.
    orphan_outputs: Vec<(ChildId, Output)>,
    files: WatchedFiles,
    /// Where the observer answers, if there is one.
    observer: Option<ObserverLink>,
    systemd: Systemd,
    /// Writes what workers tell of requests, where that is wanted. None in a child.
    lines: Option<LineWriter>,
    /// What others read of it (`ps`).
    account: Option<AccountFile>,
    /// How it has ended, when it has.
    ended: Option<Ending>,
    /// Called on SIGUSR1.
    reopen_log: &'a dyn Fn(),
}

impl<'a> Master<'a> {
    /// A master of this service on these sockets. `passed_on` is readable when connections that workers have passed on
    /// wait for another.
    ///
    /// # Errors
    /// When the kernel has no memory or descriptors left.
    pub fn new(
        plan: Plan,
        service: &'a dyn Service,
        listening: Listening,
        passed_on: OwnedFd,
        reopen_log: &'a dyn Fn(),
    ) -> io::Result<Self> {
        let _ = set_child_subreaper(true);
        // A copy of what the workers have, and no child of theirs.
        close_in_children(&passed_on);
        let at_once = std::thread::available_parallelism().map_or(2, |cpus| cpus.get().max(2));
        let have_files = listening.has_files();
        Ok(Self {
            service,
            state: MasterState::new(&plan, at_once, have_files, Instant::now()),
            signals: Some(Signals::catch(Catch::All)?),
            listening,
            passed_on,
            children: BTreeMap::new(),
            orphan_outputs: Vec::new(),
            files: WatchedFiles::default(),
            systemd: Systemd::new(),
            observer: None,
            lines: None,
            account: None,
            ended: None,
            reopen_log,
            plan,
        })
    }

    /// Accounts in this file for what it does.
    pub fn accounting_in(self, account: AccountFile) -> Self {
        Self {
            account: Some(account),
            ..self
        }
    }

    /// Is observed at these sockets: the first is the control socket, the others are for figures alone.
    pub fn observed_at(self, sockets: Vec<Bound>) -> Self {
        let observer = (!sockets.is_empty()).then(|| ObserverLink::new(sockets));
        Self { observer, ..self }
    }

    /// Has this write what workers tell of requests.
    pub fn writing_lines_by(self, lines: Option<LineWriter>) -> Self {
        Self { lines, ..self }
    }

    /// Serves until told to end.
    pub fn run(mut self) -> Ending {
        super::title::set_title(&format!("wsgi-gateway: master {}", self.plan.name));
        self.note(MasterEvent::Begin);
        let ending = loop {
            self.start_line_writer();
            self.tick();
            if let Some(ending) = self.ended {
                break ending;
            }
            self.wait();
            self.read_signals();
            self.read_all();
            self.reap();
        };
        self.read_all();
        observers::end(&mut self);
        self.lines.iter_mut().for_each(LineWriter::finish);
        // Children of workers still have these.
        for (id, output) in &mut self.orphan_outputs {
            output.read_last(|line| tell(*id, None, line));
        }
        ending
    }

    /// Tells the state what has happened, and does what it wants; and so on with what comes of that.
    fn note(&mut self, event: MasterEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.state.on(event, Instant::now()) {
                events.extend(self.carry_out(action));
            }
        }
    }

    /// Has the state compare what there is with what is wanted.
    fn tick(&mut self) {
        let now = Instant::now();
        let are_requests_asked = self.plan.request_timeout.is_some();
        let figures = self.children.iter().filter_map(|(id, child)| match id {
            ChildId::Worker(number) => Some((*number, child.figures(now, are_requests_asked))),
            ChildId::Template(_) | ChildId::Observer => None,
        });
        let figures = figures.collect();
        let waits = self.is_anyone_waiting();
        self.note(MasterEvent::Tick { figures, waits });
        let wants_status = self.systemd.wants_status(now);
        let status = wants_status.then(|| self.state.describe());
        self.systemd.tell(now, status);
        self.account_for(now);
        observers::tell(self, now);
    }

    fn start_line_writer(&mut self) {
        if let Some(lines) = &mut self.lines {
            let title = format!("wsgi-gateway: log lines {}", self.plan.name);
            lines.start_when_due(&title, self.service.log_descriptor(), self.reopen_log);
        }
    }

    /// Puts down what was served, where somebody may ask.
    fn account_for(&mut self, now: Instant) {
        if let Some(account) = &mut self.account {
            let tally = self.state.tally();
            let idle = tally
                .idle_since
                .map(|since| now.saturating_duration_since(since));
            account.note(tally.requests, idle);
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(&mut self) {
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        fds.extend(self.signals.as_ref().map(|signals| signals.as_fd()));
        fds.extend(self.children.values().flat_map(ChildProcess::descriptors));
        fds.extend(self.observer.as_ref().and_then(ObserverLink::descriptor));
        fds.extend(self.orphan_outputs.iter().map(|(_, output)| output.as_fd()));
        if self.state.watches_listeners(Instant::now()) {
            let sockets = self.listening.sockets();
            fds.extend(sockets.iter().map(|bound| bound.socket.as_fd()));
            fds.push(self.passed_on.as_fd());
        }
        let mut fds: Vec<PollFd<'_>> = fds
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let heard_again = self.children.values().filter_map(ChildProcess::deadline);
        let output = self.children.values();
        let output = output.filter_map(ChildProcess::output_deadline);
        let link = self.observer.as_ref();
        let observer = link.and_then(ObserverLink::deadline);
        let writer = self.lines.as_ref().and_then(LineWriter::due);
        let due = heard_again.chain(output).chain(self.systemd.next());
        let due = due.chain(observer).chain(writer);
        let due = due.fold(self.state.next_deadline(), Instant::min);
        let wait = due.saturating_duration_since(Instant::now());
        // Rounded up: a wait that ends early would be repeated until the time has come.
        let wait = match wait.is_zero() {
            true => wait,
            false => wait + Duration::from_micros(999),
        };
        let _ = poll(
            &mut fds,
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX),
        );
    }

    fn is_anyone_waiting(&self) -> bool {
        let sockets = self.listening.sockets();
        let mut fds: Vec<PollFd<'_>> = sockets
            .iter()
            .map(|bound| bound.socket.as_fd())
            .chain([self.passed_on.as_fd()])
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn read_signals(&mut self) {
        while let Some(signal) = self.signals.as_mut().and_then(Signals::read) {
            self.note(MasterEvent::Signal(signal));
        }
    }

    /// Reads what workers and templates have said.
    fn read_all(&mut self) {
        let ids: Vec<ChildId> = self.children.keys().copied().collect();
        for id in ids {
            let now = Instant::now();
            for _ in 0..AT_ONCE {
                let child = self.children.get_mut(&id);
                match child.and_then(|child| child.hear(id, now)) {
                    Some(event) => self.note(event),
                    None => break,
                }
            }
            if let Some(child) = self.children.get_mut(&id) {
                child.read_output(id);
            }
        }
        observers::hear(self);
        for (id, output) in &mut self.orphan_outputs {
            output.read(|line| tell(*id, None, line));
        }
        self.orphan_outputs.retain(|(_, output)| !output.is_closed);
        let many = self.orphan_outputs.len().saturating_sub(MAX_ORPHAN_OUTPUTS);
        for (id, _) in self.orphan_outputs.drain(..many) {
            if let ChildId::Worker(number) = id {
                log::warn!(
                    "worker {number} has left processes behind whose output is read no more: {MAX_ORPHAN_OUTPUTS} \
                     others have, too"
                );
            }
        }
    }

    /// Takes note of children that have ended or were stopped.
    fn reap(&mut self) {
        loop {
            let changes = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WCONTINUED;
            let changes = changes | WaitPidFlag::WNOHANG;
            let found = waitid(Id::All, changes | WaitPidFlag::WNOWAIT);
            let ended = match found {
                Ok(WaitStatus::Exited(pid, code)) => Ok((pid, Died::Exited(code))),
                Ok(WaitStatus::Signaled(pid, signal, _)) => Ok((pid, Died::Killed(signal))),
                Ok(WaitStatus::Stopped(pid, _)) => Err((pid, true)),
                Ok(WaitStatus::Continued(pid)) => Err((pid, false)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Err(Errno::EINTR) | Ok(_) => continue,
                Err(error) => {
                    log::error!("waitid failed: {error}");
                    return;
                }
            };
            // Its last words, and what it has said of its start: until it was waited for its number is its own.
            self.read_all();
            let (Ok((pid, _)) | Err((pid, _))) = ended;
            let _ = waitid(Id::Pid(pid), changes);
            let is = |child: &ChildProcess| child.process.as_ref().map(Child::pid) == Some(pid);
            let found = self.children.iter().find(|(_, child)| is(child));
            match (found.map(|(id, _)| *id), ended) {
                (Some(id), Ok((_, died))) => self.note_exit(id, died),
                (Some(id), Err((_, is_stopped))) => {
                    self.note(MasterEvent::Stopped(id, is_stopped));
                }
                (None, Ok((pid, _))) if self.lines.as_mut().is_some_and(|it| it.note_end(pid)) => {}
                (None, Ok(_)) => log::debug!("reaped process {pid}, left behind by a worker"),
                (None, Err(_)) => {}
            }
        }
    }

    fn note_exit(&mut self, id: ChildId, died: Died) {
        /// More than the channel holds is a child's of the worker.
        const TURNS: usize = 16;
        for _ in 0..TURNS * AT_ONCE {
            let child = self.children.get_mut(&id);
            match child.and_then(|child| child.hear_rest(id)) {
                Some(event) => self.note(event),
                None => break,
            }
        }
        let Some(child) = self.children.remove(&id) else {
            return;
        };
        if let (ChildId::Worker(number), Some(link)) = (id, &mut self.observer) {
            let totals = child.slot.as_ref().map(WorkerSlot::totals);
            link.note_gone(number, &totals.unwrap_or_default());
        }
        let figures = child.figures(Instant::now(), true);
        let died = child.death(died);
        let output = child.read_last_output(id);
        self.note(MasterEvent::Exited(id, died, figures));
        if let (ChildId::Worker(_), Some(output)) = (id, output) {
            self.orphan_outputs.push((id, output));
        }
    }

    /// Does what the state wants. Gives what has come of it, where the state asks.
    fn carry_out(&mut self, action: Action) -> Option<MasterEvent> {
        match action {
            Action::StartWorker {
                number,
                is_fallback,
                trouble,
            } => {
                let fallback = is_fallback.then_some(trouble);
                let started = spawn::start_worker(self, number, fallback);
                return self.add(ChildId::Worker(number), started);
            }
            Action::RequestFork { number, generation } => {
                let requested = spawn::request_fork(self, number, generation);
                return self.add(ChildId::Worker(number), requested);
            }
            Action::StartTemplate(generation) => {
                let started = spawn::start_template(self);
                return self.add(ChildId::Template(generation), started);
            }
            Action::StartObserver => {
                let started = spawn::start_observer(self);
                return self.add(ChildId::Observer, started);
            }
            Action::Answer(id, outcome) => {
                if let Some(link) = &mut self.observer {
                    link.answer(id, outcome, Instant::now());
                }
            }
            Action::Adopt(number, pid) => return self.adopt(number, pid),
            Action::Tell(number, message, otherwise) => {
                self.tell_worker(number, &message, otherwise);
            }
            Action::PassListeners(numbers) => return self.pass_listeners(numbers),
            Action::Kill(id, signal) => self.with_process(id, |process| process.signal(signal)),
            Action::AskForStacks(id) => self.with_process(id, Child::ask_for_stacks),
            Action::HearNoMore(id) => {
                if let Some(child) = self.children.get_mut(&id) {
                    child.hear_no_more();
                }
            }
            Action::Forget(id) => drop(self.children.remove(&id)),
            Action::BeginIdling(number) => {
                let child = self.children.get(&ChildId::Worker(number));
                if let Some(slot) = child.and_then(|child| child.slot.as_ref()) {
                    slot.begin_idling();
                }
            }
            Action::KillAll => children::kill_all(&mut self.children),
            Action::TellReady => log::info!("ready on {}", self.listening.names()),
            Action::Log(level, line) => log::log!(level, "{line}"),
            Action::Relay(id, level, text) => {
                if let Some(child) = self.children.get(&id) {
                    child.relay(id, level, &text);
                }
            }
            Action::Notify(notice) => self.systemd.note(notice, Instant::now()),
            Action::MendListeners => {
                return Some(MasterEvent::Listeners(ListenersFound {
                    are_new: self.listening.mend(),
                    has_lost: self.listening.has_lost(),
                    are_over: self.listening.is_over(),
                    have_files: self.listening.has_files(),
                    is_superseded: self.listening.is_superseded(),
                }));
            }
            Action::RefuseNew => self.listening.refuse_new(),
            Action::CloseListeners => self.listening = Listening::default(),
            Action::WatchFiles(paths) => self.files.add(paths),
            Action::LookAtFiles => return self.files.changed().map(MasterEvent::FileChanged),
            Action::ReopenLog => {
                (self.reopen_log)();
                self.lines.iter().for_each(LineWriter::reopen);
            }
            Action::BeforeReload => self.service.before_reload(),
            Action::WorkerDied => self.service.worker_died(),
            Action::End(ending) => self.ended = Some(ending),
        }
        None
    }

    fn with_process(&self, id: ChildId, act: impl FnOnce(&Child)) {
        let child = self.children.get(&id);
        if let Some(process) = child.and_then(|child| child.process.as_ref()) {
            act(process);
        }
    }

    /// Takes in a child that was started, or whose start was ordered.
    fn add(&mut self, id: ChildId, started: io::Result<ChildProcess>) -> Option<MasterEvent> {
        match started {
            Ok(child) => {
                let pid = child.process.as_ref().map(Child::pid);
                self.children.insert(id, child);
                pid.map(|pid| MasterEvent::Started(id, pid))
            }
            Err(error) => Some(MasterEvent::NotStarted(id, error.to_string())),
        }
    }

    fn adopt(&mut self, number: u32, pid: Pid) -> Option<MasterEvent> {
        match (
            Child::find(pid),
            self.children.get_mut(&ChildId::Worker(number)),
        ) {
            (Some(process), Some(child)) => {
                child.process = Some(process);
                None
            }
            _ => Some(MasterEvent::NotAdopted(number)),
        }
    }

    fn tell_worker(&self, number: u32, message: &MasterMessage, otherwise: Option<Signal>) {
        let id = ChildId::Worker(number);
        let Some(child) = self.children.get(&id) else {
            return;
        };
        if let (Err(_), Some(signal)) = (child.channel.tell(message), otherwise) {
            self.with_process(id, |process| process.signal(signal));
        }
    }

    fn pass_listeners(&self, mut numbers: Vec<u32>) -> Option<MasterEvent> {
        let Ok(sockets) = self.listening.try_clone() else {
            log::error!("the new sockets cannot be passed to the workers: no descriptors are left");
            return Some(MasterEvent::NotPassed(numbers));
        };
        let sockets = sockets.into_iter().map(|bound| bound.socket).collect();
        let message = MasterMessage::Listen(sockets);
        numbers.retain(|number| {
            let child = self.children.get(&ChildId::Worker(*number));
            match child.map(|child| (child.channel.tell(&message), &child.process)) {
                Some((Err(error), Some(process))) => {
                    let pid = process.pid();
                    log::error!(
                        "worker {number} (pid {pid}) cannot be told of the new sockets: {error}"
                    );
                    true
                }
                _ => false,
            }
        });
        (!numbers.is_empty()).then_some(MasterEvent::NotPassed(numbers))
    }
}
