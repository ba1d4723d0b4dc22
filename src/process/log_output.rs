//! Where the lines of the log go: standard error or a file, and never nowhere without a word.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
}

impl LogOutput {
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
                let text = format!("the log file '{}' can be written again\n", path.display());
                self.write_to_stderr(text.as_bytes());
            }
            Ok(()) => {}
            Err(error) => {
                let text = format!(
                    "the log file '{}' cannot be written: {error}; until it can, the log goes here\n",
                    path.display()
                );
                if !std::mem::replace(&mut self.failing, true) {
                    self.write_to_stderr(text.as_bytes());
                }
                self.write_to_stderr(line);
            }
        }
    }

    fn write_to_stderr(&mut self, line: &[u8]) {
        if self.lost > 0 {
            let text = format!(
                "{} lines of the log were lost: nobody read them\n",
                self.lost
            );
            if !to_stderr(text.as_bytes(), Duration::ZERO) {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        if !to_stderr(line, PATIENCE) {
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

/// Whether it was all taken.
fn to_stderr(text: &[u8], patience: Duration) -> bool {
    let mut stderr = io::stderr().lock();
    for piece in text.chunks(PIECE) {
        let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        if poll(&mut fds, patience).is_ok_and(|ready| ready == 0) {
            return false;
        }
        if stderr.write_all(piece).is_err() {
            return false;
        }
    }
    true
}
