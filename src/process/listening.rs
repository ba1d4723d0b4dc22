//! All the sockets that a gateway listens on, for as long as it does.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::address::Address;
use super::listener::{Bound, SocketOwner, bind, is_taken};
use super::port::ignore_new;

/// How long an address that is taken is waited for: workers whose master was killed keep it for most of a second.
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
    pub fn bind(addresses: &[Address], backlog: i32, owner: &SocketOwner) -> Result<Self, String> {
        let mut listening = Self {
            backlog,
            owner: Some(owner.clone()),
            ..Self::default()
        };
        for address in addresses {
            for bound in bind_patiently(address, backlog, owner)? {
                let again = bound.file.is_some().then(|| address.clone());
                listening.again.push(again);
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
            ..Self::default()
        }
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
    }

    /// Whether files are there that may be lost.
    pub(super) fn has_files(&self) -> bool {
        self.again.iter().any(Option::is_some)
    }

    /// Makes sockets anew whose files somebody has removed. `true` when there are others now.
    pub(super) fn mend(&mut self) -> bool {
        let mut mended = false;
        let mut failing = false;
        for (bound, again) in self.bound.iter_mut().zip(&self.again) {
            let (Some(address), Some(owner)) = (again, &self.owner) else {
                continue;
            };
            if bound.file.as_ref().is_some_and(|file| file.is_there()) {
                continue;
            }
            match bind(address, self.backlog, owner).map(|mut new| new.pop()) {
                Ok(Some(new)) => {
                    log::warn!(
                        "somebody has removed or replaced the socket {address}: listening there anew"
                    );
                    *bound = new;
                    mended = true;
                }
                Ok(None) => {}
                Err(error) => {
                    failing = true;
                    if !self.failing {
                        log::error!(
                            "somebody has removed or replaced the socket {address}: {error}; tried again and again"
                        );
                    }
                }
            }
        }
        self.failing = failing;
        mended
    }
}

fn bind_patiently(
    address: &Address,
    backlog: i32,
    owner: &SocketOwner,
) -> Result<Vec<Bound>, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match bind(address, backlog, owner) {
            Err(error) if is_taken(&error) && Instant::now() < until => std::thread::sleep(TRY),
            bound => return bound,
        }
    }
}
