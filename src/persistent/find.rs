//! Finds the responder of an application, or starts it.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket,
};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, geteuid};
use thiserror::Error;

use super::environment;
use super::listing::living_in;
use super::name::InstanceName;
use crate::process::{self, AccountFile};
use crate::process::{NoDirectory, PrivateDirectory};

/// How long others that start a responder at the same time may take for that: they only make a process.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether they are done.
const LOOK: Duration = Duration::from_millis(2);

/// How long the log of an application is kept that nobody asks for any more, at least not with these settings and this gateway.
const LOG_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The file that is locked by who starts a responder.
const LOCK: &str = "lock";

/// A connection to a responder of this user's.
#[derive(Debug)]
pub struct ResponderSocket {
    pub(super) socket: UnixStream,
}

/// How a responder is started.
pub struct ResponderStart<'a> {
    /// Its name.
    pub name: InstanceName,
    /// Its name as things are now: they may have changed while others were waited for.
    pub name_now: &'a dyn Fn() -> io::Result<InstanceName>,
    /// This program's file.
    pub program: &'a Path,
    /// What it is to be told, for the responder of this name that accounts for itself in this file, which it inherits.
    pub launch: &'a dyn Fn(&InstanceName, RawFd) -> io::Result<OwnedFd>,
    /// The word in front of the number of the descriptor of what it is told.
    pub word: &'a str,
    /// What `ps` shows behind that.
    pub title: &'a OsStr,
}

/// Why there is no responder.
#[derive(Debug, Error)]
pub enum NotFound {
    /// There is no place for its socket.
    #[error(transparent)]
    NoDirectory(#[from] NoDirectory),
    /// It cannot be started.
    #[error("the responder cannot be started: {0}")]
    CannotStart(#[from] io::Error),
    /// Somebody else has something under its name.
    #[error("the responder's socket belongs to the user {0}")]
    NotOurs(Uid),
    /// It has not lived for long enough to read a request, twice.
    #[error("the responder ends as soon as it is started (its log is in {})", .0.display())]
    EndsAtOnce(PathBuf),
}

/// Connects to the responder, which is started where there is none. This process must have a single thread.
///
/// # Errors
/// Why there is none.
pub fn connect(
    directory: &PrivateDirectory,
    responder: &ResponderStart<'_>,
) -> Result<ResponderSocket, NotFound> {
    if let Some(found) = try_connect(directory, &responder.name)? {
        return Ok(found);
    }
    let locked = lock(directory)?;
    // Another may have started it meanwhile, for what the files are now.
    let name = (responder.name_now)()?;
    if let Some(found) = try_connect(directory, &name)? {
        return Ok(found);
    }
    start(directory, responder, &name)?;
    drop(locked);
    match try_connect(directory, &name)? {
        Some(found) => Ok(found),
        None => Err(NotFound::EndsAtOnce(directory.path().to_owned())),
    }
}

fn try_connect(
    directory: &PrivateDirectory,
    name: &InstanceName,
) -> Result<Option<ResponderSocket>, NotFound> {
    let socket = match UnixStream::connect(directory.short(&name.socket())) {
        Ok(socket) => socket,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
            _ => return Err(error.into()),
        },
    };
    let peer = getsockopt(&socket, PeerCredentials).map_err(io::Error::from)?;
    let peer = Uid::from_raw(peer.uid());
    if peer != geteuid() {
        return Err(NotFound::NotOurs(peer));
    }
    Ok(Some(ResponderSocket { socket }))
}

/// Waits until nobody else starts a responder.
fn lock(directory: &PrivateDirectory) -> io::Result<Flock<File>> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file: File = openat(directory.as_fd(), LOCK, flags, private())?.into();
    let until = Instant::now() + PATIENCE;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((file, nix::Error::EAGAIN | nix::Error::EINTR)) if Instant::now() < until => file,
            Err((_, nix::Error::EAGAIN)) => {
                return Err(io::Error::other(format!(
                    "another program keeps {} locked",
                    directory.path().join(LOCK).display()
                )));
            }
            Err((_, error)) => return Err(error.into()),
        };
        std::thread::sleep(LOOK);
    }
}

fn private() -> Mode {
    Mode::S_IRUSR | Mode::S_IWUSR
}

/// Starts the responder: from here on whoever connects waits for it.
fn start(
    directory: &PrivateDirectory,
    responder: &ResponderStart<'_>,
    name: &InstanceName,
) -> io::Result<()> {
    clear(directory);
    let path = directory.short(&name.socket());
    // One that nobody has answered on.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // From here on it counts as living, if only in this process.
    let account = AccountFile::make(&directory.path().join(name.account()))?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // Nobody else can come into the directory.
    bind(listener.as_raw_fd(), &UnixAddr::new(&path)?)?;
    listen(&listener, Backlog::MAXCONN)?;
    let started = spawn(directory, responder, name, &listener, &account);
    if started.is_err() {
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(directory.path().join(name.account()));
        return started;
    }
    // Those of another state finish what they have, and nobody finds them any more.
    for other in living_in(directory) {
        if other.name.is_other_state_of(name) {
            other.end();
        }
    }
    Ok(())
}

/// Removes what responders have left that were killed.
pub fn clear_left() {
    for directory in PrivateDirectory::all() {
        if let Ok(_locked) = lock(&directory) {
            clear(&directory);
        }
    }
}

/// As [`clear_left`] in one directory, by who has its lock.
fn clear(directory: &PrivateDirectory) {
    let in_use: Vec<String> = living_in(directory)
        .iter()
        .map(|it| it.name.log())
        .collect();
    for file in directory.names() {
        let path = directory.path().join(&file);
        let is_log = file.contains(".log") && !in_use.iter().any(|log| file.starts_with(log));
        if is_log && is_older(&path, LOG_AGE) {
            let _ = fs::remove_file(&path);
        }
        let Some(name) = InstanceName::in_file(&file) else {
            continue;
        };
        let account = directory.path().join(file);
        if AccountFile::is_left(&account) {
            let _ = fs::remove_file(directory.path().join(name.socket()));
            let _ = fs::remove_file(account);
        }
    }
}

/// Whether nothing was written to the file for so long.
fn is_older(file: &Path, age: Duration) -> bool {
    let written = fs::metadata(file).and_then(|found| found.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|since| since > age))
}

fn spawn(
    directory: &PrivateDirectory,
    responder: &ResponderStart<'_>,
    name: &InstanceName,
    listener: &OwnedFd,
    account: &File,
) -> io::Result<()> {
    let launch = (responder.launch)(name, account.as_raw_fd())?;
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_CREAT
        | OFlag::O_NOFOLLOW
        | OFlag::O_CLOEXEC
        | OFlag::O_NONBLOCK;
    // What comes before its log, and what only a fault of its own says.
    let output = openat(directory.as_fd(), name.log().as_str(), flags, private())?;
    let word = format!("{}{}", responder.word, launch.as_raw_fd());
    let words = [OsStr::new(&word), responder.title];
    let variables: Vec<CString> = environment::of_responder();
    let program = responder.program;
    let kept = [launch.as_fd(), account.as_fd()];
    // SAFETY: a relay has one thread.
    unsafe { process::start_detached(program, &words, &variables, listener, &output, &kept) }
}
