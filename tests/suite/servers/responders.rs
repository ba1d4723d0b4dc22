//! What CGI programs with `--persistent` start and leave behind, in a folder of the test's own: how many there are, and their end. They
//! outlive the web server, by minutes.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::User;

use super::{Folder, server_user};
use crate::support::gateway::DEADLINE;
use crate::support::process_table::{self, is_alive};

/// The responders of the programs that have `runtime` as their XDG_RUNTIME_DIR. Dropping it ends them: after the web server, which
/// could start others, so it is made before that.
pub(crate) struct Responders {
    folder: Folder,
    user: Option<User>,
}

impl Responders {
    /// For programs that the server's user runs.
    pub(crate) fn new() -> Responders {
        let user = server_user().map(|name| User::from_name(name).unwrap().unwrap());
        let made = Responders {
            folder: Folder::new(),
            user,
        };
        let runtime = made.runtime();
        fs::create_dir(&runtime).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
        if let Some(user) = &made.user {
            chown(&runtime, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        made
    }

    /// The value of XDG_RUNTIME_DIR.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.folder.path().join("runtime")
    }

    /// The end of a site's configuration, with what its programs are told.
    pub(crate) fn for_apache(&self) -> String {
        let runtime = self.folder.at("runtime");
        format!("SetEnv XDG_RUNTIME_DIR {runtime}\n</VirtualHost>")
    }

    /// What lighttpd's programs are told, for a list of variables.
    pub(crate) fn for_lighttpd(&self) -> String {
        format!("\"XDG_RUNTIME_DIR\" => \"{}\"", self.folder.at("runtime"))
    }

    /// What `wsgi-gateway` with these words says to that user.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_ask(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.folder.gateway_program());
        command.args(words).env_clear();
        command.env("XDG_RUNTIME_DIR", self.runtime());
        // Where others have theirs it has nothing to end.
        command.env("TMPDIR", self.folder.path().join("nothing"));
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("{words:?}: {said}")),
        }
    }

    /// How many applications `ps` shows.
    pub(crate) fn count(&self) -> usize {
        let said = self.ask(&["ps"]);
        // There are no columns where there are none.
        let rows = said.strip_prefix("APPLICATION");
        rows.map_or(0, |rows| rows.lines().count() - 1)
    }

    /// The processes that were started with that folder, relays among them.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let wanted = [b"XDG_RUNTIME_DIR=", self.runtime().as_os_str().as_bytes()].concat();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let mut environment = Vec::new();
            // No file, or nobody's: it has ended meanwhile.
            let file = fs::File::open(format!("/proc/{pid}/environ"));
            let read = file.and_then(|mut file| file.read_to_end(&mut environment));
            read.is_ok() && environment.split(|byte| *byte == 0).any(|it| it == wanted)
        })
        .collect()
    }

    /// Ends all of them as their user would, and waits until nothing is left of them.
    fn end(&self) {
        let stopped = self.try_ask(&["stop", "--all"]);
        let deadline = Instant::now() + DEADLINE;
        while stopped.is_ok() && !self.processes().is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let left = self.processes();
        let titles: Vec<_> = left.iter().map(|it| process_table::title(*it)).collect();
        self.kill();
        assert!(left.is_empty(), "left behind: {titles:?}; {stopped:?}");
        let mut files = names(&self.runtime().join("wsgi-gateway"));
        files.retain(|name| !name.ends_with(".log") && name != "lock");
        assert!(files.is_empty(), "left behind: {files:?}");
    }

    fn kill(&self) {
        for pid in self.processes() {
            process_table::send(pid, Signal::SIGKILL);
            let deadline = Instant::now() + DEADLINE;
            while is_alive(pid) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// The logs that lie beside the sockets.
    fn logs(&self) -> String {
        let folder = self.runtime().join("wsgi-gateway");
        let files = names(&folder).into_iter().map(|name| folder.join(name));
        let logs = files.filter(|file| file.extension() == Some(OsStr::new("log")));
        logs.map(|log| fs::read_to_string(log).unwrap_or_default())
            .collect()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

impl Drop for Responders {
    fn drop(&mut self) {
        if !thread::panicking() {
            return self.end();
        }
        eprintln!("---- logs of the responders\n{}----", self.logs());
        // No more questions: what has failed may be just that.
        self.kill();
    }
}
