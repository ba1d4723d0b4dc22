//! Those who have asked for something by the control socket, and wait for what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::super::desk::{Command, CommandOutcome};
use super::super::super::messages::MasterMessage;
use super::super::reaction::{Action, Reaction};
use super::record::ReloadResult;
use super::worker::WorkerRecord;
use super::{MasterState, Stage};

/// How long a worker may take to tell where its threads are: what interrupts them is a signal.
const STACKS: Duration = Duration::from_secs(3);

/// What somebody waits for.
#[derive(Debug)]
enum Waits {
    /// The result of a reload of this generation, or of a later one.
    Reload(u32),
    /// The end of the gateway.
    End,
    /// Where the threads of these workers are; with what is known of others.
    Stacks {
        missing: BTreeSet<u32>,
        told: BTreeMap<u32, String>,
        until: Instant,
    },
}

/// Who waits, by the observer's number.
#[derive(Debug, Default)]
pub(super) struct Askers(BTreeMap<u32, Waits>);

/// An outcome with this exit code and text.
pub(super) fn outcome(exit: u8, text: impl Into<String>) -> CommandOutcome {
    let text = text.into();
    CommandOutcome { exit, text }
}

impl Askers {
    /// Waits for the first result of this generation or a later one.
    pub(super) fn wait_for_reload(&mut self, id: u32, generation: u32) {
        self.0.insert(id, Waits::Reload(generation));
    }

    /// Waits for the end.
    pub(super) fn wait_for_end(&mut self, id: u32) {
        self.0.insert(id, Waits::End);
    }

    /// Waits for the stacks of these workers.
    pub(super) fn wait_for_stacks(
        &mut self,
        id: u32,
        workers: BTreeSet<u32>,
        reaction: &mut Reaction,
    ) {
        let waits = Waits::Stacks {
            missing: workers,
            told: BTreeMap::new(),
            until: reaction.after(STACKS),
        };
        self.0.insert(id, waits);
        self.answer_stacks(reaction);
    }

    /// A worker has told its stacks, or never will.
    pub(super) fn note_stacks(&mut self, worker: u32, text: &str, reaction: &mut Reaction) {
        for waits in self.0.values_mut() {
            if let Waits::Stacks { missing, told, .. } = waits {
                if missing.remove(&worker) {
                    told.insert(worker, text.to_owned());
                }
            }
        }
        self.answer_stacks(reaction);
    }

    fn answer_stacks(&mut self, reaction: &mut Reaction) {
        let now = reaction.now();
        self.0.retain(|id, waits| {
            let Waits::Stacks {
                missing,
                told,
                until,
            } = waits
            else {
                return true;
            };
            if !missing.is_empty() && now < *until {
                return true;
            }
            for worker in std::mem::take(missing) {
                let text = "it has not answered: it is stopped, or the machine is overloaded";
                told.insert(worker, text.to_owned());
            }
            let text: String = told
                .iter()
                .map(|(worker, text)| format!("worker {worker}:\n{}\n", text.trim_end()))
                .collect();
            reaction.add(Action::Answer(*id, outcome(0, text)));
            false
        });
    }

    /// A reload has ended.
    pub(super) fn note_reload(
        &mut self,
        result: &ReloadResult,
        serving: Option<u32>,
        reaction: &mut Reaction,
    ) {
        let serving = serving.map_or_else(
            || "nobody serves".to_owned(),
            |serving| format!("generation {serving} goes on serving"),
        );
        let generation = result.generation;
        let came = match &result.failure {
            None => outcome(0, format!("generation {generation} serves")),
            Some(failure) => outcome(3, format!("{}\n{serving}", failure.trim_end())),
        };
        self.0.retain(|id, waits| {
            let is_it = matches!(waits, Waits::Reload(from) if *from <= generation);
            if is_it {
                reaction.add(Action::Answer(*id, came.clone()));
            }
            !is_it
        });
    }

    /// The gateway begins to end: nobody sees a reload any more.
    pub(super) fn note_ending(&mut self, reaction: &mut Reaction) {
        self.0.retain(|id, waits| {
            let is_over = matches!(waits, Waits::Reload(_));
            if is_over {
                let text = "the gateway was told to end meanwhile";
                reaction.add(Action::Answer(*id, outcome(1, text)));
            }
            !is_over
        });
    }

    /// The gateway has ended.
    pub(super) fn note_end(&mut self, is_cut: bool, reaction: &mut Reaction) {
        let came = match is_cut {
            true => outcome(1, "ended; some requests were cut"),
            false => outcome(0, "ended"),
        };
        for id in std::mem::take(&mut self.0).into_keys() {
            reaction.add(Action::Answer(id, came.clone()));
        }
    }

    /// Does what is due.
    pub(super) fn enforce_deadlines(&mut self, reaction: &mut Reaction) {
        self.answer_stacks(reaction);
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let until = self.0.values().filter_map(|waits| match waits {
            Waits::Stacks { until, .. } => Some(*until),
            Waits::Reload(_) | Waits::End => None,
        });
        until.min()
    }

    /// Nobody is there to be told any more.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Does what somebody has asked for by the control socket, and tells what came of it, now or later.
pub(super) fn carry_out(
    state: &mut MasterState,
    id: u32,
    command: Command,
    reaction: &mut Reaction,
) {
    let processes = &mut state.processes;
    match command {
        Command::Stop => {
            processes.askers.wait_for_end(id);
            state.end("told to end by 'stop'", reaction);
        }
        Command::Reopen => {
            reaction.add(Action::ReopenLog);
            reaction.add(Action::Answer(id, outcome(0, "log files opened anew")));
        }
        _ if state.stage != Stage::Serving => {
            let text = "the gateway is about to end";
            reaction.add(Action::Answer(id, outcome(1, text)));
        }
        Command::Reload => {
            reaction.add(Action::BeforeReload);
            let before = processes.generations.count();
            processes
                .generations
                .reload("asked for", &mut processes.supply, reaction);
            let begun = processes.generations.count();
            // One that was begun before has read code that may be older than this wish.
            let of = if begun > before { begun } else { begun + 1 };
            processes.askers.wait_for_reload(id, of);
        }
        Command::Resize(most) => {
            let workers = &processes.supply.workers;
            processes.sizing.resize(most as usize, workers, reaction);
            let bounds = processes.sizing.bounds();
            reaction.add(Action::Answer(id, outcome(0, format!("workers: {bounds}"))));
        }
        Command::Stacks(wanted) => {
            let workers = processes.supply.workers.iter();
            let numbers: BTreeSet<u32> = workers
                .filter(|worker| worker.pid().is_some() && !worker.is_fallback())
                .map(WorkerRecord::number)
                .filter(|number| wanted.is_none_or(|wanted| wanted == *number))
                .collect();
            if numbers.is_empty() {
                let text = match wanted {
                    Some(number) => format!("there is no worker {number}"),
                    None => "there is no worker".to_owned(),
                };
                return reaction.add(Action::Answer(id, outcome(1, text)));
            }
            for number in &numbers {
                reaction.add(Action::Tell(*number, MasterMessage::Stacks, None));
            }
            processes.askers.wait_for_stacks(id, numbers, reaction);
        }
    }
}
