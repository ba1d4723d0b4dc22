//! The thread that moves what slow web servers have not taken to files, when it is more than `--max-unsent`.
//!
//! A disk takes its time, and an application thread has other requests to answer: the rest of a response is sent from memory
//! while it is written, and from the file after that. What is on its way is bounded (`Budget::reserve_moving`), and above
//! that application threads wait; so they do when the disk is full, which is tried once a second.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::link::Link;

/// Bytes that are written at once: whether they are still wanted is looked at in between.
const PIECE: usize = 1024 * 1024;

/// How long nothing is tried after a file could not be written.
const RETRY: Duration = Duration::from_secs(1);

/// The moving thread's queue.
#[derive(Debug, Default)]
pub(super) struct Spiller {
    queue: Mutex<VecDeque<Arc<Link>>>,
    some: Condvar,
}

impl Spiller {
    /// Starts the thread, which lives as long as the process.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let spiller = Arc::new(Self::default());
        let running = Arc::clone(&spiller);
        std::thread::Builder::new()
            .name("spiller".to_owned())
            .spawn(move || running.run())?;
        Ok(spiller)
    }

    /// Has what is to be sent on a connection moved to a file.
    pub(super) fn move_soon(&self, link: Arc<Link>) {
        self.queue().push_back(link);
        self.some.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Arc<Link>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let link = self.next();
            let moved = move_to_file(&link);
            let budget = &link.state().unsent;
            match &moved {
                Ok(()) => {
                    budget.has_disk();
                    link.end_moving();
                }
                Err(error) => {
                    budget.tell_of_disk(error);
                    self.queue().push_back(link);
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn next(&self) -> Arc<Link> {
        let mut queue = self.queue();
        loop {
            if let Some(link) = queue.pop_front() {
                return link;
            }
            queue = self
                .some
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writes what is to be sent to a file, without the connection's lock, and has it leave from there.
fn move_to_file(link: &Link) -> io::Result<()> {
    let parts = link.lock().unsent().in_memory();
    if parts.is_empty() {
        return Ok(());
    }
    let mut file = link.state().unsent.file()?;
    let (mut offset, mut written) = (0, Vec::with_capacity(parts.len()));
    for part in parts {
        for piece in part.bytes().chunks(PIECE) {
            if !link.is_moving() {
                return Ok(());
            }
            file.write_all(piece)?;
        }
        let next = offset + part.bytes().len() as u64;
        written.push((part, offset));
        offset = next;
    }
    let file = Arc::new(OwnedFd::from(file));
    link.lock().unsent().move_to(&file, &written);
    Ok(())
}
