//! Who is next: who has waited longest.
//!
//! What the kernel reports is put in a queue, and nothing more is asked for before that is empty: so nobody is served twice
//! before everybody else that waits was once. The queue is the responder's and not a thread's: whoever leads next goes on with
//! it. How long somebody waits at a listener cannot be seen. Who was passed on, for all threads of a worker were busy, has
//! waited already, and so goes before those that have become ready here since. Who has just connected takes turns with the others:
//! nothing is accepted ahead, as it would be lost should this process be killed, while from the listeners any other can take
//! it.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use nix::sys::epoll::EpollEvent;

use super::poller::ReadySource;

/// What has something to tell, in the order of its turns.
#[derive(Debug, Default)]
pub(super) struct TurnQueue {
    turns: VecDeque<ReadySource>,
    /// Connections with a request that is ready, which wait for the others that have something to tell.
    postponed: Vec<RawFd>,
    /// Whether the last turn was somebody's who was here, so that a new connection is next.
    new_is_next: bool,
    /// The memory for a batch of reported connections, each behind its last turn.
    batch: Vec<(u64, RawFd)>,
}

impl TurnQueue {
    /// These events were reported. `last_turn` says when a connection last had its turn, by a number that grows with each.
    pub(super) fn put(&mut self, events: &[EpollEvent], last_turn: impl Fn(RawFd) -> u64) {
        for event in events {
            match ReadySource::of(event.data()) {
                ReadySource::Connection(fd) => self.batch.push((last_turn(fd), fd)),
                source @ ReadySource::Handoff => self.turns.push_front(source),
                ReadySource::Listener(_) | ReadySource::Wake => {}
            }
        }
        // A connection that is reported keeps its place among the kernel's for as long as it is ready whenever the kernel
        // looks, though it was served meanwhile and others have been ready for longer.
        self.batch.sort_unstable();
        let fds = self.batch.drain(..).map(|(_, fd)| fd);
        let fds = fds.chain(self.postponed.drain(..));
        self.turns.extend(fds.map(ReadySource::Connection));
        for event in events {
            let source = ReadySource::of(event.data());
            if matches!(source, ReadySource::Listener(_)) {
                let at = match self.behind_first() {
                    Some(behind) if !self.new_is_next => behind,
                    Some(_) => 0,
                    None => self.turns.len(),
                };
                self.turns.insert(at, source);
            }
        }
    }

    /// The place behind the first that is no listener: where a listener's turn is.
    fn behind_first(&self) -> Option<usize> {
        let is_other = |source: &ReadySource| !matches!(source, ReadySource::Listener(_));
        self.turns.iter().position(is_other).map(|at| at + 1)
    }

    /// Whose turn it is.
    pub(super) fn pop(&mut self) -> Option<ReadySource> {
        self.turns.pop_front()
    }

    /// Whose turn it was has had it. Others may wait where somebody has just come; where nobody else has to
    /// wait for that, the kernel knows without a try.
    pub(super) fn put_back(&mut self, source: ReadySource) {
        self.new_is_next = !matches!(source, ReadySource::Listener(_));
        let is_connection = |source: &ReadySource| matches!(source, ReadySource::Connection(_));
        let at = match source {
            ReadySource::Handoff if self.turns.is_empty() => None,
            ReadySource::Handoff => {
                let first = self.turns.iter().position(is_connection);
                first.or(Some(self.turns.len()))
            }
            ReadySource::Listener(_) => self.behind_first(),
            ReadySource::Connection(_) | ReadySource::Wake => None,
        };
        if let Some(at) = at {
            self.turns.insert(at, source);
        }
    }

    /// Puts a connection whose next request is ready behind all that have something to tell, those included that the kernel
    /// has not told of yet.
    pub(super) fn postpone(&mut self, fd: RawFd) {
        self.postponed.push(fd);
    }

    /// Whether there are such connections: the kernel is to be asked, and not to be waited for.
    pub(super) fn has_postponed(&self) -> bool {
        !self.postponed.is_empty()
    }

    /// The connections, in their order, but for those that were postponed. What is to be known of the listeners and
    /// the channel the kernel tells again.
    pub(super) fn take_connections(&mut self) -> Vec<RawFd> {
        let fds = self.turns.drain(..).filter_map(|source| match source {
            ReadySource::Connection(fd) => Some(fd),
            _ => None,
        });
        fds.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{ReadySource, TurnQueue};
    use nix::sys::epoll::{EpollEvent, EpollFlags};

    fn event(data: u64) -> EpollEvent {
        EpollEvent::new(EpollFlags::EPOLLIN, data)
    }

    fn next(queue: &mut TurnQueue) -> String {
        queue.pop().map_or_else(String::new, |source| {
            queue.put_back(source);
            format!("{source:?}")
        })
    }

    #[test]
    fn whose_turn_was_longest_ago_is_next() {
        let mut queue = TurnQueue::default();
        queue.postpone(9);
        let events = [5, 6, 7].map(event);
        assert!(queue.has_postponed());
        queue.put(&events, |fd| 10 - u64::try_from(fd).unwrap());
        assert_eq!(queue.take_connections(), [7, 6, 5, 9]);
    }

    #[test]
    fn those_at_the_doors_take_turns() {
        let mut queue = TurnQueue::default();
        let sources = [ReadySource::LISTENER, ReadySource::HANDOFF];
        let events = [5, sources[0], 6, sources[1]].map(event);
        queue.put(&events, |_| 0);
        for _ in 0..3 {
            assert_eq!(next(&mut queue), "Handoff");
            assert_eq!(next(&mut queue), "Listener(0)");
        }
        // Nobody is in the channel any more.
        queue.pop();
        assert_eq!(next(&mut queue), "Listener(0)");
        assert_eq!(next(&mut queue), "Connection(5)");
        assert_eq!(next(&mut queue), "Listener(0)");
        assert_eq!(next(&mut queue), "Connection(6)");
        assert_eq!(next(&mut queue), "Listener(0)");
        // The kernel is asked whether anybody else waits there.
        assert_eq!(next(&mut queue), "");
        // And it goes on in turns, whoever was reported first.
        queue.put(&events[..3], |_| 0);
        assert_eq!(next(&mut queue), "Connection(5)");
        queue.take_connections();
        queue.put(&events[1..3], |_| 0);
        assert_eq!(next(&mut queue), "Listener(0)");
    }
}
