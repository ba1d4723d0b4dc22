//! Whether an address can be listened on, and whether the web server gets to it, asked without listening. That somebody listens
//! there is no matter here: it may be the gateway that is asked about.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::socket::UnixAddr;
use nix::sys::stat::SFlag;
use nix::unistd::{
    AccessFlags, Gid, Uid, User, faccessat, getegid, geteuid, getgrouplist, getgroups,
};

use super::Address;
use super::bind_error::BindError;
use super::folder::{Entry, is};
use super::listener::{SocketOwner, refused_path};
use super::tcp::bind_port;

/// Whether this process could listen on the address, and give the socket to whom the operator says.
///
/// # Errors
/// What is in the way, and the way out.
pub fn look_at(address: &Address, owner: &SocketOwner) -> Result<(), BindError> {
    match address {
        Address::Unix(path) => look_at_path(address, path, owner),
        Address::Tcp(host, port) => look_at_port(address, host, *port),
        // Made by somebody else, or by nobody before it is bound.
        Address::Abstract(_) | Address::Fd(_) | Address::Systemd => Ok(()),
    }
}

fn look_at_port(address: &Address, host: &str, port: u16) -> Result<(), BindError> {
    match bind_port(address, host, port) {
        Ok(_) | Err(BindError::Taken { .. } | BindError::Twice(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn look_at_path(address: &Address, path: &Path, owner: &SocketOwner) -> Result<(), BindError> {
    let told = refused_path(address, path);
    UnixAddr::new(path).map_err(|error| match error {
        nix::Error::ENAMETOOLONG => BindError::LongPath(address.clone()),
        error => told(error.into()),
    })?;
    let (uid, gid) = owner.find()?;
    let path = std::path::absolute(path).map_err(&told)?;
    let folder = path.parent().unwrap_or(&path);
    let access = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(nix::fcntl::AT_FDCWD, folder, access, AtFlags::AT_EACCESS)
        .map_err(|error| told(error.into()))?;
    let found = Entry::at(&path).and_then(|entry| entry.look());
    if found.is_ok_and(|found| !is(&found, SFlag::S_IFSOCK)) {
        return Err(BindError::NoSocket(address.clone()));
    }
    if !may_give(uid, gid) {
        let (address, error) = (address.clone(), nix::Error::EPERM.into());
        return Err(BindError::Owner { address, error });
    }
    if let Some(folder) = closed_folder(folder, &SocketPeer::new(uid, gid)) {
        let who = [("user", &owner.user), ("group", &owner.group)]
            .into_iter()
            .filter_map(|(kind, name)| {
                let name = name.as_deref()?;
                Some(format!("the {kind} '{name}' of --socket-{kind}"))
            });
        return Err(BindError::OutOfReach {
            address: address.clone(),
            folder,
            who: who.collect::<Vec<_>>().join(" and "),
        });
    }
    if gid.is_some() && uid.is_none() && owner.mode & 0o022 == 0 {
        return Err(BindError::NotForGroup {
            address: address.clone(),
            mode: owner.mode,
        });
    }
    Ok(())
}

/// Whether this process may give a file of its own to these.
fn may_give(uid: Option<Uid>, gid: Option<Gid>) -> bool {
    let has = |gid| gid == getegid() || getgroups().is_ok_and(|groups| groups.contains(&gid));
    geteuid().is_root() || uid.is_none_or(|uid| uid == geteuid()) && gid.is_none_or(has)
}

/// Who is to connect, as far as that is known.
struct SocketPeer {
    uid: Option<Uid>,
    groups: Vec<Gid>,
}

impl SocketPeer {
    fn new(uid: Option<Uid>, gid: Option<Gid>) -> Self {
        let account = uid.and_then(|uid| User::from_uid(uid).ok().flatten());
        let own = account.and_then(|account| {
            let name = std::ffi::CString::new(account.name).ok()?;
            getgrouplist(&name, account.gid).ok()
        });
        Self {
            uid,
            groups: own.into_iter().flatten().chain(gid).collect(),
        }
    }

    fn is_known(&self) -> bool {
        self.uid.is_some() || !self.groups.is_empty()
    }

    /// Whether it gets through a folder.
    fn gets_through(&self, path: &Path, found: &Metadata) -> bool {
        let may = |bit: u32| found.mode() & bit != 0;
        let is_own = self
            .uid
            .is_some_and(|uid| uid.is_root() || uid.as_raw() == found.uid() && may(0o100));
        let mut groups = self.groups.iter();
        let of_group = groups.any(|gid| gid.as_raw() == found.gid()) && may(0o010);
        is_own || of_group || may(0o001) || has_list(path)
    }
}

/// The first folder on the way to this one, itself among them, that is closed to who is to connect.
fn closed_folder(folder: &Path, peer: &SocketPeer) -> Option<PathBuf> {
    if !peer.is_known() {
        return None;
    }
    let folder = folder.canonicalize().ok()?;
    let mut all: Vec<&Path> = folder.ancestors().collect();
    all.reverse();
    let is_closed = |path: &&&Path| {
        let found = fs::metadata(path);
        found.is_ok_and(|found| !peer.gets_through(path, &found))
    };
    all.iter().find(is_closed).map(|path| path.to_path_buf())
}

/// Whether a list says more than the mode of who may do what (acl(5)).
fn has_list(path: &Path) -> bool {
    const NAME: &std::ffi::CStr = c"system.posix_acl_access";
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: both names end in a zero and outlive the call, which writes nothing for a length of 0.
    unsafe { nix::libc::getxattr(path.as_ptr(), NAME.as_ptr(), std::ptr::null_mut(), 0) > 0 }
}
