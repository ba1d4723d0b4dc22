//! The end of the gateway.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::super::channel::Message;
use super::super::listening::Listening;
use super::workers::{Limit, WorkerState};
use super::{Master, Stage};

/// How long processes that were killed may take to be gone.
const GONE: Duration = Duration::from_secs(2);

impl Master<'_> {
    /// SIGTERM: what is in flight is finished, nothing new is taken.
    pub(super) fn end(&mut self, now: Instant) {
        if self.stage == Stage::Ending {
            return;
        }
        log::info!("told to end: finishing what is in flight");
        self.service.stopping();
        self.stage = Stage::Ending;
        // First, so that nobody connects to a socket that is about to be closed.
        self.listening.refuse_new();
        for generation in [self.current.take(), self.candidate.take()]
            .into_iter()
            .flatten()
        {
            if let Some(template) = generation.template {
                template.end();
            }
        }
        for worker in &mut self.workers {
            worker.state = WorkerState::Leaving;
            worker.reason = Some("the gateway ends".to_owned());
            worker.limit = Some((now + self.plan.graceful_timeout, Limit::Abort));
            if worker.channel.send_now(&Message::Finish).is_err() {
                worker.signal(Signal::SIGTERM);
            }
        }
        // A socket listens until the last process has closed it: on TCP, where there is no file to remove, connections
        // would go on being made that nobody is going to take.
        self.listening = Listening::default();
    }

    /// SIGINT or SIGQUIT: everything ends at once.
    pub(super) fn end_at_once(&mut self) {
        log::info!("told to end at once");
        self.service.stopping();
        self.listening.refuse_new();
        let generations = [self.current.take(), self.candidate.take()];
        let templates: Vec<_> = generations
            .into_iter()
            .flatten()
            .filter_map(|generation| generation.template)
            .collect();
        for template in &templates {
            template.process.signal(Signal::SIGKILL);
        }
        for worker in &self.workers {
            worker.signal(Signal::SIGKILL);
        }
        // Not for long: a process may be in a system call that does not end.
        let until = Instant::now() + GONE;
        for worker in &self.workers {
            let Some(process) = &worker.process else {
                continue;
            };
            let is_there = || {
                let status = waitpid(process.pid(), Some(WaitPidFlag::WNOHANG));
                status == Ok(WaitStatus::StillAlive)
            };
            while is_there() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.workers.clear();
        self.stage = Stage::Ending;
    }
}
