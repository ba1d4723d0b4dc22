//! What is to be sent on a connection and was not taken yet: records, and records still to be made of an object's bytes or
//! of a file. No I/O: whoever has the socket asks what comes next and says how much of it has left.
//!
//! What is put in here is always whole records, so that whatever comes behind it begins at a record's boundary.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::record::{HEADER_LENGTH, Header, MAX_CONTENT, RecordType, write_record};
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
    /// Records in a file, from this offset on, and how many bytes of them.
    Spilled(OwnedFd, u64, u64),
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(bytes) => write!(f, "Records({})", bytes.len()),
            Self::Content(content) => write!(f, "Content({})", content.left),
            Self::Spilled(_, _, left) => write!(f, "Spilled({left})"),
        }
    }
}

/// Content that becomes STDOUT records of this request.
struct Content {
    id: u16,
    source: ContentSource,
    /// Where in the source the next byte is, and how many are left from there on.
    at: u64,
    left: u64,
    /// The record that has begun to leave.
    record: Option<OpenRecord>,
}

enum ContentSource {
    Bytes(KeptBytes),
    File(SentFile),
}

/// A file that is sent.
pub(super) struct SentFile {
    pub(super) file: OwnedFd,
    /// Of which request, for messages.
    pub(super) subject: String,
    /// What leaves in place of the response's end when the file ends before the length that was told; `None` where none was
    /// and the file's end is that of the response.
    pub(super) cut: Option<Vec<u8>>,
}

/// A record that has begun to leave: bytes of its header and of its content that have not.
#[derive(Clone, Copy)]
struct OpenRecord {
    header: [u8; HEADER_LENGTH],
    header_left: usize,
    content_left: usize,
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
        self.push_content(id, ContentSource::Bytes(bytes), 0, length as u64);
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
                    ContentSource::Bytes(_) => None,
                },
                _ => None,
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
            Piece::Content(content) => match &content.source {
                ContentSource::Bytes(bytes) => (**bytes).as_ref().len(),
                ContentSource::File(_) => 0,
            },
            Piece::Spilled(..) => 0,
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
                Piece::Spilled(file, at, left) => {
                    if slices.is_empty() {
                        return Next::File(file.as_fd(), *at, limited(*left));
                    }
                    break;
                }
                Piece::Content(content) => {
                    if let Some(record) = &content.record {
                        if record.header_left > 0 {
                            let from = HEADER_LENGTH - record.header_left;
                            slices.push(IoSlice::new(&record.header[from..]));
                        } else if let (ContentSource::File(sent), true) =
                            (&content.source, slices.is_empty())
                        {
                            return Next::File(sent.file.as_fd(), content.at, record.content_left);
                        }
                    }
                    let ContentSource::Bytes(bytes) = &content.source else {
                        if content.record.is_none() {
                            slices.extend(made.next().map(|header| IoSlice::new(header)));
                        }
                        break;
                    };
                    let whole = (**bytes).as_ref();
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
                Piece::Spilled(..) => return,
                Piece::Content(content) => content,
            };
            let begun = content
                .record
                .map_or(0, |record| record.content_left as u64);
            let mut left = content.left - begun;
            if matches!(content.source, ContentSource::File(_)) {
                if content.record.is_none() {
                    headers.push(header(content.id, left));
                }
                return;
            }
            while left > 0 {
                if headers.len() == RECORDS {
                    return;
                }
                headers.push(header(content.id, left));
                left = left.saturating_sub(MAX_CONTENT as u64);
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
                Piece::Spilled(_, at, left) => {
                    let taken = count.min(limited(*left));
                    *at += taken as u64;
                    *left -= taken as u64;
                    count -= taken;
                    *left == 0
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

    /// The file of which a record may begin to leave next, where in it that begins, and how many bytes it is to have: to be
    /// looked at before.
    pub(super) fn file_at_record(&self) -> Option<(BorrowedFd<'_>, u64, usize)> {
        self.rest.iter().find_map(|piece| match piece {
            Piece::Content(content) => match (&content.source, content.record) {
                (ContentSource::File(sent), None) => {
                    let length = limited(content.left.min(MAX_CONTENT as u64));
                    Some((sent.file.as_fd(), content.at, length))
                }
                _ => None,
            },
            _ => None,
        })
    }

    /// Reading that file where its next record is to begin gave these bytes; none at its end.
    ///
    /// # Errors
    /// When it has come to its end, and more was promised by the response's length: the response is cut there.
    pub(super) fn file_gave(&mut self, bytes: &[u8]) -> Result<(), FileEnded> {
        let is_it = |piece: &Piece| match piece {
            Piece::Content(content) => {
                matches!(content.source, ContentSource::File(_)) && content.record.is_none()
            }
            _ => false,
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
                ContentSource::Bytes(_) => None,
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
                content.left = content
                    .record
                    .map_or(0, |record| record.content_left as u64);
            }
        }
        self.rest.retain(|piece| match piece {
            Piece::Content(content) => content.left > 0 || content.record.is_some(),
            _ => true,
        });
    }

    /// Writes all that lies in memory to `file`, from its start on, and keeps that instead.
    ///
    /// # Errors
    /// When it cannot be written: everything is as it was.
    pub(super) fn spill(&mut self, mut file: std::fs::File) -> io::Result<()> {
        let mut written = 0u64;
        let mut copy = Self::default();
        // Files are sent from where they are: what is in front of the first of them moves.
        let count = self
            .rest
            .iter()
            .take_while(|piece| match piece {
                Piece::Records(_) => true,
                Piece::Content(content) => matches!(content.source, ContentSource::Bytes(_)),
                Piece::Spilled(..) => false,
            })
            .count();
        let mut write = |bytes: &[u8]| -> io::Result<()> {
            written += bytes.len() as u64;
            file.write_all(bytes)
        };
        write(&self.first[self.sent..])?;
        for piece in self.rest.iter().take(count) {
            match piece {
                Piece::Records(bytes) => write(bytes)?,
                Piece::Content(content) => content.write_all(&mut write)?,
                Piece::Spilled(..) => {}
            }
        }
        file.rewind()?;
        if written > 0 {
            copy.rest.push_back(Piece::Spilled(file.into(), 0, written));
        }
        copy.rest.extend(self.rest.drain(..).skip(count));
        *self = copy;
        Ok(())
    }
}

