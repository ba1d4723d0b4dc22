//! A world for the state to live in: a clock that stands still until told, and processes that are only numbers. It carries the
//! actions out as the master does, and fails where one is about a process that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::super::MasterState;
use crate::process::identity::Identity;
use crate::process::master::reaction::{
    Action, ChildId, Died, Figures, ListenersFound, MasterEvent, Notice,
};
use crate::process::master::{Ending, Plan};
use crate::process::messages::{ChildMessage, MasterMessage};
use crate::process::output::LineForm;
use crate::process::scoreboard::Running;
use crate::process::signals;

/// What the processes do on the master's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// They end when told to.
    Obedient,
    /// They end only when told to write their stacks.
    Slow,
    /// They end only when killed.
    Deaf,
}

/// The world.
#[derive(Debug)]
pub(super) struct World {
    pub(super) state: MasterState,
    pub(super) start: Instant,
    pub(super) now: Instant,
    /// The processes that are there; none where a template was told to make one.
    pub(super) alive: BTreeMap<ChildId, Option<Pid>>,
    /// How each is going to die.
    dying: BTreeMap<ChildId, Died>,
    /// Processes that nobody asks after any more.
    forgotten: BTreeSet<Pid>,
    pub(super) figures: BTreeMap<u32, Figures>,
    pub(super) manner: Manner,
    /// Whether a connection waits to be taken.
    pub(super) waits: bool,
    /// Whether the system makes processes.
    pub(super) can_start: bool,
    /// Whether a process that a template names is there.
    pub(super) can_adopt: bool,
    pub(super) found: ListenersFound,
    /// What has been done, in words, since this was emptied.
    pub(super) done: Vec<String>,
    pub(super) ended: Option<Ending>,
    pids: i32,
}

/// What the operator wants: so many workers.
pub(super) fn plan(min: usize, max: usize) -> Plan {
    Plan {
        has_control: false,
        name: "app".to_owned(),
        min,
        max,
        threads: 1,
        idle_timeout: Duration::from_secs(60),
        startup_timeout: Duration::from_secs(30),
        graceful_timeout: Duration::from_secs(20),
        request_timeout: None,
        ends_when_idle: false,
        preload: false,
        watch_files: false,
        show_trouble: false,
        failure_shown: None,
        worker_output: LineForm::Tagged,
        identity: Identity::default(),
    }
}

pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

