//! All the sockets that a gateway listens on, for as long as it does.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::fstat;

use super::address::Address;
use super::bind_error::BindError;
use super::listener::{Bound, SocketFile, SocketOwner, bind, listens, start};
use super::port::ignore_new;
use super::snapshot::AddressSeen;

/// How long an address is waited for that another gateway has: workers whose master was killed keep it for most of a second.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How often it is tried.
const TRY: Duration = Duration::from_millis(50);

/// The sockets, and how they were made.
#[derive(Debug, Default)]
pub struct Listening {
    bound: Vec<Bound>,
    /// For each socket the address that it was bound to, where it can be bound again.
    again: Vec<Option<Address>>,
    /// Whether each is a port that nobody else listens on.
    ports: Vec<bool>,
    /// Addresses whose sockets have stopped working and could not be made anew yet.
    lost: Vec<Address>,
    backlog: i32,
    owner: Option<SocketOwner>,
    /// Whether the last attempt to bind a lost socket again failed, so that it is told once.
    failing: bool,
}

impl Listening {
    /// Listens on all addresses.
    ///
    /// # Errors
    /// As [`bind`].
    pub fn bind(
        addresses: &[Address],
        backlog: i32,
        owner: &SocketOwner,
    ) -> Result<Self, BindError> {
        let mut listening = Self {
            backlog,
            owner: Some(owner.clone()),
            ..Self::default()
        };
        for address in addresses {
            for bound in bind_patiently(address, backlog, owner)? {
                let is_given = matches!(address, Address::Fd(_) | Address::Systemd);
                listening.again.push((!is_given).then(|| address.clone()));
                listening.ports.push(matches!(address, Address::Tcp(..)));
                listening.bound.push(bound);
            }
        }
        Ok(listening)
    }

    /// Listens on a socket that somebody else has made.
    pub fn on(bound: Bound) -> Self {
        Self {
            bound: vec![bound],
            again: vec![None],
            ports: vec![false],
            backlog: nix::libc::SOMAXCONN,
            ..Self::default()
        }
    }

