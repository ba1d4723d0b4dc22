//! Where the lines of the log go: standard error or a file, and never nowhere without a word.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a line waits for whoever reads standard error. Only the first that nobody takes does: behind it are the
/// master with all its duties, and workers that have something to say.
const PATIENCE: Duration = Duration::from_millis(100);

/// As much as a pipe that can be written to takes without blocking (pipe(7), PIPE_BUF).
const PIECE: usize = 4096;

/// The way out for lines.
#[derive(Debug, Default)]
pub struct LogOutput {
    file: Option<(PathBuf, File)>,
    /// Whether the file could not be written last time.
    failing: bool,
    /// Lines that nobody took.
    lost: u64,
    /// Whether the last of them was taken in part, so that its line has to be ended.
    torn: bool,
    /// What makes a line of a message of this output's own.
    form: Option<fn(&str) -> Vec<u8>>,
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

    /// Begins to write to this file, from its end.
    ///
    /// # Errors
    /// One sentence when it cannot be opened.
    pub fn open(&mut self, path: &Path) -> Result<(), String> {
        let told = |error: io::Error| {
            format!(
                "the log file '{}' of --log-file cannot be opened: {error}",
                path.display()
            )
        };
        let path = std::path::absolute(path).map_err(told)?;
        let file = open(&path).map_err(told)?;
        self.file = Some((path, file));
        Ok(())
    }

    /// Opens the file of the same name anew, after somebody has moved the old one away.
    ///
    /// # Errors
    /// One sentence when that fails; the old file stays in use.
    pub fn reopen(&mut self) -> Result<(), String> {
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        *file = open(path).map_err(|error| {
            format!(
                "the log file '{}' cannot be opened anew: {error}; the old one stays in use",
                path.display()
            )
        })?;
        Ok(())
    }

    /// Writes a line. Never waits for long: who reads standard error may have stopped to.
    pub fn write(&mut self, line: &[u8]) {
        let Some((path, file)) = &mut self.file else {
            return self.write_to_stderr(line);
        };
        match file.write_all(line) {
            Ok(()) if self.failing => {
                self.failing = false;
                let text = format!("the log file '{}' can be written again", path.display());
                self.write_to_stderr(&self.own(&text));
            }
            Ok(()) => {}
            Err(error) => {
                let text = format!(
                    "the log file '{}' cannot be written: {error}; until it can, the log goes here",
                    path.display()
                );
                if !std::mem::replace(&mut self.failing, true) {
                    self.write_to_stderr(&self.own(&text));
                }
                self.write_to_stderr(line);
            }
        }
    }

    fn write_to_stderr(&mut self, line: &[u8]) {
        if self.lost > 0 {
            let text = format!("{} lines of the log were lost: nobody read them", self.lost);
            let mut text = self.own(&text);
            if self.torn {
                text.insert(0, b'\n');
            }
            let written = to_stderr(&text, Duration::ZERO);
            if written < text.len() {
                self.torn |= written > 0;
                self.lost += 1;
                return;
            }
            self.lost = 0;
            self.torn = false;
        }
        let written = to_stderr(line, PATIENCE);
        if written < line.len() {
            self.torn = written > 0;
            self.lost += 1;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// How much of it was taken, in bytes. The patience is for each piece: as long as somebody reads, a long line gets through.
fn to_stderr(text: &[u8], patience: Duration) -> usize {
    /// So much longer all pieces together may wait.
    const IN_ALL: u32 = 20;
    let mut stderr = io::stderr().lock();
    let until = Instant::now() + patience * IN_ALL;
    let mut taken = 0;
    for piece in text.chunks(PIECE) {
        let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        let left = until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left.min(patience)).unwrap_or(PollTimeout::ZERO);
        if poll(&mut fds, left).is_ok_and(|ready| ready == 0) {
            break;
        }
        if stderr.write_all(piece).is_err() {
            break;
        }
        taken += piece.len();
    }
    taken
}
