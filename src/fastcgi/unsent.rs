//! What is to be sent on a connection and was not taken yet: records, and records still to be made of an object's bytes or
//! of a file. No I/O: whoever has the socket asks what comes next and says how much of it has left.
//!
//! What is put in here is always whole records, so that whatever comes behind it begins at a record's boundary.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::content::{Content, ContentSource, FileAtRecord, MemoryPart, SentFile, header, limited};
use super::record::{HEADER_LENGTH, MAX_CONTENT, RecordType, write_record};
use crate::gateway::KeptBytes;

/// Records that are put together for one system call.
const RECORDS: usize = 64;

/// Bytes of answers that wait for a web server to take them, above which it is not listened to any more; and of the
/// application's reports, above which more of them are in the log only.
const MAX_BESIDE: usize = 64 * 1024;

/// The queue of what is to be sent.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Records that leave first, and how many bytes of them have.
    first: Vec<u8>,
    sent: usize,
    rest: VecDeque<Piece>,
    /// Bytes put here that are no part of a response, since last there was nothing here: answers to what the web server has
    /// sent beside its requests, and what was reported on STDERR.
    answers: usize,
    reports: usize,
}

enum Piece {
    Records(Vec<u8>),
    /// STDOUT records that are made as they leave.
    Content(Content),
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(bytes) => write!(f, "Records({})", bytes.len()),
            Self::Content(content) => write!(f, "Content({})", content.left),
        }
    }
}

