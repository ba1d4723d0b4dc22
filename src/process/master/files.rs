//! The application's files, as they were when last looked at (`--reload`).

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What changes when a file does.
type Stamp = Option<(i64, i64, u64, u64)>;

/// The files.
#[derive(Debug, Default)]
pub(super) struct WatchedFiles(BTreeMap<PathBuf, Stamp>);

impl WatchedFiles {
    /// Watches these, too.
    pub(super) fn add(&mut self, paths: Vec<PathBuf>) {
        for path in paths {
            let found = stamp(std::fs::metadata(&path));
            self.0.entry(path).or_insert(found);
        }
    }

    /// The first that has changed since this was asked.
    pub(super) fn changed(&mut self) -> Option<String> {
        let mut changed = None;
        for (path, before) in &mut self.0 {
            let found = stamp(std::fs::metadata(path));
            if found != *before {
                *before = found;
                changed.get_or_insert_with(|| path.display().to_string());
            }
        }
        changed
    }
}

fn stamp(found: io::Result<Metadata>) -> Stamp {
    found
        .ok()
        .map(|found| (found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
}
