//! The file of `--pid`.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::sys::stat::SFlag;
use nix::unistd::Pid;
use thiserror::Error;

use super::folder::{Entry, is};

/// As much as is read of such a file, in bytes: more than a number has.
const MOST: u64 = 32;

/// A file with this process's number in it, removed with this by the process that wrote it.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    pid: u32,
}

/// Why the file cannot be written.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum PidFileError {
    #[error("cannot write the file '{path}' of --pid: {error}; choose another")]
    Refused { path: PathBuf, error: io::Error },
    #[error(
        "cannot write the file '{0}' of --pid: there is something else than a file; choose another name"
    )]
    NoFile(PathBuf),
    #[error(
        "the file '{path}' of --pid names process {pid}, which runs: stop it or choose another file"
    )]
    Running { path: PathBuf, pid: i32 },
}

impl PidFileError {
    /// Whether what the operator has written is wrong, and not how things are: starting again will not help.
    pub fn is_told_wrong(&self) -> bool {
        use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
        match self {
            Self::NoFile(_) => true,
            Self::Refused { error, .. } => {
                matches!(error.kind(), NotADirectory | NotFound | PermissionDenied)
            }
            Self::Running { .. } => false,
        }
    }
}

impl PidFile {
    /// The file that this process has written as another program.
    pub fn written(path: PathBuf) -> Self {
        Self {
            path,
            pid: std::process::id(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written, or when it names a process that still runs.
    pub fn write(path: &Path) -> Result<Self, PidFileError> {
        let named = || path.to_owned();
        let told = |error| PidFileError::Refused {
            path: named(),
            error,
        };
        let absolute = std::path::absolute(path).map_err(told)?;
        // Where it is to be, a link that lies there being replaced and not followed.
        let entry = Entry::trusted_itself(&absolute).map_err(told)?;
        if let Ok(found) = entry.look() {
            if !is(&found, SFlag::S_IFREG) && !is(&found, SFlag::S_IFLNK) {
                return Err(PidFileError::NoFile(named()));
            }
            if let Some(pid) = running(&entry) {
                return Err(PidFileError::Running { path: named(), pid });
            }
            let _ = entry.remove(found.st_dev, found.st_ino);
        }
        let pid = std::process::id();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut file = entry.open(flags, 0o644).map_err(told)?;
        writeln!(file, "{pid}").map_err(told)?;
        Ok(Self {
            path: absolute,
            pid,
        })
    }
}

/// What the file says.
fn read(entry: &Entry) -> io::Result<String> {
    let mut text = String::new();
    let file = entry.open(OFlag::O_RDONLY, 0)?;
    file.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

/// The gateway that the file names, if it runs.
fn running(entry: &Entry) -> Option<i32> {
    let pid: i32 = read(entry).ok()?.trim().parse().ok()?;
    let own = i32::try_from(std::process::id()).ok()?;
    if pid <= 0 || pid == own || kill(Pid::from_raw(pid), None) == Err(nix::Error::ESRCH) {
        return None;
    }
    // The number may have gone to another program since, after a restart of the machine for one.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    name.starts_with("wsgi-gateway").then_some(pid)
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            return;
        }
        let Ok(entry) = Entry::trusted_itself(&self.path) else {
            return;
        };
        if read(&entry).is_ok_and(|text| text.trim() == self.pid.to_string()) {
            if let Ok(found) = entry.look() {
                let _ = entry.remove(found.st_dev, found.st_ino);
            }
        }
    }
}
