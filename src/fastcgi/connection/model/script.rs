//! The bytes of which all that happens is made.

use super::witness::split;

/// A script, of which no byte is wrong; behind its end are zeros.
#[derive(Debug)]
pub(super) struct DriveScript<'a>(pub(super) &'a [u8]);

impl<'a> DriveScript<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        split(&mut self.0, 1).first().copied().unwrap_or(0)
    }

    /// One of the numbers below `count`.
    pub(super) fn one_of(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    pub(super) fn is(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A size, more often a small one: up to 126,976.
    pub(super) fn size(&mut self) -> usize {
        let byte = self.byte();
        usize::from(byte & 31) << [0, 0, 1, 3, 5, 8, 10, 12][usize::from(byte >> 5)]
    }

    pub(super) fn id(&mut self) -> u16 {
        [1, 1, 1, 2, 258, 65535, 1, 0][usize::from(self.one_of(8))]
    }

    pub(super) fn bytes(&mut self, count: usize) -> &'a [u8] {
        split(&mut self.0, count)
    }
}

/// The bytes of a response or a body, none of which is ASCII.
pub(super) fn some(seed: usize, at: usize, count: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((seed * 37 + at) % 128).unwrap() | 128;
    (at..at + count).map(byte).collect()
}
