//! Which names come more than once among the variables: known at once, since a client can send tens of thousands.

use std::collections::HashMap;

use crate::gateway::Variables;

/// Each name's places.
pub(super) struct Repeated<'a> {
    places: HashMap<&'a [u8], Positions>,
}

/// Where a name stands, counted from 0.
struct Positions {
    first: usize,
    last: usize,
}

/// Where else the name of a variable stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Above it, and not below.
    Above,
    /// Below it.
    Below,
}

impl<'a> Repeated<'a> {
    pub(super) fn of(variables: &'a Variables) -> Self {
        let mut places: HashMap<&[u8], Positions> = HashMap::new();
        for (at, (name, _)) in variables.iter().enumerate() {
            let first = at;
            let places = places.entry(name).or_insert(Positions { first, last: at });
            places.last = at;
        }
        Self { places }
    }

    /// Whether the name of the variable at this place stands here first.
    pub(super) fn is_first(&self, at: usize, name: &[u8]) -> bool {
        self.places
            .get(name)
            .is_some_and(|places| places.first == at)
    }

    /// Whether it stands here first, and again below.
    pub(super) fn is_first_of_many(&self, at: usize, name: &[u8]) -> bool {
        self.is_first(at, name) && self.at(at, name).is_some()
    }

    /// Where else the name of the variable at this place stands, if anywhere.
    pub(super) fn at(&self, at: usize, name: &[u8]) -> Option<Again> {
        let places = self.places.get(name)?;
        if at < places.last {
            Some(Again::Below)
        } else if places.first < at {
            Some(Again::Above)
        } else {
            None
        }
    }
}
