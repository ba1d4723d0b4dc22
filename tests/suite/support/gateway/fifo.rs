//! A named pipe by which a test holds an application where it is.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::DEADLINE;

/// A named pipe of another's, for what is in it at a time: a read that finds nothing is an error.
pub(crate) fn open_unwaiting(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    options.open(path).unwrap()
}

/// A named pipe between a test and an application: each waits there for the other.
pub(crate) struct Fifo {
    path: PathBuf,
}

impl Fifo {
    pub(crate) fn new(folder: &Path, name: &str) -> Fifo {
        let path = folder.join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Fifo { path }
    }

    /// For a query.
    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Waits until the application reads from it. The application reads on until the file is dropped.
    pub(crate) fn entered(&self) -> File {
        let deadline = Instant::now() + DEADLINE;
        loop {
            // Without a reader this open fails instead of waiting for ever.
            let open = File::options()
                .write(true)
                .custom_flags(nix::libc::O_NONBLOCK)
                .open(&self.path);
            match open {
                Ok(file) => return file,
                Err(error) => assert_eq!(error.raw_os_error(), Some(nix::libc::ENXIO)),
            }
            assert!(Instant::now() < deadline, "the application never came");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the application and gives it its answer.
    pub(crate) fn release(&self, answer: &[u8]) {
        std::io::Write::write_all(&mut self.entered(), answer).unwrap();
    }
}