/// What leaves next.
pub(super) enum Next<'a> {
    Nothing,
    /// Bytes in memory.
    Bytes(Vec<IoSlice<'a>>),
    /// Bytes of a file, from this offset on; at the most so many.
    File(BorrowedFd<'a>, u64, usize),
}

/// Headers of records that are yet to be made, which [`Unsent::next`] refers to.
pub(super) type Headers = Vec<[u8; HEADER_LENGTH]>;

/// Why a file's content cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileEnded;

impl Unsent {
    pub(super) fn is_empty(&self) -> bool {
        let is_nothing = |piece: &Piece| matches!(piece, Piece::Records(bytes) if bytes.is_empty());
        self.sent == self.first.len() && self.rest.iter().all(is_nothing)
    }

    /// All that is to be sent, where that is records in memory: of most responses it is.
    pub(super) fn only_records(&self) -> Option<&[u8]> {
        let is_all = self.sent < self.first.len() && self.rest.is_empty();
        is_all.then(|| &self.first[self.sent..])
    }

    /// The place at the end of the queue for more records: whole ones.
    pub(super) fn records(&mut self) -> &mut Vec<u8> {
        if self.rest.is_empty() {
            if self.sent == self.first.len() {
                self.clear();
            }
            return &mut self.first;
        }
        if !matches!(self.rest.back(), Some(Piece::Records(_))) {
            self.rest.push_back(Piece::Records(Vec::new()));
        }
        match self.rest.back_mut() {
            Some(Piece::Records(records)) => records,
            _ => unreachable!("put there just now"),
        }
    }

    /// Puts an answer at the end that is no part of a response. There has to be room for it, but it need not fit.
    pub(super) fn put_answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.answers += self.put(write);
    }

    /// Whether no more answers wait than a web server has a reason for. One that asks, and does not read, would otherwise have
    /// us keep any number of them.
    pub(super) fn has_room_for_answers(&self) -> bool {
        self.answers < MAX_BESIDE || self.is_empty()
    }

    /// Puts reports of the application at the end. There has to be room for them, but they need not fit.
    pub(super) fn put_reports(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.reports += self.put(write);
    }

    /// Whether so little of what was reported waits that more may.
    pub(super) fn has_room_for_reports(&self) -> bool {
        self.reports < MAX_BESIDE || self.is_empty()
    }

    /// Puts records at the end, and says how many bytes they have.
    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        if self.is_empty() {
            (self.answers, self.reports) = (0, 0);
        }
        let out = self.records();
        let before = out.len();
        write(out);
        out.len() - before
    }

    /// Puts the first `length` bytes of an object at the end, as records of STDOUT.
    pub(super) fn push_kept(&mut self, id: u16, bytes: KeptBytes, length: usize) {
        let length = length.min((*bytes).as_ref().len());
        let bytes = ContentSource::Bytes(Arc::new(bytes));
        self.push_content(id, bytes, 0, length as u64);
    }

    /// Puts a part of a file at the end, as records of STDOUT: so many bytes, or, where no length was told, all to its end.
    pub(super) fn push_file(&mut self, id: u16, file: SentFile, at: u64, length: u64) {
        let length = if file.cut.is_some() { length } else { u64::MAX };
        self.push_content(id, ContentSource::File(file), at, length);
    }

    /// Of which request a file is sent, for messages.
    pub(super) fn subject(&self) -> &str {
        fn subject(piece: &Piece) -> Option<&str> {
            match piece {
                Piece::Content(content) => match &content.source {
                    ContentSource::File(file) => Some(&file.subject),
                    ContentSource::Bytes(_) | ContentSource::Moved(_) => None,
                },
                Piece::Records(_) => None,
            }
        }
        self.rest.iter().find_map(subject).unwrap_or_default()
    }

    fn push_content(&mut self, id: u16, source: ContentSource, at: u64, left: u64) {
        if left > 0 {
            self.rest.push_back(Piece::Content(Content {
                id,
                source,
                at,
                left,
                record: None,
            }));
        }
    }

    /// Bytes of memory that are held: those of the records and those of objects.
    pub(super) fn memory(&self) -> usize {
        let piece = |piece: &Piece| match piece {
            Piece::Records(bytes) => bytes.capacity(),
            Piece::Content(content) => size_of::<Piece>() + content.memory(),
        };
        let held = self.first.capacity() * usize::from(self.sent < self.first.len());
        held + self.rest.iter().map(piece).sum::<usize>()
    }

    /// Forgets everything and keeps the memory for records, unless an unusual response made it large.
    fn clear(&mut self) {
        const KEEP: usize = 64 * 1024;
        self.first.clear();
        self.first.shrink_to(KEEP);
        self.sent = 0;
    }

    /// What leaves next. A file's record that begins to leave must have its bytes: see [`Unsent::look_at_file`].
    pub(super) fn next<'a>(&'a self, headers: &'a mut Headers) -> Next<'a> {
        headers.clear();
        self.make_headers(headers);
        let mut made = headers.iter();
        let mut slices = Vec::with_capacity(2 + 2 * headers.len() + self.rest.len().min(RECORDS));
        if self.sent < self.first.len() {
            slices.push(IoSlice::new(&self.first[self.sent..]));
        }
        for piece in self.rest.iter().take(RECORDS) {
            match piece {
                // A place that was asked for and not used.
                Piece::Records(bytes) if bytes.is_empty() => {}
                Piece::Records(bytes) => slices.push(IoSlice::new(bytes)),
                Piece::Content(content) => {
                    if let Some(record) = &content.record {
                        if record.header_left > 0 {
                            let from = HEADER_LENGTH - record.header_left;
                            slices.push(IoSlice::new(&record.header[from..]));
                        } else if let (Some(file), true) =
                            (content.source.file(), slices.is_empty())
                        {
                            return Next::File(file, content.at, record.content_left);
                        }
                    }
                    let ContentSource::Bytes(bytes) = &content.source else {
                        if content.record.is_none() {
                            slices.extend(made.next().map(|header| IoSlice::new(header)));
                        }
                        break;
                    };
                    let whole = (***bytes).as_ref();
                    let mut at = usize::try_from(content.at).unwrap_or(usize::MAX);
                    let mut left = limited(content.left);
                    if let Some(record) = &content.record {
                        slices.push(IoSlice::new(&whole[at..at + record.content_left]));
                        at += record.content_left;
                        left -= record.content_left;
                    }
                    while left > 0 {
                        let Some(header) = made.next() else { break };
                        let length = left.min(MAX_CONTENT);
                        slices.push(IoSlice::new(header));
                        slices.push(IoSlice::new(&whole[at..at + length]));
                        at += length;
                        left -= length;
                    }
                    if left > 0 {
                        break;
                    }
                }
            }
        }
        if slices.is_empty() {
            Next::Nothing
        } else {
            Next::Bytes(slices)
        }
    }

    /// The headers of the records that [`Unsent::next`] makes, in their order.
    fn make_headers(&self, headers: &mut Headers) {
        for piece in self.rest.iter().take(RECORDS) {
            let content = match piece {
                Piece::Records(_) => continue,
                Piece::Content(content) => content,
            };
            let begun = content
                .record
                .map_or(0, |record| record.content_left as u64);
            let mut left = content.left - begun;
            if content.source.file().is_some() {
                if content.record.is_none() {
                    headers.push(header(content.id, content.next_record()));
                }
                return;
            }
            while left > 0 {
                if headers.len() == RECORDS {
                    return;
                }
                let length = limited(left).min(MAX_CONTENT);
                headers.push(header(content.id, length));
                left -= length as u64;
            }
        }
    }

    /// So many bytes of what [`Unsent::next`] gave have left.
    pub(super) fn advance(&mut self, mut count: usize) {
        let first = count.min(self.first.len() - self.sent);
        self.sent += first;
        count -= first;
        while count > 0 {
            let Some(piece) = self.rest.front_mut() else {
                debug_assert!(false, "more has left than there was");
                return;
            };
            let done = match piece {
                Piece::Records(bytes) => {
                    self.first = std::mem::take(bytes);
                    self.sent = count.min(self.first.len());
                    count -= self.sent;
                    self.rest.pop_front();
                    continue;
                }
                Piece::Content(content) => {
                    count = content.advance(count);
                    content.left == 0
                }
            };
            if done {
                self.rest.pop_front();
            }
        }
    }

    /// The record of a file that may begin to leave next: to be looked at before.
    pub(super) fn file_at_record(&self) -> Option<FileAtRecord<'_>> {
        self.rest.iter().find_map(|piece| match piece {
            Piece::Content(content) => content.file_at_record(),
            Piece::Records(_) => None,
        })
    }

    /// Reading that file where its next record is to begin gave these bytes; none at its end.
    ///
    /// # Errors
    /// When it has come to its end, and more was promised by the response's length: the response is cut there.
    pub(super) fn file_gave(&mut self, bytes: &[u8]) -> Result<(), FileEnded> {
        let is_it = |piece: &Piece| match piece {
            Piece::Content(content) => content.file_at_record().is_some(),
            Piece::Records(_) => false,
        };
        let Some(index) = self.rest.iter().position(is_it) else {
            return Ok(());
        };
        let Some(Piece::Content(content)) = self.rest.get_mut(index) else {
            return Ok(());
        };
        let id = content.id;
        if bytes.is_empty() {
            let cut = match &mut content.source {
                ContentSource::File(file) => file.cut.take(),
                ContentSource::Bytes(_) | ContentSource::Moved(_) => None,
            };
            let Some(cut) = cut else {
                self.rest.remove(index);
                return Ok(());
            };
            self.rest.truncate(index);
            self.rest.push_back(Piece::Records(cut));
            return Err(FileEnded);
        }
        content.at += bytes.len() as u64;
        content.left = content.left.saturating_sub(bytes.len() as u64);
        if content.left == 0 {
            self.rest.remove(index);
        }
        let mut record = Vec::with_capacity(HEADER_LENGTH + bytes.len());
        write_record(&mut record, RecordType::Stdout, id, bytes);
        self.rest.insert(index, Piece::Records(record));
        Ok(())
    }

    /// The peer does not want the response any more: nothing of it leaves but the rest of the record that has begun.
    pub(super) fn abandon(&mut self) {
        for piece in &mut self.rest {
            if let Piece::Content(content) = piece {
                content.abandon();
            }
        }
        self.rest.retain(|piece| match piece {
            Piece::Content(content) => content.left > 0 || content.record.is_some(),
            Piece::Records(_) => true,
        });
    }

    /// What lies in memory and can be moved to a file: the content. Records are small.
    pub(super) fn in_memory(&self) -> Vec<MemoryPart> {
        let part = |piece: &Piece| match piece {
            Piece::Content(content) => content.in_memory(),
            Piece::Records(_) => None,
        };
        self.rest.iter().filter_map(part).collect()
    }

    /// These parts of what lay in memory were written to `file`, from these offsets on: what of them has not left meanwhile
    /// leaves from there.
    pub(super) fn move_to(&mut self, file: &Arc<OwnedFd>, parts: &[(MemoryPart, u64)]) {
        let mut parts = parts.iter();
        let mut moved: VecDeque<Piece> = VecDeque::with_capacity(self.rest.len());
        for mut piece in self.rest.drain(..) {
            if let Piece::Content(content) = &mut piece {
                if matches!(content.source, ContentSource::Bytes(_)) {
                    // In their order, and those in front may have left.
                    parts.any(|(part, offset)| content.move_to(file, part, *offset));
                }
                if let Some(Piece::Content(before)) = moved.back_mut() {
                    if before.join(content) {
                        continue;
                    }
                }
            }
            moved.push_back(piece);
        }
        self.rest = moved;
    }
}
