//! Where the lines of the log go: standard error or a file, and never nowhere without a word.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use super::folder::Entry;

/// How long a line waits for whoever reads standard error. Only the first that nobody takes does: behind it are the
/// master with all its duties, and workers that have something to say.
const PATIENCE: Duration = Duration::from_millis(100);

/// As much as a pipe that can be written to takes without blocking (pipe(7), PIPE_BUF).
const PIECE: usize = 4096;

/// How often it is told that the file cannot be written, or can be again: a disk that is almost full goes to and fro.
const TOLD: Duration = Duration::from_secs(1);

/// The way out for lines.
#[derive(Debug, Default)]
pub struct LogOutput {
    file: Option<(PathBuf, Opened)>,
    /// Whether the file could not be written last time, and whether that was told.
    failing: bool,
    told: bool,
    last_told: Option<Instant>,
    /// Lines that nobody took.
    lost: u64,
    /// Whether the last of them was taken in part, so that its line has to be ended.
    torn: bool,
    /// Bytes after which the file is begun anew.
    limit: Option<u64>,
    /// What makes a line of a message of this output's own.
    form: Option<fn(&str) -> Vec<u8>>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    /// How much is written at a time.
    piece: usize,
}

impl Opened {
    fn new(file: File) -> Self {
        // Who else writes to the same file shall not come between the pieces of a line.
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        let piece = if is_file { usize::MAX } else { PIECE };
        Self { file, piece }
    }
}

/// Why there is no log file.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum LogFileError {
    #[error("the log file '{path}' of --log-file cannot be opened: {reason}; choose another")]
    Open { path: PathBuf, reason: String },
    #[error("the log file '{path}' cannot be opened anew: {reason}; the old one stays in use")]
    Reopen { path: PathBuf, reason: String },
}

impl LogOutput {
    /// An output whose own messages, about what it cannot write, are lines of this form.
    pub fn new(form: fn(&str) -> Vec<u8>) -> Self {
        Self {
            form: Some(form),
            ..Self::default()
        }
    }

    fn own(&self, text: &str) -> Vec<u8> {
        self.form
            .map_or_else(|| format!("{text}\n").into_bytes(), |form| form(text))
    }

    /// Has the file called by another name when it has so many bytes, and begun anew: for one that nobody looks after.
    pub fn limit(&mut self, bytes: Option<u64>) {
        self.limit = bytes;
    }

    /// Begins to write to this file, from its end.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&mut self, path: &Path) -> Result<(), LogFileError> {
        let told = |error: io::Error| LogFileError::Open {
            path: path.to_owned(),
            reason: reason(&error),
        };
        let path = std::path::absolute(path).map_err(told)?;
        let file = open(&path).map_err(told)?;
        self.file = Some((path, file));
        Ok(())
    }

    /// Begins to write to this file, which has been opened by this name.
    pub fn adopt(&mut self, path: PathBuf, file: File) {
        self.file = Some((path, Opened::new(file)));
    }

    /// The file that lines go to, once more.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn file(&self) -> io::Result<Option<OwnedFd>> {
        let file = self
            .file
            .as_ref()
            .map(|(_, opened)| opened.file.try_clone());
        Ok(file.transpose()?.map(OwnedFd::from))
    }

    /// The number of its descriptor.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.file
            .as_ref()
            .map(|(_, opened)| opened.file.as_raw_fd())
    }

    /// Opens the file of the same name anew, after somebody has moved the old one away.
    ///
    /// # Errors
    /// When that fails; the old file stays in use.
    pub fn reopen(&mut self) -> Result<(), LogFileError> {
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        *file = open(path).map_err(|error| LogFileError::Reopen {
            path: path.clone(),
            reason: reason(&error),
        })?;
        Ok(())
    }

    /// Begins the file anew where it has become too large.
    fn rotate(&mut self) {
        let (Some((path, opened)), Some(limit)) = (&self.file, self.limit) else {
            return;
        };
        let found = opened.file.metadata();
        if found.is_ok_and(|found| found.is_file() && found.len() >= limit) {
            let mut old = path.clone().into_os_string();
            old.push(".1");
            // Where that cannot be done it goes on growing, which is better than to lose it.
            if std::fs::rename(path, old).is_ok() {
                let _ = self.reopen();
            }
        }
    }

    /// Writes a line. Never waits for long: who reads standard error, or a FIFO, may have stopped to.
    pub fn write(&mut self, line: &[u8]) {
        self.rotate();
        let Some((path, file)) = &mut self.file else {
            return self.write_to_stderr(line);
        };
        let patience = if self.failing {
            Duration::ZERO
        } else {
            PATIENCE
        };
        let written = put(&mut file.file, line, file.piece, patience).1;
        self.failing = written.is_err();
        let now = Instant::now();
        let is_news = self.failing != self.told;
        if is_news && self.last_told.is_none_or(|last| now >= last + TOLD) {
            self.told = self.failing;
            self.last_told = Some(now);
            let text = match &written {
                Ok(()) => format!("the log file '{}' can be written again", path.display()),
                Err(error) => format!(
                    "the log file '{}' cannot be written: {error}; until it can, the log goes here",
                    path.display()
                ),
            };
            self.write_to_stderr(&self.own(&text));
        }
        if written.is_err() {
            self.write_to_stderr(line);
        }
    }

    fn write_to_stderr(&mut self, line: &[u8]) {
        let mut stderr = io::stderr().lock();
        if self.lost > 0 {
            let text = format!("{} lines of the log were lost: nobody read them", self.lost);
            let mut text = self.own(&text);
            if self.torn {
                text.insert(0, b'\n');
            }
            let (taken, put) = put(&mut stderr, &text, PIECE, Duration::ZERO);
            if put.is_err() {
                self.torn |= taken > 0;
                self.lost += 1;
                return;
            }
            self.lost = 0;
            self.torn = false;
        }
        let (taken, put) = put(&mut stderr, line, PIECE, PATIENCE);
        if put.is_err() {
            self.torn = taken > 0;
            self.lost += 1;
        }
    }
}

/// Opens the file, not through a link that another user may have made: what the master writes as root is what clients and
/// the application have it write.
fn open(path: &Path) -> io::Result<Opened> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT;
    Ok(Opened::new(Entry::trusted(path)?.open(flags, 0o640)?))
}

/// Why a file of lines cannot be opened.
pub(super) fn reason(error: &io::Error) -> String {
    if error.raw_os_error() == Some(nix::libc::ENXIO) {
        "it is no file, and nobody reads from it".to_owned()
    } else {
        error.to_string()
    }
}

/// Writes all of it, a piece at a time and each only once there is room; how many bytes were taken, and why no more. The
/// patience is for each piece: as long as somebody reads, a long line gets through.
fn put<W: Write + AsFd>(
    out: &mut W,
    text: &[u8],
    piece: usize,
    patience: Duration,
) -> (usize, io::Result<()>) {
    /// So much longer all pieces together may wait.
    const IN_ALL: u32 = 20;
    let until = Instant::now() + patience * IN_ALL;
    let mut taken = 0;
    for piece in text.chunks(piece) {
        let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
        let left = until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left.min(patience)).unwrap_or(PollTimeout::ZERO);
        if poll(&mut fds, left).is_ok_and(|ready| ready == 0) {
            return (taken, Err(io::Error::other("nobody reads it")));
        }
        if let Err(error) = out.write_all(piece) {
            return (taken, Err(error));
        }
        taken += piece.len();
    }
    (taken, Ok(()))
}
