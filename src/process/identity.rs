//! As whom a process runs, and under which limits: what is done once in a new worker.

use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::prctl::{get_dumpable, set_dumpable, set_no_new_privs};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Group, Uid, User, fchown, getegid, geteuid, initgroups, setgid, setgroups, setuid,
};

use thiserror::Error;

use crate::gateway::closed;

/// The user and the group that own nothing (user_namespaces(7)).
const NOBODY: u32 = 65534;

/// Files that a process has open which serves a few connections at a time: its own, those of Python while it imports, and the
/// application's.
const LEAST_FILES: u64 = 64;

/// User, group, file mode mask and limit of open files.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    user: Option<UserAccount>,
    group: Option<Gid>,
    umask: Option<u32>,
    /// The soft and the hard limit.
    open_files: Option<(u64, u64)>,
    no_new_privileges: bool,
    /// Whether it is taken on as far as the kernel lets, and the rest left.
    is_optional: bool,
}

/// Why a process cannot run as whom the operator says.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum IdentityError {
    #[error("there is no {kind} '{name}' for {option}: name another, or leave it out")]
    Unknown {
        kind: &'static str,
        name: String,
        option: &'static str,
    },
    #[error("cannot look up the {kind} '{name}' of {option}: {error}")]
    NotLookedUp {
        kind: &'static str,
        name: String,
        option: &'static str,
        error: nix::Error,
    },
    #[error(
        "--user and --group need the gateway to be started as root; leave them out, or start it as root"
    )]
    NotRoot,
    #[error(
        "the user {uid} of --user is in no list of users, and the group of this number is '{group}': name the group with \
         --group"
    )]
    OthersGroup { uid: Uid, group: String },
    #[error("{told} is too few for --max-open-files: give at least {least}, or leave it out")]
    TooFewFiles { told: u64, least: u64 },
    #[error("cannot {what}: {error}")]
    Refused { what: String, error: nix::Error },
}

/// A user, with or without an entry among the system's.
#[derive(Clone, Debug)]
struct UserAccount {
    uid: Uid,
    entry: Option<User>,
}

impl Identity {
    /// Looks up `--user` and `--group`. A user without a group brings his own. Says so where `--max-open-files` is more
    /// than may be had: here, and not in every worker.
    ///
    /// # Errors
    /// When there is no such user or group, or when this process may not become it.
    pub fn new(
        user: Option<&str>,
        group: Option<&str>,
        umask: Option<u32>,
        open_files: Option<u64>,
    ) -> Result<Self, IdentityError> {
        if let Some(told) = open_files.filter(|told| *told < LEAST_FILES) {
            return Err(IdentityError::TooFewFiles {
                told,
                least: LEAST_FILES,
            });
        }
        let open_files = open_files.map(within_hard_limit);
        let user = user.map(|name| look_up(name, "--user")).transpose()?;
        let named = group.map(|name| find_group(name, "--group")).transpose()?;
        let settings = Self {
            umask,
            open_files,
            ..Self::default()
        };
        if !geteuid().is_root() {
            let is_same = user.as_ref().is_none_or(|user| user.uid == geteuid())
                && named.is_none_or(|group| group == getegid());
            if !is_same {
                return Err(IdentityError::NotRoot);
            }
            return Ok(settings);
        }
        let own = user.as_ref().filter(|_| named.is_none());
        let own = own.map(UserAccount::group).transpose()?;
        Ok(Self {
            user,
            group: named.or(own),
            ..settings
        })
    }

    /// The same, and without the right to gain privileges by running a setuid or setgid program, if that is wanted.
    pub fn without_new_privileges(mut self, wanted: bool) -> Self {
        self.no_new_privileges = wanted;
        self
    }

    /// Who has no rights at all: where root is who has it taken on, the user 65534 (nobody), which owns nothing.
    pub(super) fn nobody() -> Self {
        let uid = Uid::from_raw(NOBODY);
        Self {
            user: geteuid()
                .is_root()
                .then_some(UserAccount { uid, entry: None }),
            group: geteuid().is_root().then_some(Gid::from_raw(NOBODY)),
            no_new_privileges: true,
            is_optional: true,
            ..Self::default()
        }
    }

    /// Whether what takes this on still runs as root.
    pub fn is_root(&self) -> bool {
        let uid = self.user.as_ref().map_or_else(geteuid, |user| user.uid);
        uid.is_root()
    }

    /// Files that who has taken this on may have open, where it says so.
    pub fn open_files(&self) -> Option<u64> {
        self.open_files.map(|(soft, _)| soft)
    }

    /// Has what takes this on own what it writes its output to, so that it may open /dev/stdout and /dev/stderr, as programs
    /// do that log there.
    pub(super) fn give_output(&self, output: impl AsFd) {
        if let Some(user) = &self.user {
            // It can be written to all the same.
            let _ = fchown(output, Some(user.uid), self.group);
        }
    }

