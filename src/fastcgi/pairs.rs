//! Name-value pairs (FastCGI 1.0 section 3.4), the content of the PARAMS stream and of GET_VALUES.
//!
//! PARAMS is a stream: a pair may be split between records anywhere, so pairs are read once the stream is whole.

/// What is wrong with a block of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

/// The pairs of a block, in order.
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// The pairs of `block`.
    pub fn of(block: &'a [u8]) -> Self {
        Self { rest: block }
    }

    /// How many bytes of the block are behind the pair that came last.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    fn pair(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let name = self.length()?;
        let value = self.length()?;
        // The two are taken one after the other and never added: their sum has overflowed in others (CVE-2025-23016).
        let name = self.take(name)?;
        Some((name, self.take(value)?))
    }

    /// One byte up to 127, else four with the top bit set. h2o uses the long form for 127 already.
    fn length(&mut self) -> Option<usize> {
        let first = *self.rest.first()?;
        if first < 0x80 {
            self.take(1)?;
            return Some(usize::from(first));
        }
        let long: [u8; 4] = self.take(4)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(long) & 0x7fff_ffff).ok()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let pair = self.pair();
        if pair.is_none() {
            self.rest = &[];
        }
        Some(pair.ok_or(Truncated))
    }
}

/// Writes a pair, each length in its short form where it fits.
///
/// Used for GET_VALUES_RESULT, whose names and values are short; a longer one is cut at what a length can say.
pub fn write_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, value] {
        match u8::try_from(part.len()) {
            Ok(short) if short < 0x80 => out.push(short),
            _ => {
                let long = u32::try_from(part.len()).unwrap_or(u32::MAX) | 0x8000_0000;
                out.extend_from_slice(&long.to_be_bytes());
            }
        }
    }
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::{Pairs, Truncated, write_pair};
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    #[test]
    fn both_forms_of_a_length_are_read() {
        let mut block = vec![1, 2, b'A', b'x', b'y'];
        // The long form of short lengths, as h2o sends it.
        block.extend_from_slice(&[0x80, 0, 0, 1, 0x80, 0, 0, 0, b'B']);
        let pairs: Result<Vec<_>, _> = Pairs::of(&block).collect();
        assert_eq!(
            pairs.unwrap(),
            [(&b"A"[..], &b"xy"[..]), (&b"B"[..], &b""[..])]
        );
    }

    #[test]
    fn lengths_past_the_block_are_an_error_and_nothing_more() {
        for block in [
            &[5][..],
            &[1, 1, b'A'],
            &[0x80, 0],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xff, 1, b'A'],
        ] {
            let pairs: Vec<_> = Pairs::of(block).collect();
            assert_eq!(pairs, [Err(Truncated)], "{block:?}");
        }
    }

    proptest! {
        #[test]
        fn pairs_come_back_as_they_went(pairs in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(any::<u8>(), 0..300)), 0..20,
        )) {
            let mut block = Vec::new();
            for (name, value) in &pairs {
                write_pair(&mut block, name, value);
            }
            let read: Vec<_> = Pairs::of(&block).map(|pair| pair.map(|(n, v)| (n.to_vec(), v.to_vec())).unwrap()).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn no_bytes_make_it_panic(block in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Pairs::of(&block).count();
        }
    }
}
