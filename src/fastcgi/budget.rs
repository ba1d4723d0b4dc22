//! How much memory complete responses may take whose web servers have not taken them yet (`--max-unsent`), and where the
//! rest goes: into files that have no name.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of responses that are beyond the limit and on their way to a file. One larger response goes there by itself.
const MAX_MOVING: usize = 32 * 1024 * 1024;

/// The memory for what was not taken yet, of one worker.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes.
    limit: usize,
    used: AtomicUsize,
    moving: AtomicUsize,
    /// TMPDIR as it was at the start: the application changes the environment as it pleases.
    named: Option<PathBuf>,
    told_of_folder: AtomicBool,
    told_of_disk: AtomicBool,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        let named = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
        Self {
            limit,
            used: AtomicUsize::new(0),
            moving: AtomicUsize::new(0),
            named: named.map(PathBuf::from),
            told_of_folder: AtomicBool::new(false),
            told_of_disk: AtomicBool::new(false),
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

    /// Takes so many bytes beyond the limit that are to be moved to a file, unless too many are already.
    pub(super) fn reserve_moving(&self, bytes: usize) -> bool {
        let add = |moving: usize| {
            let sum = moving.checked_add(bytes)?;
            (moving == 0 || sum <= MAX_MOVING).then_some(sum)
        };
        self.moving
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    pub(super) fn release_moving(&self, bytes: usize) {
        self.moving.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A new file without a name, in TMPDIR or else where large files may lie (file-hierarchy(7): /var/tmp).
    ///
    /// # Errors
    /// When none can be made.
    pub(super) fn file(&self) -> io::Result<File> {
        if let Some(folder) = &self.named {
            match tempfile::tempfile_in(folder) {
                Ok(file) => return Ok(file),
                Err(error) => self.tell_of_folder(folder, &error),
            }
        }
        tempfile::tempfile_in("/var/tmp").or_else(|_| tempfile::tempfile_in("/tmp"))
    }

    fn tell_of_folder(&self, folder: &Path, error: &io::Error) {
        if !self.told_of_folder.swap(true, Ordering::Relaxed) {
            log::warn!(
                "no temporary file can be made in TMPDIR={} ({error}): what is more than --max-unsent goes to /var/tmp",
                folder.display()
            );
        }
    }

    /// Tells that there is no place for the rest of responses, once until there is one again.
    pub(super) fn tell_of_disk(&self, error: &io::Error) {
        if !self.told_of_disk.swap(true, Ordering::Relaxed) {
            log::warn!(
                "what slow web servers have not taken is more than --max-unsent, and cannot be put into a temporary file \
                 ({error}): application threads wait for them; make room in /var/tmp (or TMPDIR), or raise --max-unsent"
            );
        }
    }

    /// There is a place.
    pub(super) fn has_disk(&self) {
        self.told_of_disk.store(false, Ordering::Relaxed);
    }
}
