//! The folder that a file of the operator's lies in, and what is done there when others may change it, too.
//!
//! A master that runs as root makes, opens and gives away files whose names lie in folders of other users. Who owns a folder
//! may put something else in a file's place between any two calls: so a path is looked up once, links are followed only
//! where nobody else can have made them, and all that comes after goes through descriptors.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::libc::{mode_t, nlink_t};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, getegid, geteuid, unlinkat};

/// As many links as the kernel follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// To look at, not to read.
const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// A place for a file: a folder, held open, and a name in it.
#[derive(Debug)]
pub(super) struct Entry {
    folder: OwnedFd,
    name: OsString,
    /// Whether the folder is on procfs, whose links are the kernel's own and lead to what no path names.
    is_of_kernel: bool,
}

impl Entry {
    /// The place that a path names, whoever can change the folders on its way. The last name is not followed if it is a
    /// link.
    ///
    /// # Errors
    /// When the folder is not there or closed.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let folder = open(folder, LOOK | OFlag::O_DIRECTORY, Mode::empty())?;
        Self::new(folder, name.to_owned())
    }

    /// The place that a path leads to through all its links, none of which another user can have put there.
    ///
    /// # Errors
    /// When the folder is not there or closed, or when there is such a link.
    pub(super) fn trusted(path: &Path) -> io::Result<Self> {
        Self::walk(path, true)
    }

    /// As [`Entry::trusted`], but the last name is not followed if it is a link.
    ///
    /// # Errors
    /// As [`Entry::trusted`].
    pub(super) fn trusted_itself(path: &Path) -> io::Result<Self> {
        Self::walk(path, false)
    }

    fn walk(path: &Path, follows_last: bool) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut left = components(&path);
        let mut folder = root()?;
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            let is_last = left.is_empty();
            let entry = Self::new(folder, name)?;
            let is_link = entry.look().is_ok_and(|found| is(&found, SFlag::S_IFLNK));
            if is_last && (!is_link || !follows_last || entry.is_of_kernel) {
                return Ok(entry);
            }
            if !is_link || entry.is_of_kernel {
                let follow = if is_link {
                    OFlag::empty()
                } else {
                    OFlag::O_NOFOLLOW
                };
                let flags = LOOK | OFlag::O_DIRECTORY | follow;
                folder = openat(&entry.folder, entry.name.as_os_str(), flags, Mode::empty())?;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(nix::Error::ELOOP.into());
            }
            // Who is not root can do no more by following a link than who made it can let him.
            if (is_last || geteuid().is_root()) && !entry.is_link_trusted()? {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "'{}' on its way is a symbolic link in a folder that other users may change: name what it leads \
                         to",
                        Path::new(&entry.name).display()
                    ),
                ));
            }
            let target = readlinkat(&entry.folder, entry.name.as_os_str())?;
            let target = Path::new(&target);
            folder = if target.is_absolute() {
                root()?
            } else {
                entry.folder
            };
            for name in components(target).into_iter().rev() {
                left.push_front(name);
            }
        }
        Err(io::ErrorKind::IsADirectory.into())
    }

    fn new(folder: OwnedFd, name: OsString) -> io::Result<Self> {
        let is_of_kernel = fstatfs(&folder)?.filesystem_type() == PROC_SUPER_MAGIC;
        Ok(Self {
            folder,
            name,
            is_of_kernel,
        })
    }

    /// What is there, not followed if it is a link.
    pub(super) fn look(&self) -> io::Result<FileStat> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        Ok(fstatat(&self.folder, self.name.as_os_str(), flags)?)
    }

    /// Opens what is there or makes it, without waiting for whoever has the other end of a FIFO (ENXIO: nobody has), and
    /// without following a link.
    ///
    /// # Errors
    /// As open(2), and where another user may have linked one of our files into his folder.
    pub(super) fn open(&self, flags: OFlag, mode: mode_t) -> io::Result<File> {
        let mut flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        if !self.is_of_kernel {
            flags |= OFlag::O_NOFOLLOW;
        }
        let mode = Mode::from_bits_truncate(mode);
        let file = openat(&self.folder, self.name.as_os_str(), flags, mode)?;
        let found = fstat(&file)?;
        if is(&found, SFlag::S_IFREG) && found.st_nlink > ONE && !self.is_ours()? {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it has more than one name, and other users may change its folder",
            ));
        }
        Ok(file.into())
    }

    /// Removes this file, if it is what is there.
    pub(super) fn remove(&self, device: u64, inode: u64) -> io::Result<()> {
        let found = self.look()?;
        if (found.st_dev, found.st_ino) == (device, inode) {
            let name = self.name.as_os_str();
            unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(())
    }

    /// Gives the socket that this process has just made here to a user and a group, if it still is what is there.
    ///
    /// # Errors
    /// When something else is there now, or when this user may not give it away.
    pub(super) fn give_socket(&self, uid: Option<Uid>, gid: Option<Gid>) -> io::Result<()> {
        let flags = LOOK | OFlag::O_NOFOLLOW;
        let file = openat(&self.folder, self.name.as_os_str(), flags, Mode::empty())?;
        let found = fstat(&file)?;
        let is_made_here = is(&found, SFlag::S_IFSOCK)
            && found.st_uid == geteuid().as_raw()
            && found.st_nlink == ONE;
        if !is_made_here {
            return Err(io::Error::other(
                "somebody has put something else in its place",
            ));
        }
        Ok(fchownat(&file, c"", uid, gid, AtFlags::AT_EMPTY_PATH)?)
    }

    /// Whether a link here was made by nobody but root or this user.
    fn is_link_trusted(&self) -> io::Result<bool> {
        let folder = fstat(&self.folder)?;
        let is_sticky = folder.st_mode & Mode::S_ISVTX.bits() != 0;
        let is_shared = is_mine(folder.st_uid) && is_sticky;
        // Where only its owner may replace a file, as in /tmp.
        Ok(self.is_ours()? || (is_shared && is_mine(self.look()?.st_uid)))
    }

    /// Whether nobody but root and this user can put anything into the folder.
    fn is_ours(&self) -> io::Result<bool> {
        let folder = fstat(&self.folder)?;
        let others = Mode::S_IWOTH.bits();
        let group = Mode::S_IWGRP.bits();
        let is_own_group = folder.st_gid == 0 || folder.st_gid == getegid().as_raw();
        let is_shared =
            folder.st_mode & others != 0 || (folder.st_mode & group != 0 && !is_own_group);
        Ok(is_mine(folder.st_uid) && !is_shared)
    }
}

