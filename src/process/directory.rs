//! The directory of this user's responders: nobody else can put anything there, or connect to what is there.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Uid, User, geteuid};

use thiserror::Error;

/// That none of the usual places can be used, and why.
#[derive(Debug, Error)]
#[error("there is no directory for sockets that is this user's alone: {0}")]
pub struct NoDirectory(String);

/// A directory that is this user's alone, held open.
#[derive(Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
    fd: OwnedFd,
}

impl PrivateDirectory {
    /// The first of the usual places that can be used, made where it is missing.
    ///
    /// # Errors
    /// Why each of them cannot.
    pub fn find() -> Result<Self, NoDirectory> {
        let mut reasons = Vec::new();
        for place in places() {
            match Self::at(&place, true) {
                Ok(found) => return Ok(found),
                Err(reason) => reasons.push(format!("{}: {reason}", place.display())),
            }
        }
        Err(NoDirectory(reasons.join("; ")))
    }

    /// All of them that are there, for who looks for what others have started: environments differ.
    pub fn all() -> Vec<Self> {
        let found = places().filter_map(|it| Self::at(&it, false).ok());
        found.collect()
    }

    fn at(path: &Path, make: bool) -> Result<Self, String> {
        let look = || {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            open(path, flags, Mode::empty())
        };
        let fd = match look() {
            Err(nix::Error::ENOENT) if make => {
                let mut builder = fs::DirBuilder::new();
                // Its parent, too, where that is .cache in a fresh home.
                builder.mode(0o700).recursive(is_in_home(path));
                builder.create(path).or_else(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => Ok(()),
                    _ => Err(error.to_string()),
                })?;
                look()
            }
            found => found,
        };
        let fd = fd.map_err(|error| match error {
            nix::Error::ENOTDIR | nix::Error::ELOOP => "it is no directory".to_owned(),
            error => error.desc().to_owned(),
        })?;
        let found = fstat(&fd).map_err(|error| error.desc().to_owned())?;
        let mode = found.st_mode & 0o777;
        if found.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
            return Err("it is no directory".to_owned());
        }
        if Uid::from_raw(found.st_uid) != geteuid() {
            return Err("it belongs to another user".to_owned());
        }
        if mode & 0o077 != 0 {
            return Err(format!(
                "others may use it (mode {mode:04o}, 0700 is wanted)"
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            fd,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path for what is in it, of which a socket's is not too long.
    pub fn short(&self, name: &str) -> PathBuf {
        /// What `sun_path` holds beside its end (unix(7)).
        const MOST: usize = 107;
        let path = self.path.join(name);
        if path.as_os_str().len() <= MOST {
            return path;
        }
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd()).into()
    }

    /// The names in it.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.collect()
    }
}

impl AsFd for PrivateDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Where the directory may be, the best first.
fn places() -> impl Iterator<Item = PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|it| it.is_absolute())
    };
    let runtime = absolute("XDG_RUNTIME_DIR").map(|it| it.join("wsgi-gateway"));
    let temporary = absolute("TMPDIR").unwrap_or_else(|| "/tmp".into());
    let temporary = temporary.join(format!("wsgi-gateway-{}", geteuid()));
    // HOME is the web server's to set, and not set by most. To be looked up only where it is needed: that takes a while.
    let home = std::iter::once_with(|| {
        let user = User::from_uid(geteuid()).ok().flatten()?;
        Some(user.dir.join(HOME))
    });
    runtime.into_iter().chain([temporary]).chain(home.flatten())
}

const HOME: &str = ".cache/wsgi-gateway";

fn is_in_home(path: &Path) -> bool {
    path.ends_with(HOME)
}

#[cfg(test)]
mod tests {
    use super::PrivateDirectory;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_a_directory_of_this_user_s_own_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own");
        assert!(PrivateDirectory::at(&path, false).is_err());
        assert!(PrivateDirectory::at(&path, true).is_ok());
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(
            PrivateDirectory::at(&link, true).unwrap_err(),
            "it is no directory"
        );
        for mode in [0o750, 0o707, 0o711] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = PrivateDirectory::at(&path, true).unwrap_err();
            assert!(error.contains("others may use it"), "{error}");
        }
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(
            PrivateDirectory::at(&file, true).unwrap_err(),
            "it is no directory"
        );
    }
}
