//! The file in which a gateway that nobody looks after accounts for what it does, for who asks later (`ps`). It is locked for as
//! long as the gateway lives, so that nobody takes what a dead one has left, or another process of its number, for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::getpid;

use super::folder::Entry;

/// As much as such a file is read of.
const MOST: u64 = 64 * 1024;

/// What a gateway says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The master's process id.
    pub pid: i32,
    /// Since when it is there.
    pub since: SystemTime,
    /// Requests that were begun.
    pub requests: u64,
    /// Since when there is none; nothing while there is one.
    pub idle_since: Option<SystemTime>,
    /// The application's name.
    pub application: String,
}

impl Account {
    fn write(&self) -> String {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_millis()
        };
        format!(
            "{} {} {} {}\n{}\n",
            self.pid,
            seconds(self.since),
            self.requests,
            self.idle_since.map_or(0, seconds),
            self.application
        )
    }

    fn read(text: &str) -> Option<Self> {
        let (numbers, rest) = text.split_once('\n')?;
        let numbers: Option<Vec<u64>> = numbers.split(' ').map(|it| it.parse().ok()).collect();
        let [pid, since, requests, idle] = numbers?.try_into().ok()?;
        let time = |millis: u64| UNIX_EPOCH.checked_add(Duration::from_millis(millis));
        Some(Self {
            pid: i32::try_from(pid).ok()?,
            since: time(since)?,
            requests,
            idle_since: time(idle).filter(|_| idle != 0),
            application: rest.lines().next()?.to_owned(),
        })
    }

    /// That of the gateway whose file this is, if it lives; else the file is removed.
    pub fn of_living(path: &Path) -> Option<Self> {
        let entry = Entry::at(path).ok()?;
        let file = entry.open(OFlag::O_RDWR, 0).ok()?;
        if lock(&file).is_ok() {
            use std::os::unix::fs::MetadataExt;
            let found = file.metadata().ok()?;
            let _ = entry.remove(found.dev(), found.ino());
            return None;
        }
        let mut text = String::new();
        file.take(MOST).read_to_string(&mut text).ok()?;
        Self::read(&text)
    }
}

/// The file, as the gateway has it whose it is.
#[derive(Debug)]
pub struct AccountFile {
    file: File,
    path: PathBuf,
    account: Account,
}

impl AccountFile {
    /// Begins one at this path.
    ///
    /// # Errors
    /// When it cannot be made, or another gateway has it.
    pub fn begin(path: &Path, application: String) -> io::Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT;
        let file = Entry::at(path)?.open(flags, 0o600)?;
        lock(&file)?;
        let now = SystemTime::now();
        let this = Self {
            file,
            path: path.to_owned(),
            account: Account {
                pid: getpid().as_raw(),
                since: now,
                requests: 0,
                idle_since: Some(now),
                application: application.replace('\n', " "),
            },
        };
        this.put()?;
        Ok(this)
    }

    /// Puts down what was served so far, and for how long there has been nothing; that not again where it is all that has changed.
    pub(super) fn note(&mut self, requests: u64, idle: Option<Duration>) {
        let account = &mut self.account;
        let is_same = account.requests == requests;
        if !is_same || account.idle_since.is_some() != idle.is_some() {
            let now = SystemTime::now();
            let idle_since = idle.map(|idle| now.checked_sub(idle).unwrap_or(now));
            account.requests = requests;
            account.idle_since = idle_since;
            if let Err(error) = self.put() {
                log::debug!("what was served cannot be put down: {error}");
            }
        }
    }

    fn put(&self) -> io::Result<()> {
        let text = self.account.write();
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for AccountFile {
    fn drop(&mut self) {
        if self.account.pid == getpid().as_raw() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Locks the file for as long as it is open, here or in a child: a lock that no child can undo.
fn lock(file: &File) -> io::Result<()> {
    // Constants of one digit.
    #[allow(clippy::cast_possible_truncation)]
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Account, AccountFile};
    use std::time::Duration;

    #[test]
    fn what_is_put_down_is_read_while_the_gateway_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.account");
        let mut file = AccountFile::begin(&path, "my\napp".to_owned()).unwrap();
        assert!(AccountFile::begin(&path, String::new()).is_err());
        let account = Account::of_living(&path).unwrap();
        assert_eq!(
            (account.requests, account.application.as_str()),
            (0, "my app")
        );
        file.note(12_345, None);
        assert_eq!(Account::of_living(&path).unwrap().requests, 12_345);
        assert_eq!(Account::of_living(&path).unwrap().idle_since, None);
        file.note(7, Some(Duration::from_secs(1)));
        assert_eq!(Account::of_living(&path).unwrap().requests, 7);
        drop(file);
        assert!(!path.exists());
        std::fs::write(&path, "nonsense").unwrap();
        assert_eq!(Account::of_living(&path), None);
        assert!(!path.exists());
    }
}