const ONE: nlink_t = 1;

fn is_mine(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// Whether it is of this type.
pub(super) fn is(found: &FileStat, kind: SFlag) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn root() -> nix::Result<OwnedFd> {
    open("/", LOOK | OFlag::O_DIRECTORY, Mode::empty())
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Entry;
    use nix::fcntl::OFlag;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    const READ: OFlag = OFlag::O_RDONLY;

    #[test]
    fn a_path_leads_through_links_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("one/two")).unwrap();
        fs::write(at("one/two/file"), "text").unwrap();
        symlink("one/../one/two", at("current")).unwrap();
        symlink(at("current/file"), at("link")).unwrap();
        for name in [
            "one/two/file",
            "current/file",
            "link",
            "./one/two/../two/file",
        ] {
            let mut text = String::new();
            let entry = Entry::trusted(&at(name)).unwrap();
            entry
                .open(READ, 0)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "text", "{name}");
        }
        symlink("loop", at("loop")).unwrap();
        assert!(Entry::trusted(&at("loop")).is_err());
        // What is not there yet is found where it is going to be.
        symlink("one/new", at("dangling")).unwrap();
        let entry = Entry::trusted(&at("dangling")).unwrap();
        entry.open(OFlag::O_WRONLY | OFlag::O_CREAT, 0o640).unwrap();
        assert_eq!(fs::metadata(at("one/new")).unwrap().mode() & 0o777, 0o640);
        assert!(Entry::trusted(std::path::Path::new("/dev/stderr")).is_ok());
        assert!(Entry::trusted(std::path::Path::new("/")).is_err());
    }

    #[test]
    fn a_link_in_a_folder_of_others_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("shared")).unwrap();
        fs::write(at("secret"), "text").unwrap();
        symlink(at("secret"), at("shared/link")).unwrap();
        fs::hard_link(at("secret"), at("shared/twin")).unwrap();
        fs::set_permissions(at("shared"), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Entry::trusted(&at("shared/link")).unwrap_err();
        assert!(error.to_string().contains("'link'"), "{error}");
        assert!(
            Entry::trusted(&at("shared/twin"))
                .unwrap()
                .open(READ, 0)
                .is_err()
        );
        // A folder such as /tmp: the link is ours.
        fs::set_permissions(at("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(Entry::trusted(&at("shared/link")).is_ok());
        assert!(
            Entry::at(&at("shared/link"))
                .unwrap()
                .open(READ, 0)
                .is_err()
        );
    }

    #[test]
    fn only_a_socket_of_ours_is_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mine = nix::unistd::getegid();
        let give = |name: &str| Entry::at(&at(name)).unwrap().give_socket(None, Some(mine));
        let _socket = UnixListener::bind(at("socket")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink(at("socket"), at("link")).unwrap();
        give("socket").unwrap();
        for name in ["file", "link", "none"] {
            assert!(give(name).is_err(), "{name}");
        }
        fs::hard_link(at("socket"), at("twin")).unwrap();
        assert!(give("socket").is_err());
        assert!(give("twin").is_err());
    }
}
