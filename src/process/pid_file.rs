//! The file of `--pid`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A file with this process's number in it, removed with this by the process that wrote it.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    pid: u32,
}

impl PidFile {
    /// Writes the file.
    ///
    /// # Errors
    /// One sentence when it cannot be written, or when it names a process that still runs.
    pub fn write(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let told = |error: io::Error| format!("cannot write the file '{shown}' of --pid: {error}");
        let path = std::path::absolute(path).map_err(told)?;
        if let Some(other) = running(&path) {
            return Err(format!(
                "the file '{shown}' of --pid names process {other}, which runs: stop it or choose another file"
            ));
        }
        let _ = fs::remove_file(&path);
        let pid = std::process::id();
        // Made anew, so that a link that lies there is not followed.
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)
            .map_err(told)?;
        writeln!(file, "{pid}").map_err(told)?;
        Ok(Self { path, pid })
    }
}

/// The gateway that the file names, if it runs.
fn running(path: &Path) -> Option<i32> {
    let pid: i32 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
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
        let same =
            fs::read_to_string(&self.path).is_ok_and(|text| text.trim() == self.pid.to_string());
        if same && self.pid == std::process::id() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
