//! The responders of this user that live.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::name::InstanceName;
use crate::process::{Account, PrivateDirectory};

/// A responder that lives.
#[derive(Clone, Debug)]
pub struct Living {
    /// What it says of itself.
    pub account: Account,
    pub(super) name: InstanceName,
    pub(super) folder: PathBuf,
}

impl Living {
    /// Has nobody find it any more: the next request starts another.
    fn hide(&self) {
        // One that has ended has removed it itself.
        let _ = std::fs::remove_file(self.folder.join(self.name.socket()));
    }

    /// Has it end when it has finished what it is at.
    pub fn end(&self) {
        self.hide();
        if self.is_there() {
            // It has its number until the lock of its account is free.
            let _ = kill(Pid::from_raw(self.account.pid), Signal::SIGTERM);
        }
    }

    /// How many processes it has, and how many bytes of memory are resident in them.
    pub fn size(&self) -> (usize, u64) {
        let master = self.account.pid;
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let sizes = processes.filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let (parent, resident) = parent_and_size(pid)?;
            (pid == master || parent == master).then_some(resident)
        });
        sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size))
    }

    /// Whether it still is there.
    pub fn is_there(&self) -> bool {
        let path = self.folder.join(self.name.account());
        Account::of_living(&path).is_some_and(|account| account.pid == self.account.pid)
    }
}

/// A process's parent, and its resident memory in bytes (proc_pid_stat(5)).
fn parent_and_size(pid: i32) -> Option<(i32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let pages: u64 = fields.nth(19)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some((parent, pages * u64::try_from(page).ok()?))
}

/// All of them, wherever their environments had them put their files.
pub fn living() -> Vec<Living> {
    let mut found: Vec<Living> = PrivateDirectory::all().iter().flat_map(living_in).collect();
    found.sort_by(|one, other| {
        let key = |it: &Living| (it.account.application.clone(), it.account.since);
        key(one).cmp(&key(other))
    });
    found
}

/// Those of one directory.
pub(super) fn living_in(directory: &PrivateDirectory) -> Vec<Living> {
    let names = directory.names();
    let found = names.iter().filter_map(|name| {
        Some(Living {
            // Nothing else there is looked at, or removed.
            name: InstanceName::in_file(name)?,
            account: Account::of_living(&directory.path().join(name))?,
            folder: directory.path().to_owned(),
        })
    });
    found.collect()
}