    /// Listens on a socket that was made for this process alone, whose file is at this path: removed at the end, and gone when
    /// another gateway is to take this one's place.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn on_own(socket: Bound, path: &Path) -> io::Result<Self> {
        let mut listening = Self::on(socket);
        for bound in &mut listening.bound {
            // So that who connects is told this process's id, and not that of who has made the socket.
            start(&bound.socket, listening.backlog)?;
            bound.file = Some(SocketFile::at(path)?);
            bound.name = path.display().to_string();
        }
        Ok(listening)
    }

    /// The sockets.
    pub fn sockets(&self) -> &[Bound] {
        &self.bound
    }

    /// Where, for messages.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.bound.iter().map(|bound| bound.name.as_str()).collect();
        names.join(", ")
    }

    /// What there is to show of them.
    pub(super) fn seen(&self) -> Vec<AddressSeen> {
        let seen = |bound: &Bound| AddressSeen {
            name: bound.name.clone(),
            inode: fstat(&bound.socket).map_or(0, |found| found.st_ino),
            tcp: bound.tcp,
        };
        self.bound.iter().map(seen).collect()
    }

    /// The sockets, for a process that is not to look after their files: its own copies, so that closing them is all that
    /// it takes for the process to listen no more.
    pub fn into_sockets(self) -> Vec<Bound> {
        self.bound
    }

    /// Handles on the sockets, without their files.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn try_clone(&self) -> io::Result<Vec<Bound>> {
        self.bound.iter().map(Bound::try_clone).collect()
    }

    /// Has nobody connect any more: removes the sockets' files and closes the ports. Sockets that somebody else has made are
    /// left as they are, since others may listen on them after us.
    pub fn refuse_new(&mut self) {
        for (bound, is_port) in self.bound.iter_mut().zip(&self.ports) {
            bound.file = None;
            if *is_port {
                if let Err(error) = ignore_new(bound.socket.as_fd()) {
                    log::debug!("{} cannot be closed before its end: {error}", bound.name);
                }
            }
        }
        self.again.fill(None);
        self.lost.clear();
    }

    /// Whether the sockets are to be looked after from time to time.
    pub(super) fn has_files(&self) -> bool {
        self.bound.iter().any(|bound| bound.file.is_some()) || !self.lost.is_empty()
    }

    /// Whether a socket that was made for this process alone has lost its file, so that nobody finds it any more.
    pub(super) fn is_superseded(&self) -> bool {
        let mut sockets = self.bound.iter().zip(&self.again);
        sockets.any(|(bound, again)| {
            let file = bound.file.as_ref().filter(|_| again.is_none());
            file.is_some_and(|file| !file.is_there())
        })
    }

    /// Whether a socket is to be made anew that could not be yet.
    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Whether nothing is listened on, nor going to be.
    pub(super) fn is_over(&self) -> bool {
        self.bound.is_empty() && self.lost.is_empty()
    }

    /// Makes sockets anew whose files somebody has removed, and those that have stopped listening: who has one open, as
    /// every worker has, can shut it down for all. `true` when there are others now.
    pub(super) fn mend(&mut self) -> bool {
        let mut mended = false;
        let mut failing = false;
        let mut at = 0;
        while at < self.bound.len() {
            let bound = &self.bound[at];
            let works = listens(bound.socket.as_fd());
            let is_there = bound.file.as_ref().is_none_or(SocketFile::is_there);
            if !works && start(&bound.socket, self.backlog).is_ok() && listens(bound.socket.as_fd())
            {
                log::warn!(
                    "the application has shut down the socket {}: listening anew",
                    bound.name
                );
                // The same socket, which the workers that have seen this have closed.
                mended = true;
                continue;
            }
            if !works {
                self.lose(at);
                mended = true;
                continue;
            }
            if !is_there {
                match self.bind_again(at) {
                    Some(Ok(())) => mended = true,
                    Some(Err(error)) => failing |= self.complain(&error),
                    None => {}
                }
            }
            at += 1;
        }
        for address in std::mem::take(&mut self.lost) {
            match self.bind_lost(&address) {
                Ok(()) => mended = true,
                Err(error) => {
                    failing |= self.complain(&error);
                    self.lost.push(address);
                }
            }
        }
        self.failing = failing;
        mended
    }

    /// Tells that a socket cannot be made anew, once.
    fn complain(&self, error: &BindError) -> bool {
        if !self.failing {
            log::error!("{error}; tried again and again");
        }
        true
    }

    /// Makes the socket of a file anew that somebody has removed.
    fn bind_again(&mut self, at: usize) -> Option<Result<(), BindError>> {
        let (address, owner) = (self.again[at].as_ref()?, self.owner.as_ref()?);
        Some(match bind(address, self.backlog, owner) {
            Ok(new) => {
                log::warn!(
                    "somebody has removed or replaced the socket {address}: listening there anew"
                );
                self.bound[at] = new.into_iter().next()?;
                Ok(())
            }
            Err(error) => Err(BindError::Removed {
                address: address.clone(),
                error: Box::new(error),
            }),
        })
    }

    /// Gives up a socket that does not listen any more.
    fn lose(&mut self, at: usize) {
        let bound = self.bound.remove(at);
        self.ports.remove(at);
        match self.again.remove(at) {
            Some(address) => {
                log::warn!("the application has shut down the socket {}", bound.name);
                self.lost.push(address);
            }
            None => log::error!(
                "the application has shut down the socket {}, and only who made it can make it anew: restart that, or have \
                 the gateway make its own with --bind",
                bound.name
            ),
        }
    }

    fn bind_lost(&mut self, address: &Address) -> Result<(), BindError> {
        let Some(owner) = &self.owner else {
            return Ok(());
        };
        for bound in bind(address, self.backlog, owner)? {
            log::warn!("listening on {} anew", bound.name);
            self.bound.push(bound);
            self.again.push(Some(address.clone()));
            self.ports.push(matches!(address, Address::Tcp(..)));
        }
        Ok(())
    }
}

fn bind_patiently(
    address: &Address,
    backlog: i32,
    owner: &SocketOwner,
) -> Result<Vec<Bound>, BindError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match bind(address, backlog, owner) {
            Err(error) if error.may_pass() && Instant::now() < until => std::thread::sleep(TRY),
            bound => return bound,
        }
    }
}
