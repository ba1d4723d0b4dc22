//! Content of a response that becomes STDOUT records only as it leaves: an object's bytes, or a file's. No I/O.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::record::{HEADER_LENGTH, Header, MAX_CONTENT, RecordType};
use crate::gateway::KeptBytes;

/// What a record of a file has at most, in bytes: whole pages of the file, and no more of them than sendfile(2) passes on in one
/// piece (16, from Linux's splice). A record of 64 KB that begins within a page goes in two, which costs the sender a fifth more.
const FILE_CONTENT: u64 = 15 * PAGE;

/// A page of memory, as most machines have it. Where pages are larger, records are only not as cheap.
const PAGE: u64 = 4096;

/// Content that becomes STDOUT records of this request.
pub(super) struct Content {
    pub(super) id: u16,
    pub(super) source: ContentSource,
    /// Where in the source the next byte is, and how many are left from there on.
    pub(super) at: u64,
    pub(super) left: u64,
    /// The record that has begun to leave.
    pub(super) record: Option<OpenRecord>,
}

/// Where content is.
pub(super) enum ContentSource {
    /// In memory; shared with who writes it to a file.
    Bytes(Arc<KeptBytes>),
    /// In a file of the application's.
    File(SentFile),
    /// In a file without a name, to which it was moved from memory.
    Moved(Arc<OwnedFd>),
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
pub(super) struct OpenRecord {
    pub(super) header: [u8; HEADER_LENGTH],
    pub(super) header_left: usize,
    pub(super) content_left: usize,
}

/// Where a record of a file of the application's begins that is yet to be made.
#[derive(Clone, Copy)]
pub(super) struct FileAtRecord<'a> {
    pub(super) file: BorrowedFd<'a>,
    /// Its offset in the file, and how many bytes it is to have.
    pub(super) at: u64,
    pub(super) length: usize,
    /// How many bytes of the file are to leave from there on; a number that no file has where its end ends the response.
    pub(super) left: u64,
}

/// Content that lies in memory, for who moves it to a file.
#[derive(Clone)]
pub(super) struct MemoryPart {
    bytes: Arc<KeptBytes>,
    from: usize,
    to: usize,
}

impl MemoryPart {
    /// What of it has not left.
    pub(super) fn bytes(&self) -> &[u8] {
        &(**self.bytes).as_ref()[self.from..self.to]
    }
}

impl ContentSource {
    /// The file that it is in.
    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Bytes(_) => None,
            Self::File(sent) => Some(sent.file.as_fd()),
            Self::Moved(file) => Some(file.as_fd()),
        }
    }
}

impl Content {
    /// So many bytes of its records have left; gives back what is not of them.
    pub(super) fn advance(&mut self, mut count: usize) -> usize {
        while count > 0 && self.left > 0 {
            let length = self.next_record();
            let record = self.record.get_or_insert_with(|| OpenRecord {
                header: header(self.id, length),
                header_left: HEADER_LENGTH,
                content_left: length,
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

    /// How many bytes of content the next record has that is yet to be made.
    pub(super) fn next_record(&self) -> usize {
        let most = match &self.source {
            ContentSource::Bytes(_) => MAX_CONTENT as u64,
            ContentSource::File(_) | ContentSource::Moved(_) => FILE_CONTENT - self.at % PAGE,
        };
        limited(self.left.min(most))
    }

    /// The record of a file of the application's that is to be made next.
    pub(super) fn file_at_record(&self) -> Option<FileAtRecord<'_>> {
        match (&self.source, self.record) {
            (ContentSource::File(sent), None) => Some(FileAtRecord {
                file: sent.file.as_fd(),
                at: self.at,
                length: self.next_record(),
                left: self.left,
            }),
            _ => None,
        }
    }

    /// Bytes of memory that it holds.
    pub(super) fn memory(&self) -> usize {
        match &self.source {
            ContentSource::Bytes(bytes) => (***bytes).as_ref().len(),
            ContentSource::File(_) | ContentSource::Moved(_) => 0,
        }
    }

    /// What of it lies in memory.
    pub(super) fn in_memory(&self) -> Option<MemoryPart> {
        let ContentSource::Bytes(bytes) = &self.source else {
            return None;
        };
        let from = usize::try_from(self.at).unwrap_or(usize::MAX);
        Some(MemoryPart {
            bytes: Arc::clone(bytes),
            from,
            to: from + limited(self.left),
        })
    }

    /// Has it in `file` from now on if that is where this part of memory was written to, from `offset` on: `false` when it
    /// is another's.
    pub(super) fn move_to(&mut self, file: &Arc<OwnedFd>, part: &MemoryPart, offset: u64) -> bool {
        match &self.source {
            ContentSource::Bytes(bytes) if Arc::ptr_eq(bytes, &part.bytes) => {
                self.at = offset + self.at - part.from as u64;
                self.source = ContentSource::Moved(Arc::clone(file));
                true
            }
            _ => false,
        }
    }

    /// Takes in what follows it where that lies behind it in the same file.
    pub(super) fn join(&mut self, next: &Self) -> bool {
        let (ContentSource::Moved(file), ContentSource::Moved(its)) = (&self.source, &next.source)
        else {
            return false;
        };
        let follows = self.id == next.id && self.at + self.left == next.at;
        if follows && next.record.is_none() && Arc::ptr_eq(file, its) {
            self.left += next.left;
            return true;
        }
        false
    }

    /// Leaves nothing of it but the rest of the record that has begun.
    pub(super) fn abandon(&mut self) {
        self.left = self.record.map_or(0, |record| record.content_left as u64);
    }
}

/// The header of a STDOUT record of so many bytes of content.
pub(super) fn header(id: u16, length: usize) -> [u8; HEADER_LENGTH] {
    let length = u16::try_from(length).expect("no record has more than MAX_CONTENT");
    Header::new(RecordType::Stdout, id, length).bytes()
}

pub(super) fn limited(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
