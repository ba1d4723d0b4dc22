//! The end of the gateway.

use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;

use super::super::channel::Message;
use super::super::listening::Listening;
use super::workers::{Limit, State};
use super::{Master, Stage};

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
            worker.state = State::Leaving;
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
            let _ = nix::sys::signal::kill(template.pid, Signal::SIGKILL);
        }
        for worker in &self.workers {
            worker.signal(Signal::SIGKILL);
        }
        for worker in &self.workers {
            if let Some(pid) = worker.pid {
                let _ = waitpid(pid, None);
            }
        }
        self.workers.clear();
        self.stage = Stage::Ending;
    }
}