impl Content {
    /// So many bytes of its records have left; gives back what is not of them.
    fn advance(&mut self, mut count: usize) -> usize {
        while count > 0 && self.left > 0 {
            let record = self.record.get_or_insert_with(|| OpenRecord {
                header: header(self.id, self.left),
                header_left: HEADER_LENGTH,
                content_left: limited(self.left.min(MAX_CONTENT as u64)),
            });
            let taken = count.min(record.header_left);
            record.header_left -= taken;
            count -= taken;
            let taken = count.min(record.content_left);
            record.content_left -= taken;
            count -= taken;
            self.at += taken as u64;
            self.left -= taken as u64;
            if record.header_left == 0 && record.content_left == 0 {
                self.record = None;
            }
        }
        count
    }

    /// Writes its records; of a file, nothing.
    fn write_all(&self, write: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let ContentSource::Bytes(bytes) = &self.source else {
            return Ok(());
        };
        let from = usize::try_from(self.at).unwrap_or(usize::MAX);
        let mut content = &(**bytes).as_ref()[from..from + limited(self.left)];
        if let Some(record) = &self.record {
            write(&record.header[HEADER_LENGTH - record.header_left..])?;
            let (piece, rest) = content.split_at(record.content_left);
            write(piece)?;
            content = rest;
        }
        for piece in content.chunks(MAX_CONTENT) {
            write(&header(self.id, piece.len() as u64))?;
            write(piece)?;
        }
        Ok(())
    }
}

/// The header of the next record of so many bytes of content or less.
fn header(id: u16, left: u64) -> [u8; HEADER_LENGTH] {
    let length = left.min(MAX_CONTENT as u64);
    let length = u16::try_from(length).expect("MAX_CONTENT fits a record");
    Header::new(RecordType::Stdout, id, length).bytes()
}

