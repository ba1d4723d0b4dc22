//! Joins the responder's waiting connections with the master that has copies of them.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::fastcgi::{Custodian, Possession, Receipt};
use crate::process::{self, Channel, Custody, Deposit, Place};

/// The master, as custodian of a worker's connections.
#[derive(Debug)]
pub(super) struct Master(Arc<Custody>);

impl Master {
    pub(super) fn new(place: Place, channel: Channel) -> Self {
        Self(Custody::new(place, channel))
    }
}

impl Custodian for Master {
    fn deposit(&self, connection: BorrowedFd<'_>) -> Option<Box<dyn Receipt>> {
        let deposit = self.0.deposit(connection)?;
        Some(Box::new(deposit))
    }
}

impl Receipt for Deposit {
    fn note(&self, possession: Possession) {
        self.note(match possession {
            Possession::Elsewhere => process::Possession::Elsewhere,
            Possession::InUse => process::Possession::InUse,
            Possession::Free => process::Possession::Free,
            Possession::New => process::Possession::New,
        });
    }
}
