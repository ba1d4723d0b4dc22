//! Makes listening sockets, or takes those that this process was started with.
//!
//! A Unix socket has its mode and owner before anyone can connect; one that is left over is replaced, one on which
//! somebody answers is not; and only the process that made it removes it.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::sockopt::{AcceptConn, PeerCredentials, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect,
    getsockname, getsockopt, listen, setsockopt, socket,
};
use nix::sys::stat::{Mode, SFlag, umask};
use nix::unistd::{Gid, Uid, dup2_stdin};

use super::Address;
use super::bind_error::BindError;
use super::folder::{Entry, is};
use super::holder::AddressHolder;
use super::identity::{IdentityError, find_group, find_user};
use super::tcp::bind_port;
use crate::gateway::closed;

/// Mode and owner of a Unix socket in the file system.
#[derive(Clone, Debug)]
pub struct SocketOwner {
    /// Permission bits; connecting needs the write bit.
    pub mode: u32,
    /// A user's name or number.
    pub user: Option<String>,
    /// A group's name or number.
    pub group: Option<String>,
}

impl SocketOwner {
    /// The user and the group, where they are named.
    ///
    /// # Errors
    /// When there is no such user or group.
    pub(super) fn find(&self) -> Result<(Option<Uid>, Option<Gid>), IdentityError> {
        let user = self.user.as_deref();
        let group = self.group.as_deref();
        Ok((
            user.map(|name| find_user(name, "--socket-user"))
                .transpose()?,
            group
                .map(|name| find_group(name, "--socket-group"))
                .transpose()?,
        ))
    }
}

/// A listening socket, and the file to remove with it.
#[derive(Debug)]
pub struct Bound {
    /// Listens, does not block, closes on exec.
    pub socket: OwnedFd,
    /// Where, for messages.
    pub name: String,
    /// Whether it is a TCP socket.
    pub tcp: bool,
    /// Its file, if it has one that is ours.
    pub file: Option<SocketFile>,
}

/// A socket's file, removed with this if it still is the same and this still is the process that made it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    owner: u32,
}

impl Bound {
    /// Another handle on the socket, which does not care for its file.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            name: self.name.clone(),
            tcp: self.tcp,
            file: None,
        })
    }

    /// A socket that another process of ours has made and passed on.
    pub fn passed(socket: OwnedFd) -> Self {
        Self {
            name: String::new(),
            tcp: is_tcp(&socket),
            file: None,
            socket,
        }
    }
}

impl SocketFile {
    /// The file at this path, which is this process's to remove.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
            owner: std::process::id(),
        })
    }

    /// Whether the file at the path still is this socket's.
    pub(super) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            let _ = Entry::at(&self.path).and_then(|it| it.remove(self.device, self.inode));
        }
    }
}

/// Listens on an address with a queue of `backlog` connections. systemd may give several sockets.
///
/// # Errors
/// Which address, what is in the way, and the way out.
pub fn bind(address: &Address, backlog: i32, owner: &SocketOwner) -> Result<Vec<Bound>, BindError> {
    let told = BindError::refused(address);
    let bound = match address {
        Address::Unix(path) => vec![bind_unix(address, path, backlog, owner)?],
        Address::Abstract(name) => {
            let place =
                UnixAddr::new_abstract(name.as_bytes()).map_err(|error| told(error.into()))?;
            let socket =
                bind_socket(AddressFamily::Unix, &place).map_err(|error| match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        BindError::taken(address.clone(), holder_at(&place))
                    }
                    _ => told(error),
                })?;
            start(&socket, backlog).map_err(told)?;
            vec![Bound {
                socket,
                name: address.to_string(),
                tcp: false,
                file: None,
            }]
        }
        Address::Tcp(host, port) => bind_tcp(address, host, *port, backlog)?,
        Address::Fd(fd) => vec![inherited(*fd)?],
        Address::Systemd => systemd()?,
    };
    Ok(bound)
}

/// Whether this descriptor is a listening socket. "Is a socket" would not do: small CGI servers and mod_cgid start a
/// program with a connected one.
pub fn is_listening(fd: BorrowedFd<'_>) -> bool {
    getsockopt(&fd, AcceptConn).unwrap_or(false)
}

