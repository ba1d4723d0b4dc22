//! A place for the responders of persistent CGI, which outlive the requests that start them: none of them outlives its test.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::cgi::{Cgi, Output};
use crate::support::client::Request;
use crate::support::gateway::binary;
use crate::support::process_table;
use crate::support::wait;

/// The application of most of these tests.
pub(crate) const APP: &str = "persistent:application";

/// What an answer says that came whole.
#[track_caller]
pub(crate) fn body(output: &Output) -> String {
    let response = output.response();
    assert_eq!((output.code, response.status), (0, 200), "{output:#?}");
    String::from_utf8(response.body).unwrap()
}

/// The directory that the responders of one test have their files in. Dropping it ends them.
pub(crate) struct Home {
    folder: TempDir,
    ended: bool,
}

/// A row of `wsgi-gateway ps`.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) application: String,
    pub(crate) pid: u32,
    pub(crate) requests: u64,
    pub(crate) processes: usize,
}

/// Puts empty folders over those in which a gateway or a persistent application of the machine's, or of another test's, would be
/// found: what is said without a name means all that there is.
const HIDING: &str = r#"
for at in /run/wsgi-gateway /run/user ~root/.cache/wsgi-gateway /tmp/wsgi-gateway-*; do
    mount -t tmpfs none "$at" 2>/dev/null || [ ! -d "$at" ] || exit 1
done
exec "$@""#;

/// Whether this user may hide folders from a process.
fn can_hide() -> bool {
    static CAN: LazyLock<bool> = LazyLock::new(|| {
        let tried = Command::new("/usr/bin/unshare")
            .args(["--mount", "/bin/sh", "-c", HIDING, "sh", "true"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    });
    *CAN
}

impl Home {
    pub(crate) fn new() -> Home {
        let folder = TempDir::with_prefix("wsgi.gateway-test-home-").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        let ended = false;
        Home { folder, ended }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the responders have their files.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("wsgi-gateway")
    }

    /// The names of those files that end so.
    pub(crate) fn named(&self, ending: &str) -> Vec<PathBuf> {
        let found = fs::read_dir(self.files()).into_iter().flatten().flatten();
        let found = found.map(|entry| entry.path());
        found
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect()
    }

    /// What all logs say.
    pub(crate) fn log(&self) -> String {
        let logs = self.named(".log").into_iter();
        logs.map(|path| fs::read_to_string(path).unwrap_or_default())
            .collect()
    }

    /// A request to the application by a program that keeps it alive.
    pub(crate) fn request(&self, app: impl AsRef<OsStr>, request: &Request) -> Cgi {
        Cgi::new(app, request)
            .option("--persistent")
            .env("XDG_RUNTIME_DIR", self.path())
    }

    pub(crate) fn get(&self, app: impl AsRef<OsStr>, path: &str) -> Cgi {
        self.request(app, &Request::get(path))
    }

    /// This program with these words, as the user of the responders.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        let cgi = Cgi::bare("").program(binary()).words(words);
        cgi.env("XDG_RUNTIME_DIR", self.path()).run()
    }

    /// The same where it finds nothing else, if this user may see to that: for words that mean all that there is.
    pub(crate) fn command_apart(&self, words: &[&str]) -> Output {
        if !can_hide() {
            return self.command(words);
        }
        let program = binary();
        let program = program.to_str().unwrap();
        let before = ["--mount", "/bin/sh", "-c", HIDING, "sh", program];
        Cgi::bare("")
            .program("/usr/bin/unshare")
            .words(&[&before, words].concat())
            .env("XDG_RUNTIME_DIR", self.path())
            .env("TMPDIR", self.path())
            .run()
    }

    /// What lives here.
    #[track_caller]
    pub(crate) fn ps(&self) -> Vec<Row> {
        let output = self.command(&["ps"]);
        assert_eq!(output.code, 0, "{output:#?}");
        let text = output.text();
        // Above it there may be gateways of this machine's.
        let is_above = |line: &&str| !line.starts_with("APPLICATION ");
        let rows = text.lines().skip_while(is_above).skip(1).map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            Row {
                application: cells[0].to_owned(),
                pid: cells[1].parse().unwrap(),
                requests: cells[3].parse().unwrap(),
                processes: cells[4].parse().unwrap(),
            }
        });
        rows.collect()
    }

    /// The only responder.
    #[track_caller]
    pub(crate) fn only(&self) -> Row {
        // In root's own home there may be another test's for a moment; one too many here would stay.
        self.wait_for("a time with one responder", || match &self.ps()[..] {
            [row] => Some(row.clone()),
            _ => None,
        })
    }

    /// Waits until that holds.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        wait::answer(ask, || format!("{what} does not come:\n{}", self.log()))
    }

    /// Ends all of them, and sees that nothing is left.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.ended = true;
        let rows = self.ps();
        let pids = rows.iter().flat_map(|row| {
            let workers = process_table::children(row.pid);
            workers.into_iter().chain([row.pid])
        });
        let pids: Vec<u32> = pids.collect();
        let output = self.command_apart(&["stop", "--all"]);
        assert_eq!(output.code, 0, "{output:#?}\n{}", self.log());
        for pid in pids {
            self.wait_for(&format!("the end of {pid}"), || {
                (!process_table::is_alive(pid)).then_some(())
            });
        }
        for ending in [".sock", ".account"] {
            let left = self.named(ending);
            assert!(left.is_empty(), "{left:?} is left:\n{}", self.log());
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Of a test that may have failed: what it has left alive is ended by number, also where `ps` is what has failed.
        let _ = Command::new(binary())
            .args(["stop", "--all"])
            .env("XDG_RUNTIME_DIR", self.path())
            .output();
        for path in self.named(".account") {
            let text = fs::read_to_string(path).unwrap_or_default();
            let pid = text.split(' ').next().and_then(|pid| pid.parse().ok());
            if let Some(pid) = pid {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}