    /// Takes it on. Root's rights cannot be had back.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn take_on(&self) -> Result<(), IdentityError> {
        match self.try_take_on() {
            // As in a user namespace that has one user only.
            Err(error) if self.is_optional => {
                log::debug!("{error}");
                Ok(())
            }
            taken => taken,
        }
    }

    fn try_take_on(&self) -> Result<(), IdentityError> {
        let told = |what: &str| {
            let what = what.to_owned();
            move |error| IdentityError::Refused { what, error }
        };
        if let Some((soft, hard)) = self.open_files {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
                .map_err(told(&format!("set --max-open-files {soft}")))?;
        }
        if let Some(mask) = self.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        let was_dumpable = get_dumpable().unwrap_or(false);
        if let Some(group) = self.group {
            let name = self.user.as_ref().and_then(UserAccount::name);
            match name {
                Some(name) => initgroups(&name, group),
                None => setgroups(&[group]),
            }
            .map_err(told("take on the groups of --user and --group"))?;
            setgid(group).map_err(told("become the group of --group"))?;
        }
        if let Some(user) = &self.user {
            setuid(user.uid).map_err(told("become the user of --user"))?;
            user.set_environment();
            if let Some(entry) = &user.entry {
                closed::run_as(&entry.name);
            }
        }
        if was_dumpable {
            // Whoever changes the user or the group has given this up: /proc/self would go on being root's, and closed to
            // the process itself (PR_SET_DUMPABLE in prctl(2)). There is nothing in its memory that is not the user's.
            set_dumpable(true).map_err(told("have /proc/self as the user of --user"))?;
        }
        if self.no_new_privileges {
            set_no_new_privs().map_err(told("do without new privileges"))?;
        }
        Ok(())
    }
}

impl IdentityError {
    fn unknown(kind: &'static str, name: &str, option: &'static str) -> Self {
        Self::Unknown {
            kind,
            name: name.to_owned(),
            option,
        }
    }

    fn not_looked_up(
        kind: &'static str,
        name: &str,
        option: &'static str,
    ) -> impl FnOnce(nix::Error) -> Self {
        move |error| Self::NotLookedUp {
            kind,
            name: name.to_owned(),
            option,
            error,
        }
    }
}

impl UserAccount {
    /// How initgroups(3) finds its groups.
    fn name(&self) -> Option<CString> {
        let entry = self.entry.as_ref()?;
        CString::new(entry.name.as_str()).ok()
    }

    /// Its own group: without an entry the one of the same number, as `useradd` makes them, unless that is somebody's.
    fn group(&self) -> Result<Gid, IdentityError> {
        if let Some(entry) = &self.entry {
            return Ok(entry.gid);
        }
        let gid = Gid::from_raw(self.uid.as_raw());
        match Group::from_gid(gid) {
            Ok(Some(group)) => Err(IdentityError::OthersGroup {
                uid: self.uid,
                group: group.name,
            }),
            _ => Ok(gid),
        }
    }

    /// What programs and libraries look at for their files and for who they are, and which is root's or the service
    /// manager's up to here. A user without an entry has no name and no place, as in a container.
    fn set_environment(&self) {
        let entry = self.entry.as_ref();
        let name = entry.map(|entry| OsStr::new(&entry.name));
        let home = entry.map_or(Path::new("/"), |entry| &entry.dir);
        let shell = entry.map_or(Path::new("/bin/sh"), |entry| &entry.shell);
        let shell = Some(shell).filter(|shell| !shell.as_os_str().is_empty());
        for (variable, value) in [
            ("HOME", Some(home.as_os_str())),
            ("SHELL", shell.map(Path::as_os_str)),
            ("USER", name),
            ("LOGNAME", name),
            // Where Python's getpass looks next.
            ("LNAME", None),
            ("USERNAME", None),
        ] {
            // SAFETY: this process has a single thread: it was forked just now, or has begun none.
            unsafe {
                match value {
                    Some(value) => std::env::set_var(variable, value),
                    None => std::env::remove_var(variable),
                }
            }
        }
    }
}

/// The soft and the hard limit of open files that come of this wish.
fn within_hard_limit(wanted: u64) -> (u64, u64) {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(wanted, |limits| limits.1);
    if wanted <= hard {
        return (wanted, hard);
    }
    if geteuid().is_root() {
        return (wanted, wanted);
    }
    log::warn!(
        "--max-open-files {wanted} is more than this user may have: it is {hard} (LimitNOFILE= or ulimit -Hn)"
    );
    (hard, hard)
}

/// A user's number by his name or number.
pub(super) fn find_user(name: &str, option: &'static str) -> Result<Uid, IdentityError> {
    look_up(name, option).map(|user| user.uid)
}

/// A group's number by its name or number.
pub(super) fn find_group(name: &str, option: &'static str) -> Result<Gid, IdentityError> {
    let none = || IdentityError::unknown("group", name, option);
    if let Ok(number) = name.parse() {
        return if number == NOBODY_AT_ALL {
            Err(none())
        } else {
            Ok(Gid::from_raw(number))
        };
    }
    let found =
        Group::from_name(name).map_err(IdentityError::not_looked_up("group", name, option))?;
    found.map(|group| group.gid).ok_or_else(none)
}

/// The number that means "leave it as it is" to chown(2) and its like.
const NOBODY_AT_ALL: u32 = u32::MAX;

/// A number is a user also where no list of users has it, as in containers.
fn look_up(name: &str, option: &'static str) -> Result<UserAccount, IdentityError> {
    let number = name.parse().ok().filter(|number| *number != NOBODY_AT_ALL);
    let found = match number {
        Some(number) => User::from_uid(Uid::from_raw(number)),
        None => User::from_name(name),
    };
    let found = found.map_err(IdentityError::not_looked_up("user", name, option))?;
    match (number, found) {
        (_, Some(entry)) => Ok(UserAccount {
            uid: entry.uid,
            entry: Some(entry),
        }),
        (Some(number), None) => Ok(UserAccount {
            uid: Uid::from_raw(number),
            entry: None,
        }),
        (None, None) => Err(IdentityError::unknown("user", name, option)),
    }
}
/// The name of a user; the number where there is none.
pub fn user_name(uid: u32) -> String {
    let found = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    found.map_or_else(|| uid.to_string(), |user| user.name)
}

/// The number of the user that this process acts as.
pub fn own_user() -> u32 {
    geteuid().as_raw()
}