/// Whether this listening socket still listens. A Unix socket that was shut down says that it does, and tells by poll(2).
pub(super) fn listens(socket: BorrowedFd<'_>) -> bool {
    let closed = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
    let mut fds = [PollFd::new(socket, closed)];
    // Errors are told without being asked for.
    let is_over = poll(&mut fds, PollTimeout::ZERO) != Ok(0);
    is_listening(socket) && !is_over
}

/// Whether this socket is a TCP socket.
pub fn is_tcp(socket: &OwnedFd) -> bool {
    let family = getsockname::<SockaddrStorage>(socket.as_raw_fd())
        .ok()
        .and_then(|name| name.family());
    matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6))
}

/// Takes a listening socket that this process was started with.
///
/// # Errors
/// When the descriptor is no listening socket.
pub fn inherited(fd: RawFd) -> Result<Bound, BindError> {
    // SAFETY: used for one question only, which fails without harm where nothing is open under the number.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if !is_listening(borrowed) {
        return Err(BindError::NotListening(fd));
    }
    let failed = |error: nix::Error| BindError::Unusable { fd, error };
    let copy = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(failed)?;
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(copy) };
    if fd == 0 {
        // Programs that the application starts would inherit it as their standard input.
        let nothing = open(
            "/dev/null",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed)?;
        dup2_stdin(nothing).map_err(failed)?;
    } else if fd > 2 {
        // SAFETY: who started this process gave the descriptor to it, by number and for this purpose.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL).map_err(failed)?);
    fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(failed)?;
    Ok(Bound {
        tcp: is_tcp(&socket),
        socket,
        name: format!("fd:{fd}"),
        file: None,
    })
}

fn systemd() -> Result<Vec<Bound>, BindError> {
    let mut given = listenfd::ListenFd::from_env();
    let mut bound = Vec::new();
    for index in 0..given.len() {
        let fd = given
            .take_raw_fd(index)
            .map_err(|error| BindError::Systemd { index, error })?;
        bound.extend(fd.map(inherited).transpose()?);
    }
    if bound.is_empty() {
        return Err(BindError::NoneOfSystemd);
    }
    Ok(bound)
}

fn bind_unix(
    address: &Address,
    path: &Path,
    backlog: i32,
    owner: &SocketOwner,
) -> Result<Bound, BindError> {
    let told = refused_path(address, path);
    let place = UnixAddr::new(path).map_err(|error| match error {
        nix::Error::ENAMETOOLONG => BindError::LongPath(address.clone()),
        error => told(error.into()),
    })?;
    // First, so that nothing is left behind where there is no such user.
    let (uid, gid) = owner.find()?;
    make_room(address, path)?;
    // The mode is right from the first moment: bind() makes the file with what the umask leaves.
    let rest = Mode::from_bits_truncate(0o777 & !owner.mode);
    let before = umask(rest);
    let socket = bind_socket(AddressFamily::Unix, &place);
    umask(before);
    let socket = socket.map_err(&told)?;
    let entry = Entry::at(path).map_err(&told)?;
    let found = entry.look().map_err(&told)?;
    let file = SocketFile {
        path: std::path::absolute(path).map_err(&told)?,
        device: found.st_dev,
        inode: found.st_ino,
        owner: std::process::id(),
    };
    if uid.is_some() || gid.is_some() {
        // Not by its path, at which there may be a link by now.
        entry
            .give_socket(uid, gid)
            .map_err(|error| BindError::Owner {
                address: address.clone(),
                error,
            })?;
    }
    // Nobody can connect before this.
    start(&socket, backlog).map_err(&told)?;
    Ok(Bound {
        socket,
        name: address.to_string(),
        tcp: false,
        file: Some(file),
    })
}