impl World {
    /// Where the master has just begun.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut world = Self::empty(plan);
        world.on(MasterEvent::Begin);
        world.settle();
        world
    }

    pub(super) fn empty(plan: &Plan) -> Self {
        let now = Instant::now();
        Self {
            state: MasterState::new(plan, 2, true, now),
            start: now,
            now,
            alive: BTreeMap::new(),
            dying: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            figures: BTreeMap::new(),
            manner: Manner::Obedient,
            waits: false,
            can_start: true,
            can_adopt: true,
            found: ListenersFound {
                have_files: true,
                ..ListenersFound::default()
            },
            done: Vec::new(),
            ended: None,
            pids: 1000,
        }
    }

    /// One where so many workers serve.
    pub(super) fn serving(plan: &Plan, workers: usize) -> Self {
        let mut world = Self::new(plan);
        for _ in 0..=workers {
            world.all_ready();
        }
        assert_eq!(world.state.processes.supply.workers.serving(), workers);
        world.done.clear();
        world
    }

    pub(super) fn new_pid(&mut self) -> Pid {
        self.pids += 1;
        Pid::from_raw(self.pids)
    }

    /// Something happens, and what comes of it.
    pub(super) fn on(&mut self, event: MasterEvent) {
        let mut events = vec![event];
        while !events.is_empty() {
            let event = events.remove(0);
            for action in self.state.on(event, self.now) {
                events.extend(self.carry_out(action));
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<MasterEvent> {
        match action {
            Action::StartWorker {
                number,
                is_fallback,
                ..
            } => {
                let what = if is_fallback { "fallback" } else { "worker" };
                self.done.push(format!("start {what} {number}"));
                return Some(self.start(ChildId::Worker(number)));
            }
            Action::StartObserver => {
                self.done.push("start observer".to_owned());
                return Some(self.start(ChildId::Observer));
            }
            Action::Answer(id, outcome) => {
                self.done
                    .push(format!("answer {id}: {} {}", outcome.exit, outcome.text));
            }
            Action::StartTemplate(generation) => {
                self.done.push(format!("start template {generation}"));
                return Some(self.start(ChildId::Template(generation)));
            }
            Action::RequestFork { number, generation } => {
                self.done.push(format!("fork worker {number}"));
                assert!(self.alive.contains_key(&ChildId::Template(generation)));
                let before = self.alive.insert(ChildId::Worker(number), None);
                assert_eq!(before, None, "there is a worker {number} already");
                self.figures.insert(number, Figures::new(self.now));
            }
            Action::Adopt(number, pid) => {
                self.there(ChildId::Worker(number));
                if !self.can_adopt {
                    return Some(MasterEvent::NotAdopted(number));
                }
                self.alive.insert(ChildId::Worker(number), Some(pid));
            }
            Action::Tell(number, message, _) => {
                let id = ChildId::Worker(number);
                self.there(id);
                let word = format!("{message:?}");
                let word = word.split('(').next().unwrap_or_default().to_lowercase();
                self.done.push(format!("{word} {number}"));
                let ends = match message {
                    MasterMessage::Drain | MasterMessage::Finish => self.manner == Manner::Obedient,
                    MasterMessage::Abort(_) => self.manner != Manner::Deaf,
                    _ => false,
                };
                if ends {
                    let code = i32::from(matches!(message, MasterMessage::Abort(_)));
                    self.dying.entry(id).or_insert(Died::Exited(code));
                }
            }
            Action::Kill(id, signal) => {
                self.there(id);
                assert_eq!(signal, Signal::SIGKILL);
                self.done.push(match id {
                    ChildId::Worker(number) => format!("kill {number}"),
                    ChildId::Template(number) => format!("kill template {number}"),
                    ChildId::Observer => "kill observer".to_owned(),
                });
                self.dying.insert(id, Died::Killed(signal));
            }
            Action::AskForStacks(id) => {
                self.there(id);
                self.done.push("stacks".to_owned());
            }
            Action::HearNoMore(id) => self.there(id),
            Action::BeginIdling(number) => self.there(ChildId::Worker(number)),
            Action::PassListeners(numbers) => {
                for number in numbers {
                    self.there(ChildId::Worker(number));
                    self.done.push(format!("listen {number}"));
                }
            }
            Action::Forget(id) => {
                self.there(id);
                let pid = self.alive.remove(&id).flatten();
                let dies = self.dying.remove(&id).is_some();
                // Else a process would live that nobody knows of.
                assert!(pid.is_none() || dies, "{id:?} is forgotten and lives");
                self.forgotten.extend(pid);
            }
            Action::KillAll => {
                self.alive.clear();
                self.dying.clear();
            }
            Action::Log(_, line) | Action::Relay(_, _, line) => self.done.push(line),
            Action::TellReady => self.done.push("ready".to_owned()),
            Action::Notify(notice) => self.done.push(
                match notice {
                    Notice::Ready => "tell READY",
                    Notice::Reloading => "tell RELOADING",
                    Notice::Stopping => "tell STOPPING",
                }
                .to_owned(),
            ),
            Action::MendListeners => return Some(MasterEvent::Listeners(self.found)),
            Action::RefuseNew => self.done.push("refuse new".to_owned()),
            Action::CloseListeners => self.done.push("close listeners".to_owned()),
            Action::WorkerDied => self.done.push("worker died".to_owned()),
            Action::WatchFiles(_)
            | Action::LookAtFiles
            | Action::ReopenLog
            | Action::BeforeReload => {}
            Action::End(ending) => self.ended = Some(ending),
        }
        None
    }

    /// No action is about a process that is not there.
    fn there(&self, id: ChildId) {
        assert!(self.alive.contains_key(&id), "{id:?} is not there");
    }

    fn start(&mut self, id: ChildId) -> MasterEvent {
        assert!(!self.alive.contains_key(&id), "there is {id:?} already");
        if !self.can_start {
            return MasterEvent::NotStarted(id, "EAGAIN".to_owned());
        }
        let pid = self.new_pid();
        self.alive.insert(id, Some(pid));
        if let ChildId::Worker(number) = id {
            self.figures.insert(number, Figures::new(self.now));
        }
        MasterEvent::Started(id, pid)
    }

    pub(super) fn tick(&mut self) {
        let workers = self.alive.keys().filter_map(|id| match id {
            ChildId::Worker(number) => Some(*number),
            ChildId::Template(_) | ChildId::Observer => None,
        });
        let figures = workers.map(|number| (number, self.figures[&number].clone()));
        let figures = figures.collect();
        let waits = self.waits;
        self.on(MasterEvent::Tick { figures, waits });
    }

    /// Whatever is due now; those who are to die do.
    pub(super) fn settle(&mut self) {
        for _ in 0..1000 {
            if self.ended.is_some() {
                return;
            }
            self.tick();
            if let Some((id, died)) = self.dying.pop_first() {
                self.exit(id, died);
            } else if self.state.next_deadline() > self.now {
                return;
            }
        }
        panic!("it comes to no rest: {:?}", self.done);
    }

    /// Time passes, and everything that is due in it is done.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.ended.is_none() && self.state.next_deadline() <= end {
            self.now = self.state.next_deadline().max(self.now);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// A process ends.
    pub(super) fn exit(&mut self, id: ChildId, died: Died) {
        self.dying.remove(&id);
        let Some(pid) = self.alive.remove(&id) else {
            return;
        };
        let figures = match id {
            ChildId::Worker(number) => self.figures[&number].clone(),
            ChildId::Template(_) | ChildId::Observer => Figures::new(self.now),
        };
        match pid {
            Some(_) => self.on(MasterEvent::Exited(id, died, figures)),
            // No process of the master's has ended: the channel is closed.
            None => {
                self.alive.insert(id, None);
                self.on(MasterEvent::HungUp(id));
            }
        }
    }

    /// The process itself says something on its channel; one that the template has made says first that it is there.
    pub(super) fn say(&mut self, id: ChildId, message: ChildMessage) {
        let Some(pid) = self.alive.get(&id).copied() else {
            return;
        };
        let sender = match pid {
            Some(pid) => pid,
            None => {
                let pid = self.new_pid();
                self.hear(id, ChildMessage::Forked, pid);
                pid
            }
        };
        self.hear(id, message, sender);
    }

    /// Something comes on a channel.
    pub(super) fn hear(&mut self, from: ChildId, message: ChildMessage, sender: Pid) {
        let requests = match from {
            ChildId::Worker(number) => self.figures[&number].requests,
            ChildId::Template(_) | ChildId::Observer => 0,
        };
        self.on(MasterEvent::Heard {
            from,
            message,
            sender,
            requests,
        });
    }

    /// Whoever has something to import has done so.
    pub(super) fn all_ready(&mut self) {
        let ids: Vec<ChildId> = self.alive.keys().copied().collect();
        for id in ids {
            self.ready(id);
        }
        self.settle();
    }

    /// This one has imported the application, if it had not.
    pub(super) fn ready(&mut self, id: ChildId) {
        use crate::process::master::rules::WorkerState;
        let processes = &mut self.state.processes;
        let is_importing = match id {
            ChildId::Worker(number) => {
                let worker = processes.supply.workers.get_mut(number);
                worker.is_some_and(|worker| worker.state() == WorkerState::Starting)
            }
            ChildId::Template(number) => {
                let template = processes.generations.template(number);
                template.is_some_and(|template| !template.is_ready())
            }
            ChildId::Observer => false,
        };
        if is_importing {
            self.say(id, ChildMessage::Ready);
        }
    }

    pub(super) fn signal(&mut self, signal: signals::Signal) {
        self.on(MasterEvent::Signal(signal));
        self.settle();
    }

    pub(super) fn reload(&mut self) {
        self.signal(signals::Signal::Reload);
    }

    /// A worker is in a request since now, with all its threads.
    pub(super) fn busy(&mut self, number: u32) {
        let figures = self.figures.get_mut(&number).unwrap();
        figures.requests += 1;
        figures.is_full = true;
        figures.idle_since = None;
        figures.running = vec![Running {
            thread: 0,
            tid: 1,
            begun: 1,
            age: Duration::ZERO,
            request: "GET /".to_owned(),
            id: String::new(),
        }];
    }

    /// A worker has no request since now.
    pub(super) fn idle(&mut self, number: u32) {
        let requests = self.figures[&number].requests;
        let figures = Figures {
            requests,
            ..Figures::new(self.now)
        };
        self.figures.insert(number, figures);
    }

    /// The numbers of the workers that are there.
    pub(super) fn numbers(&self) -> Vec<u32> {
        let workers = self.alive.keys().filter_map(|id| match id {
            ChildId::Worker(number) => Some(*number),
            ChildId::Template(_) | ChildId::Observer => None,
        });
        workers.collect()
    }

    /// Whether this has been done, or a line with this logged, since that was asked for the last time; it is forgotten.
    pub(super) fn has_done(&mut self, what: &str) -> bool {
        let found = self.done.iter().any(|done| done.contains(what));
        if found {
            self.done.clear();
        }
        found
    }

    /// What has been done since that was asked for the last time, without the lines of the log.
    pub(super) fn acts(&mut self) -> Vec<String> {
        const ACTS: [&str; 14] = [
            "start ", "fork ", "kill ", "drain ", "finish ", "abort ", "stacks", "listen ",
            "tell ", "ready", "refuse ", "close ", "resume ", "trouble ",
        ];
        let mut done = std::mem::take(&mut self.done);
        done.retain(|done| ACTS.iter().any(|act| done.starts_with(act)));
        done
    }
}
