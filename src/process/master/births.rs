//! Making processes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use super::super::channel::{Channel, Message};
use super::super::child::Child;
use super::super::crew::{Birth, Orders, Post, refused};
use super::super::forks::{expect_fork, forget_fork};
use super::super::output::Output;
use super::super::scoreboard::WorkerSlot;
use super::super::signals::end_at_once;
use super::Master;
use super::fallback::NO_GENERATION;
use super::generations::Template;
use super::rules::MessageAllowance;
use super::workers::{WorkerProcess, WorkerState};

impl Master<'_> {
    /// Makes a worker of this generation; `false` when that cannot be done now.
    pub(super) fn make_worker(&mut self, generation: u32, now: Instant) -> bool {
        let Some(number) = self.free_number() else {
            return false;
        };
        match self.try_make_worker(generation, number, now) {
            Ok(()) => true,
            Err(error) => {
                let delay = self.backoff.died(now, std::time::Duration::ZERO);
                self.note_failure(now);
                log::error!("{}; tried again in {delay:?}", refused(error));
                false
            }
        }
    }

    pub(super) fn try_make_worker(
        &mut self,
        generation: u32,
        number: u32,
        now: Instant,
    ) -> io::Result<()> {
        let (place, memory) = WorkerSlot::new(self.plan.threads)?;
        let (ours, theirs) = Channel::pair()?;
        let (output, their_output) = Output::pipe(self.plan.worker_output)?;
        self.plan.identity.give_output(&their_output);
        let process = match self.template_of(generation) {
            Some(template) => {
                // The listening sockets as they are now: what the template was born with may be none any more.
                let mut fds = vec![theirs.into_fd()?, their_output, memory];
                let sockets = self.listening.try_clone()?;
                fds.extend(sockets.into_iter().map(|bound| bound.socket));
                template.channel.send_now(&Message::Fork(number, fds))?;
                None
            }
            None => {
                expect_fork();
                // SAFETY: the master has a single thread, so that nothing is held by another in the child.
                let forked = unsafe { fork() };
                forget_fork();
                match forked? {
                    ForkResult::Parent { child } => Some(Child::forked(child)),
                    ForkResult::Child => {
                        drop(ours);
                        self.become_worker(generation, number, theirs, &their_output, place)
                    }
                }
            }
        };
        self.workers.push(WorkerProcess {
            number,
            generation,
            process,
            place,
            channel: ours,
            output,
            state: WorkerState::Starting,
            born: now,
            ready: None,
            retires: None,
            outgrown: None,
            reason: None,
            budget: MessageAllowance::new(now),
            breach: None,
            stopped: None,
            limit: None,
            version: self.version,
            hung_up: false,
        });
        Ok(())
    }

    /// Starts a template.
    pub(super) fn make_template(&mut self, now: Instant) -> io::Result<Template> {
        let (ours, theirs) = Channel::pair()?;
        let (output, their_output) = Output::pipe(self.plan.worker_output)?;
        self.plan.identity.give_output(&their_output);
        let master = getpid();
        expect_fork();
        // SAFETY: the master has a single thread, so that nothing is held by another in the child.
        let forked = unsafe { fork() };
        forget_fork();
        match forked? {
            ForkResult::Parent { child } => Ok(Template {
                process: Child::forked(child),
                budget: MessageAllowance::new(now),
                channel: ours,
                output,
                born: now,
                ready: None,
                hung_up: false,
                killed_at: None,
            }),
            ForkResult::Child => {
                drop(ours);
                self.become_template(theirs, &their_output, master)
            }
        }
    }

    fn become_worker(
        &mut self,
        generation: u32,
        number: u32,
        channel: Channel,
        output: &std::os::fd::OwnedFd,
        place: WorkerSlot,
    ) -> ! {
        self.leave_master();
        let is_fallback = generation == NO_GENERATION;
        let title = match is_fallback {
            true => format!("wsgi-gateway: fallback {}", self.plan.name),
            false => format!("wsgi-gateway: worker {number} {}", self.plan.name),
        };
        let birth = Birth {
            title,
            output,
            channel: &channel,
            crew: self.crew,
            identity: &self.plan.identity,
        };
        let code = match birth.settle() {
            Ok(()) => {
                let listeners = std::mem::take(&mut self.listening).into_sockets();
                let crew = self.crew;
                let trouble = self.trouble.take();
                let post = Post {
                    number,
                    channel,
                    place,
                    listeners,
                };
                live(|| match is_fallback {
                    true => crew.stand_in(post, trouble),
                    false => crew.work(post),
                })
            }
            Err(error) => failed(&error),
        };
        exit(code)
    }

    fn become_template(
        &mut self,
        channel: Channel,
        output: &std::os::fd::OwnedFd,
        master: Pid,
    ) -> ! {
        self.leave_master();
        let birth = Birth {
            title: format!("wsgi-gateway: template {}", self.plan.name),
            output,
            channel: &channel,
            crew: self.crew,
            identity: &self.plan.identity,
        };
        let settled = birth.settle();
        let code = match settled {
            Ok(()) => {
                // Should the master be killed while the application is imported. Behind what --user does, which undoes
                // this (PR_SET_PDEATHSIG in prctl(2)).
                let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
                if getppid() != master {
                    end_at_once(0);
                }
                let name = self.plan.name.clone();
                // Each worker gets them with the order for it.
                drop(std::mem::take(&mut self.listening));
                let orders = Orders::new(channel, name, self.plan.threads);
                live(|| self.crew.prepare(orders))
            }
            Err(error) => failed(&error),
        };
        exit(code)
    }

    /// Closes, in a child, what is the master's alone: another worker's channel that stayed open here would hide the
    /// master's death from it, by its place on the scoreboard it could be accused, and by the pipe of its signals the master
    /// would obey anybody.
    fn leave_master(&mut self) {
        self.workers.clear();
        self.strays.clear();
        self.current = None;
        self.candidate = None;
        self.signals = None;
    }

    /// A place that no worker has, not even one on its way out.
    pub(super) fn free_number(&self) -> Option<u32> {
        let most = u32::try_from(self.places).unwrap_or(u32::MAX);
        (1..=most).find(|number| self.workers.iter().all(|worker| worker.number != *number))
    }
}

fn failed(error: &str) -> i32 {
    log::error!("{error}");
    1
}

/// Does the work of a new process. A panic ends there and not in the master's part of the stack, whose owner is another
/// process.
fn live(life: impl FnOnce() -> i32) -> i32 {
    /// As Rust has it for a main() that panics.
    const PANICKED: i32 = 101;
    catch_unwind(AssertUnwindSafe(life)).unwrap_or(PANICKED)
}

/// Ends the process as main() would, without going back into the master's part of the stack.
#[allow(clippy::exit)]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}