/// What the kernel says of a path, with what is in the way there.
pub(super) fn refused_path<'a>(
    address: &'a Address,
    path: &'a Path,
) -> impl Fn(io::Error) -> BindError + 'a {
    move |error| {
        let folder = || path.parent().unwrap_or(path).display();
        let reason = match error.kind() {
            io::ErrorKind::NotFound => Some(format!(
                "its folder {} is not there: make it, or choose another path",
                folder()
            )),
            io::ErrorKind::PermissionDenied => Some(match closed::on_the_way(path) {
                Some(closed) => closed,
                None => format!(
                    "{} may not write to its folder {}: choose another path, or open the folder to that user",
                    closed::user(),
                    folder()
                ),
            }),
            _ => None,
        };
        BindError::Refused {
            address: address.clone(),
            error,
            reason,
        }
    }
}

/// Removes a socket that nobody listens on any more; whatever else is at the path stays.
fn make_room(address: &Address, path: &Path) -> Result<(), BindError> {
    let address = address.clone();
    let Ok(entry) = Entry::at(path) else {
        return Ok(());
    };
    let Ok(found) = entry.look() else {
        return Ok(());
    };
    if !is(&found, SFlag::S_IFSOCK) {
        return Err(BindError::NoSocket(address));
    }
    match UnixAddr::new(path)
        .map_err(Into::into)
        .and_then(|place| connect_now(&place))
    {
        Ok(peer) => Err(BindError::taken(address, holder_of(peer))),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!("removing the socket {address}, on which nobody listens any more");
            entry
                .remove(found.st_dev, found.st_ino)
                .map_err(|error| BindError::OldSocket { address, error })
        }
        Err(error) => Err(BindError::Unclear { address, error }),
    }
}

/// Connects without a wait; nothing where somebody listens and has no room for a connection.
fn connect_now(place: &UnixAddr) -> io::Result<Option<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), place) {
        Ok(()) => Ok(Some(socket)),
        Err(nix::Error::EAGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Who listens where this connection leads.
fn holder_of(peer: Option<OwnedFd>) -> AddressHolder {
    let peer = peer.and_then(|peer| getsockopt(&peer, PeerCredentials).ok());
    peer.map_or_else(AddressHolder::unknown, |peer| {
        AddressHolder::of_pid(peer.pid())
    })
}

fn holder_at(place: &UnixAddr) -> AddressHolder {
    connect_now(place).map_or_else(|_| AddressHolder::unknown(), holder_of)
}

fn bind_tcp(
    address: &Address,
    host: &str,
    port: u16,
    backlog: i32,
) -> Result<Vec<Bound>, BindError> {
    let told = BindError::refused(address);
    let socket = bind_port(address, host, port)?;
    start(&socket, backlog).map_err(&told)?;
    // Port 0 is the kernel's choice: say which.
    let socket = TcpListener::from(socket);
    let name = socket.local_addr().map_err(told)?;
    Ok(vec![Bound {
        socket: socket.into(),
        name: format!("tcp:{name}"),
        tcp: true,
        file: None,
    }])
}

pub(super) fn bind_socket(family: AddressFamily, place: &dyn SockaddrLike) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    if family != AddressFamily::Unix {
        // The port of a gateway that just ended would else be refused for a minute.
        setsockopt(&socket, ReuseAddr, &true)?;
    }
    nix::sys::socket::bind(socket.as_raw_fd(), place)?;
    Ok(socket)
}

/// Begins to listen, or goes on.
pub(super) fn start(socket: &OwnedFd, backlog: i32) -> io::Result<()> {
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    if most.is_some_and(|most: i32| most < backlog) {
        log::warn!(
            "the kernel caps --backlog {backlog} at {}: raise net.core.somaxconn or ask for less",
            most.unwrap_or(0)
        );
    }
    Ok(listen(
        socket,
        Backlog::new(backlog).unwrap_or(Backlog::MAXCONN),
    )?)
}

/// Raises this process's limit of open descriptors to at least `wanted`, as far as it may; gives what it is then.
pub fn raise_descriptor_limit(wanted: u64) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let limit = wanted.min(hard);
    if soft < limit && setrlimit(Resource::RLIMIT_NOFILE, limit, hard).is_ok() {
        limit
    } else {
        soft
    }
}
