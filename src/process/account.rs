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

    /// That of the gateway whose file this is, if it lives and has begun it.
    pub fn of_living(path: &Path) -> Option<Self> {
        let file = Entry::at(path).ok()?.open(OFlag::O_RDWR, 0).ok()?;
        if !is_locked(&file) {
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
    /// Makes one for a gateway that is about to be started, and which is to inherit it: the lock, too, is handed on so.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(path: &Path) -> io::Result<File> {
        let entry = Entry::at(path)?;
        // One of the same name may still finish what it is at. Nobody is going to look for it.
        if let Ok(found) = entry.look() {
            entry.remove(found.st_dev, found.st_ino)?;
        }
        let file = entry.open(OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
        lock(&file)?;
        Ok(file)
    }

    /// Whether the gateway is gone that has left this file.
    pub fn is_left(path: &Path) -> bool {
        let file = Entry::at(path).and_then(|entry| entry.open(OFlag::O_RDWR, 0));
        file.is_ok_and(|file| !is_locked(&file))
    }

    /// Begins the one that was made for this gateway, at this path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(file: File, path: &Path, application: &str) -> io::Result<Self> {
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

    /// Puts down what was served so far, and for how long there has been nothing; that not again where it is all that has
    /// changed.
    pub(super) fn note(&mut self, requests: u64, idle: Option<Duration>) {
        let account = &mut self.account;
        let is_same = account.requests == requests;
        if !is_same || account.idle_since.is_some() != idle.is_some() {
            let now = SystemTime::now();
            account.requests = requests;
            account.idle_since = idle.map(|idle| now.checked_sub(idle).unwrap_or(now));
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
        use std::os::unix::fs::MetadataExt;
        if self.account.pid != getpid().as_raw() {
            return;
        }
        if let (Ok(entry), Ok(own)) = (Entry::at(&self.path), self.file.metadata()) {
            let _ = entry.remove(own.dev(), own.ino());
        }
    }
}

/// All of a file, for a lock that belongs to the open file and with that to every process that has inherited it: no child can
/// undo it.
// Constants of one digit.
#[allow(clippy::cast_possible_truncation)]
fn whole() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn lock(file: &File) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole()))?;
    Ok(())
}

/// Whether another has it locked.
fn is_locked(file: &File) -> bool {
    let mut found = whole();
    let asked = fcntl(file, FcntlArg::F_OFD_GETLK(&mut found));
    asked.is_err() || i32::from(found.l_type) != libc::F_UNLCK
}

#[cfg(test)]
mod tests {
    use super::{Account, AccountFile};
    use std::time::Duration;

    #[test]
    fn what_is_put_down_is_read_while_the_gateway_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.account");
        let made = AccountFile::make(&path).unwrap();
        // It lives from here on, and has not said anything yet.
        assert!(Account::of_living(&path).is_none() && !AccountFile::is_left(&path));
        let mut file = AccountFile::begin(made, &path, "my\napp").unwrap();
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
        // Another takes its name, and its end does not take that one's.
        let next = AccountFile::make(&path).unwrap();
        drop(file);
        assert!(path.exists() && !AccountFile::is_left(&path));
        drop(next);
        assert!(AccountFile::is_left(&path) && Account::of_living(&path).is_none());
    }
}
