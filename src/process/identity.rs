//! As whom a process runs, and under which limits: what is done once in a new worker.

use std::ffi::CString;

use nix::sys::prctl::{get_dumpable, set_dumpable, set_no_new_privs};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgid, setgroups, setuid};

/// User, group, file mode mask and limit of open files.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    user: Option<(Uid, CString)>,
    group: Option<Gid>,
    umask: Option<u32>,
    /// The soft and the hard limit.
    open_files: Option<(u64, u64)>,
    no_new_privileges: bool,
}

impl Identity {
    /// Looks up `--user` and `--group`. A user without a group brings his own. Says so where `--max-open-files` is more
    /// than may be had: here, and not in every worker.
    ///
    /// # Errors
    /// One sentence when there is no such user or group, or when this process may not become it.
    pub fn new(
        user: Option<&str>,
        group: Option<&str>,
        umask: Option<u32>,
        open_files: Option<u64>,
    ) -> Result<Self, String> {
        let open_files = open_files.map(within_hard_limit);
        let found = user.map(|name| look_up(name, "--user")).transpose()?;
        let own = found.as_ref().map(|user| user.gid);
        let group = match group {
            Some(name) => Some(find_group(name, "--group")?),
            None => own,
        };
        if (found.is_some() || group.is_some()) && !geteuid().is_root() {
            let is_same = found.as_ref().is_none_or(|user| user.uid == geteuid())
                && group.is_none_or(|group| group == nix::unistd::getegid());
            if !is_same {
                return Err(
                    "--user and --group need the gateway to be started as root; leave them out, or start it as root"
                        .to_owned(),
                );
            }
            return Ok(Self {
                umask,
                open_files,
                ..Self::default()
            });
        }
        let user = match found {
            Some(user) => {
                let name = CString::new(user.name).map_err(|_| "a user's name has a NUL")?;
                Some((user.uid, name))
            }
            None => None,
        };
        Ok(Self {
            user,
            group,
            umask,
            open_files,
            no_new_privileges: false,
        })
    }

    /// The same, and without the right to gain privileges by running a setuid or setgid program, if that is wanted.
    pub fn without_new_privileges(mut self, wanted: bool) -> Self {
        self.no_new_privileges = wanted;
        self
    }

    /// Whether what takes this on still runs as root.
    pub fn is_root(&self) -> bool {
        let uid = self.user.as_ref().map_or_else(geteuid, |user| user.0);
        uid.is_root()
    }

    /// Files that who has taken this on may have open, where it says so.
    pub fn open_files(&self) -> Option<u64> {
        self.open_files.map(|(soft, _)| soft)
    }

    /// Takes it on. Root's rights cannot be had back.
    ///
    /// # Errors
    /// One sentence about what the kernel refused.
    pub fn take_on(&self) -> Result<(), String> {
        let told = |what: &str| {
            let what = what.to_owned();
            move |error: nix::Error| format!("cannot {what}: {error}")
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
            match &self.user {
                Some((_, name)) => initgroups(name, group),
                None => setgroups(&[group]),
            }
            .map_err(told("take on the groups of --user and --group"))?;
            setgid(group).map_err(told("become the group of --group"))?;
        }
        if let Some((uid, _)) = &self.user {
            setuid(*uid).map_err(told("become the user of --user"))?;
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
pub(super) fn find_user(name: &str, option: &str) -> Result<Uid, String> {
    name.parse()
        .map(Uid::from_raw)
        .or_else(|_| look_up(name, option).map(|user| user.uid))
}

/// A group's number by its name or number.
pub(super) fn find_group(name: &str, option: &str) -> Result<Gid, String> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name)
        .map_err(|error| format!("cannot look up the group '{name}' of {option}: {error}"))?;
    found.map(|group| group.gid).ok_or_else(|| {
        format!("there is no group '{name}' for {option}: name another, or leave it out")
    })
}

fn look_up(name: &str, option: &str) -> Result<User, String> {
    let found = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    found
        .map_err(|error| format!("cannot look up the user '{name}' of {option}: {error}"))?
        .ok_or_else(|| {
            format!("there is no user '{name}' for {option}: name another, or leave it out")
        })
}
