//! Why there is no listening socket: which address, what is in the way, and the way out.

use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use thiserror::Error;

use super::address::Address;
use super::holder::AddressHolder;
use super::identity::IdentityError;

/// Why there is no listening socket.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum BindError {
    #[error("cannot listen on {address}: {}", reason.clone().unwrap_or_else(|| error.to_string()))]
    Refused {
        address: Address,
        error: io::Error,
        /// What is in the way, and the way out, where that can be told.
        reason: Option<String>,
    },
    #[error(
        "cannot listen on {0}: the path of a socket has at most 107 bytes; choose a shorter one"
    )]
    LongPath(Address),
    #[error(
        "cannot listen on {address}: the host '{host}' is not known{reason}; give an address, or :port for all of this machine"
    )]
    NoHost {
        address: Address,
        host: String,
        /// What the system says of it, behind a colon, if anything.
        reason: String,
    },
    #[error(
        "cannot listen on {0}: this machine has no such address; give one of its own ('ip address' shows them), or :port for all"
    )]
    NotOurs(Address),
    #[error("cannot listen on {0}, which is given twice: leave one of them out")]
    Twice(Address),
    #[error(
        "cannot listen on {0}: there is something else than a socket at that path; remove it or choose another path"
    )]
    NoSocket(Address),
    #[error(
        "cannot listen on {address}: {holder} already listens there; stop it or choose another {}",
        part(.address)
    )]
    Taken {
        address: Address,
        holder: AddressHolder,
    },
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
            reason: None,
        }
    }

    /// That somebody has the address, who may be this process.
    pub(super) fn taken(address: Address, holder: AddressHolder) -> Self {
        match holder.is_self() {
            true => Self::Twice(address),
            false => Self::Taken { address, holder },
        }
    }

    /// Whether another has the address that may be about to go.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Taken { holder, .. } if holder.may_go())
    }

    /// Whether what the operator has written is wrong, and not how things are: starting again will not help.
    pub fn is_told_wrong(&self) -> bool {
        use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied};
        match self {
            Self::LongPath(_)
            | Self::NoSocket(_)
            | Self::Twice(_)
            | Self::Account(_)
            | Self::Owner { .. }
            | Self::NotForGroup { .. }
            | Self::NotListening(_)
            | Self::NoneOfSystemd => true,
            Self::Refused { error, .. } => {
                matches!(error.kind(), InvalidInput | NotFound | PermissionDenied)
            }
            // A network, or another's answer, may come later.
            Self::NoHost { .. }
            | Self::NotOurs(_)
            | Self::Taken { .. }
            | Self::OutOfReach { .. }
            | Self::Unclear { .. }
            | Self::OldSocket { .. }
            | Self::Unusable { .. }
            | Self::Systemd { .. }
            | Self::Removed { .. } => false,
        }
    }
}

/// What of an address another may be chosen of.
fn part(address: &Address) -> &'static str {
    match address {
        Address::Unix(_) => "path",
        Address::Abstract(_) => "name",
        Address::Tcp(..) => "port",
        Address::Fd(_) | Address::Systemd => "socket",
    }
}
