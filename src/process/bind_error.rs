//! Why there is no listening socket: which address, what is in the way, and the way out.

use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use thiserror::Error;

use super::address::Address;
use super::identity::IdentityError;

/// Why there is no listening socket.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum BindError {
    #[error("cannot listen on {address}: {error}{hint}")]
    Refused {
        address: Address,
        error: io::Error,
        /// What is in the way, behind a semicolon, where that can be told.
        hint: String,
    },
    #[error(
        "cannot listen on {0}: the path of a socket has at most 107 bytes; choose a shorter one"
    )]
    LongPath(Address),
    #[error("cannot listen on {0}: the host has no address")]
    NoHost(Address),
    #[error(
        "cannot listen on {0}: there is something else than a socket at that path; remove it or choose another path"
    )]
    NoSocket(Address),
    #[error(
        "cannot listen on {address}: {who} already listens there; stop it or choose another path"
    )]
    Taken { address: Address, who: String },
    #[error("cannot listen on {address}: whether somebody does cannot be told: {error}")]
    Unclear { address: Address, error: io::Error },
    #[error("cannot remove the old socket {address}: {error}")]
    OldSocket { address: Address, error: io::Error },
    #[error(
        "cannot give {address} to the user and group named: {error}; that needs root, or a group of yours"
    )]
    Owner { address: Address, error: io::Error },
    #[error(
        "the web server does not get to {address}: the folder {folder} is closed to {who}; open it ('chmod o+x'), or choose \
         another path"
    )]
    OutOfReach {
        address: Address,
        folder: PathBuf,
        who: String,
    },
    #[error(
        "nobody of --socket-group may connect to {address}: --socket-mode {mode:04o} has no write bit for the group; 0660 has"
    )]
    NotForGroup { address: Address, mode: u32 },
    #[error(transparent)]
    Account(#[from] IdentityError),
    #[error(
        "descriptor {0} is not a listening socket: it has to be opened by who starts the gateway (a web server, systemd, \
         spawn-fcgi)"
    )]
    NotListening(RawFd),
    #[error("descriptor {fd} cannot be used: {error}")]
    Unusable { fd: RawFd, error: nix::Error },
    #[error("cannot use systemd's socket {index}: {error}")]
    Systemd { index: usize, error: io::Error },
    #[error(
        "cannot listen on systemd's sockets: none were given (LISTEN_FDS is not set for this process); start it by its \
         .socket unit"
    )]
    NoneOfSystemd,
    #[error("somebody has removed or replaced the socket {address}: {error}")]
    Removed { address: Address, error: Box<Self> },
}

impl BindError {
    /// What the kernel says of an address.
    pub(super) fn refused(address: &Address) -> impl Fn(io::Error) -> Self {
        move |error| Self::Refused {
            address: address.clone(),
            error,
            hint: String::new(),
        }
    }

    /// Whether it is another process that has the address.
    pub(super) fn is_taken(&self) -> bool {
        match self {
            Self::Taken { .. } => true,
            Self::Refused { error, .. } => error.kind() == io::ErrorKind::AddrInUse,
            _ => false,
        }
    }
}
