//! The half of the seam that writes the response.

use std::io;
use std::sync::TryLockError;
use std::time::{Duration, Instant};

use super::super::content::SentFile;
use super::super::record::{RecordType, write_record};
use super::{FastcgiExchange, MAX_QUEUED};
use crate::gateway::{FailureKind, FileSpan, KeptBytes, Pushed, ResponseProgress, ResponseWriter};

/// A block that follows the one before it within this time, and is no larger than this, goes through the sender: a
/// system call for each would be most of the work.
const FAST: Duration = Duration::from_micros(50);
const MAX_OFFERED: usize = 4 * 1024;

impl ResponseWriter for FastcgiExchange {
    fn progress(&self, work: &mut dyn FnMut(&mut ResponseProgress)) {
        if let Ok(request) = self.link.lock().request(self.turn) {
            work(&mut request.progress);
        }
    }

    fn send(&self, blocks: &[&[u8]], last: bool) -> io::Result<Pushed> {
        self.noted(|| {
            let mut writing = self.writing();
            let total = blocks.iter().map(|block| block.len() as u64).sum();
            self.note_block(&mut writing, total, last)?;
            let mut connection = self.link.lock();
            let portion = connection.admit(self.turn, |progress| progress.admit(total, last))?;
            self.figures.note_piece(&portion);
            connection.put(&portion, blocks);
            self.leave(connection, portion.ends)?;
            portion.result()
        })
    }

    fn send_kept(&self, blocks: Vec<KeptBytes>, last: bool) -> io::Result<Pushed> {
        let length = |block: &KeptBytes| (**block).as_ref().len();
        let total = blocks.iter().map(|block| length(block) as u64).sum();
        let admit = |progress: &mut ResponseProgress| progress.admit(total, last);
        self.send_pieces(total, last, admit, |connection, id, portion| {
            let mut bytes = portion.bytes;
            for block in blocks {
                let wanted = usize::try_from(bytes)
                    .unwrap_or(usize::MAX)
                    .min(length(&block));
                connection.unsent().push_kept(id, block, wanted);
                bytes -= wanted as u64;
            }
        })
    }

    fn send_file(&self, span: FileSpan<'_>) -> io::Result<Pushed> {
        // What can fail comes first: a piece that was admitted is put.
        let file = span.file.try_clone_to_owned()?;
        let cut = self.link.lock().cut_of(self.turn, self.is_for_nginx())?;
        let admit = |progress: &mut ResponseProgress| progress.admit_file(span.length);
        self.send_pieces(span.length, true, admit, |connection, id, portion| {
            let file = SentFile {
                file,
                subject: self.subject(),
                cut: portion.tells_its_end.then_some(cut),
            };
            connection
                .unsent()
                .push_file(id, file, span.offset, portion.bytes);
        })
    }

    fn offer(&self, block: &[u8]) -> io::Result<bool> {
        self.noted(|| {
            // Another thread may be in the middle of a piece, and wait.
            let mut writing = match self.writing.try_lock() {
                Ok(writing) => writing,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(false),
            };
            let now = Instant::now();
            let before = writing.last_block.replace(now);
            let slow = before.is_none_or(|before| now.duration_since(before) > FAST);
            if slow || block.len() > MAX_OFFERED {
                return Ok(false);
            }
            self.look(&mut writing, now);
            let Some(sender) = self.link.state().sender() else {
                return Ok(false);
            };
            let mut connection = self.link.lock();
            let request = connection.request(self.turn)?;
            if request.aborted {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if request.progress.has_failed() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if !request.reports.is_empty() {
                return Ok(false);
            }
            let id = request.id;
            if connection.unsent().memory() >= MAX_QUEUED {
                return Ok(false);
            }
            if !connection
                .request(self.turn)?
                .progress
                .admit_whole(block.len() as u64)
            {
                return Ok(false);
            }
            self.figures.note_bytes(block.len() as u64);
            write_record(connection.unsent().records(), RecordType::Stdout, id, block);
            drop(connection);
            sender.send_rest(&self.link);
            Ok(true)
        })
    }

    fn note_exit(&self, status: u8) {
        self.link.lock().note_exit(self.turn, status.into());
    }

    fn note_failure(&self, kind: FailureKind) {
        self.figures.note_failure(kind);
    }

    fn report(&self, text: &[u8]) {
        let mut connection = self.link.lock();
        connection.report(text);
        if connection.has_many_reports() {
            connection.put_reports();
            self.link.flush(&mut connection);
        }
    }

    fn flush_reports(&self) {
        let mut connection = self.link.lock();
        connection.put_reports();
        self.link.flush(&mut connection);
    }
}
