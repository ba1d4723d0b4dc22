//! The connections that wait for something, each found by its descriptor.

use std::os::fd::RawFd;

use super::peer::Peer;

/// Connections that wait. The kernel gives the lowest number that is free, so a place for each number takes no more room than
/// a tree of those in use, and finding one does not cost more the more there are.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    places: Vec<Option<Box<Peer>>>,
    count: usize,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn insert(&mut self, peer: Box<Peer>) {
        let at = usize::try_from(peer.fd()).unwrap_or_default();
        if at >= self.places.len() {
            self.places.resize_with(at + 1, || None);
        }
        let before = self.places[at].replace(peer);
        debug_assert!(before.is_none(), "a descriptor has two connections");
        self.count += 1;
    }

    pub(super) fn get(&self, fd: RawFd) -> Option<&Peer> {
        self.places.get(usize::try_from(fd).ok()?)?.as_deref()
    }

    pub(super) fn remove(&mut self, fd: RawFd) -> Option<Box<Peer>> {
        let place = self.places.get_mut(usize::try_from(fd).ok()?)?;
        let peer = place.take()?;
        self.count -= 1;
        Some(peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.places.iter().flatten().map(|peer| &**peer)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.places.iter_mut().flatten().map(|peer| &mut **peer)
    }

    /// The descriptors of those of which this is so.
    pub(super) fn those(&self, is_so: impl Fn(&Peer) -> bool) -> Vec<RawFd> {
        let found = self.iter().filter(|peer| is_so(peer));
        found.map(Peer::fd).collect()
    }
}
