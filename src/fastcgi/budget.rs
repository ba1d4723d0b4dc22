//! How much memory complete responses may take whose web servers have not taken them yet (`--max-unsent`), and where the
//! rest goes: into files that have no name.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The memory for what was not taken yet, of one worker.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes.
    limit: usize,
    used: AtomicUsize,
    complained: AtomicBool,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            complained: AtomicBool::new(false),
        }
    }

    /// Takes so many bytes, if they are there.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    pub(super) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A new file without a name, in TMPDIR or else where large files may lie (file-hierarchy(7): /var/tmp).
    ///
    /// # Errors
    /// When none can be made.
    pub(super) fn file(&self) -> io::Result<File> {
        let named = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
        let folder = named.map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        tempfile::tempfile_in(folder).or_else(|_| tempfile::tempfile_in("/tmp"))
    }

    /// Tells once that there is no place for the rest of responses.
    pub(super) fn complain(&self, error: &io::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            log::warn!(
                "what slow web servers have not taken is more than --max-unsent, and cannot be put into a temporary file \
                 ({error}): application threads wait for them; make room in /var/tmp (or TMPDIR), or raise --max-unsent"
            );
        }
    }
}