fn limited(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::record::{HEADER_LENGTH, MAX_CONTENT, RecordType, write_record};
    use super::{Headers, MAX_BESIDE, Next, SentFile, Unsent};
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    /// Sends everything in steps of these sizes, over and over.
    fn drain(unsent: &mut Unsent, steps: &[usize]) -> Vec<u8> {
        let (mut out, mut headers) = (Vec::new(), Headers::new());
        for step in steps.iter().cycle() {
            if unsent.is_empty() {
                break;
            }
            let taken = match unsent.next(&mut headers) {
                Next::Nothing => break,
                Next::Bytes(slices) => {
                    let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                    let taken = all.len().min(*step);
                    out.extend_from_slice(&all[..taken]);
                    taken
                }
                Next::File(file, at, most) => {
                    let mut piece = vec![0; most.min(*step)];
                    let file: std::fs::File = file.try_clone_to_owned().unwrap().into();
                    let taken = file.read_at(&mut piece, at).unwrap();
                    out.extend_from_slice(&piece[..taken]);
                    taken
                }
            };
            assert!(taken > 0, "something is to be sent, and there is nothing");
            unsent.advance(taken);
        }
        assert!(unsent.is_empty());
        out
    }

    fn stdout(out: &mut Vec<u8>, bytes: &[u8]) {
        for piece in bytes.chunks(MAX_CONTENT) {
            write_record(out, RecordType::Stdout, 1, piece);
        }
    }

    fn some(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    /// A queue of all kinds of pieces of these lengths, and the bytes that it is to give.
    fn queue(lengths: &[(u8, usize)], file: &std::fs::File) -> (Unsent, Vec<u8>) {
        let (mut unsent, mut expected) = (Unsent::default(), Vec::new());
        for &(kind, length) in lengths {
            let bytes = some(length);
            match kind % 3 {
                0 => {
                    write_record(
                        unsent.records(),
                        RecordType::Stderr,
                        1,
                        &bytes[..length % 60_000],
                    );
                    write_record(
                        &mut expected,
                        RecordType::Stderr,
                        1,
                        &bytes[..length % 60_000],
                    );
                }
                1 => {
                    unsent.push_kept(1, Box::new(bytes.clone()), length);
                    stdout(&mut expected, &bytes);
                }
                _ => {
                    unsent.push_file(1, sent(file, true), 0, length as u64);
                    stdout(&mut expected, &bytes);
                }
            }
        }
        (unsent, expected)
    }

    fn file() -> std::fs::File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&some(300_000), 0).unwrap();
        file
    }

    fn sent(file: &std::fs::File, told: bool) -> SentFile {
        SentFile {
            file: file.try_clone().unwrap().into(),
            subject: String::new(),
            cut: told.then(|| b"cut".to_vec()),
        }
    }

    #[test]
    fn a_file_that_ends_early_ends_the_response_only_where_no_length_was_told() {
        let file = file();
        for told in [false, true] {
            let mut unsent = Unsent::default();
            unsent.push_file(1, sent(&file, told), 299_990, 500);
            unsent.records().extend_from_slice(b"end");
            let (_, at, length) = unsent.file_at_record().unwrap();
            assert_eq!(
                (at, length),
                (299_990, if told { 500 } else { MAX_CONTENT })
            );
            let last = &some(300_000)[299_990..];
            unsent.file_gave(last).unwrap();
            assert_eq!(unsent.file_gave(&[]).is_err(), told);
            let mut expected = Vec::new();
            stdout(&mut expected, last);
            expected.extend_from_slice(if told { b"cut" } else { b"end" });
            assert_eq!(drain(&mut unsent, &[7]), expected);
        }
    }

    #[test]
    fn answers_that_have_left_do_not_count_when_the_rest_is_abandoned() {
        let mut unsent = Unsent::default();
        let answers = MAX_BESIDE - HEADER_LENGTH;
        unsent.put_answer(|out| write_record(out, RecordType::UnknownType, 0, &some(answers)));
        unsent.push_kept(1, Box::new(some(100)), 100);
        assert!(!unsent.has_room_for_answers());
        unsent.advance(MAX_BESIDE);
        assert!(!unsent.has_room_for_answers());
        unsent.abandon();
        assert!(unsent.is_empty() && unsent.has_room_for_answers());
    }

    #[test]
    fn an_abandoned_response_ends_with_a_whole_record() {
        let (mut unsent, expected) = queue(&[(1, 200_000), (0, 10)], &file());
        unsent.advance(100);
        unsent.abandon();
        let mut all = expected[..100].to_vec();
        all.extend(drain(&mut unsent, &[33]));
        let mut end = Vec::new();
        stdout(&mut end, &some(MAX_CONTENT));
        write_record(&mut end, RecordType::Stderr, 1, &some(10));
        assert_eq!(all, end);
    }

    #[test]
    fn a_place_for_records_that_is_not_used_is_nothing_to_send() {
        let mut unsent = Unsent::default();
        unsent.push_kept(1, Box::new(*b"kept"), 4);
        let _ = unsent.records();
        let length = HEADER_LENGTH + 4;
        assert_eq!(drain(&mut unsent, &[length]).len(), length);
        let _ = unsent.records();
        assert!(unsent.is_empty());
    }

    proptest! {
        #[test]
        fn any_pieces_leave_as_their_records_in_steps_of_any_size(
            lengths in prop::collection::vec((any::<u8>(), 0usize..200_000), 0..6),
            steps in prop::collection::vec(1usize..150_000, 1..6),
            before in 0usize..300_000,
            spills in any::<bool>(),
        ) {
            let (mut unsent, expected) = queue(&lengths, &file());
            let mut out = Vec::new();
            let mut headers = Headers::new();
            if let Next::Bytes(slices) = unsent.next(&mut headers) {
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let count = all.len().min(before);
                out.extend_from_slice(&all[..count]);
                unsent.advance(count);
            }
            if spills {
                unsent.spill(tempfile::tempfile().unwrap()).unwrap();
            }
            out.extend(drain(&mut unsent, &steps));
            prop_assert_eq!(out, expected);
        }
    }
}
