//! The variables of one request, as bytes, in the order in which the web server sent them (RFC 3875 section 4.1).
//!
//! Nothing is decoded or judged here: a value may hold any byte, and a name may come twice.

/// A request's variables: name and value pairs in one block of memory, so that a request costs no allocation a pair.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    bytes: Vec<u8>,
    pairs: Vec<Pair>,
}

/// Where a pair lies in `bytes`: the name from `start`, the value directly behind it.
#[derive(Clone, Copy, Debug)]
struct Pair {
    start: usize,
    name: usize,
    value: usize,
}

impl Variables {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pair behind the others.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.pairs.push(Pair {
            start,
            name: name.len(),
            value: value.len(),
        });
    }

    /// Notes that a pair lies in a block of bytes at `start`, the name and the value directly behind it, with these lengths in
    /// bytes. The block has to be given to [`Variables::hold`] before the pairs are looked at.
    pub fn place(&mut self, start: usize, name: usize, value: usize) {
        self.pairs.push(Pair { start, name, value });
    }

    /// Takes the block in which the pairs were placed, for an empty one.
    pub fn hold(&mut self, block: &mut Vec<u8>) {
        std::mem::swap(&mut self.bytes, block);
        block.clear();
    }

    /// The pairs in the order sent, repeated names included.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|pair| self.pair(pair))
    }

    /// The value of the last pair of this name: where a name comes twice, the later one holds.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self.pairs.iter().rev().find(|pair| {
            pair.name == name.len() && &self.bytes[pair.start..pair.start + pair.name] == name
        })?;
        Some(self.pair(found).1)
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Forgets all pairs and keeps the memory, unless a request of unusual size made it large.
    pub fn clear(&mut self) {
        const KEEP: usize = 64 * 1024;
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
        self.pairs.clear();
        self.pairs.shrink_to(KEEP / size_of::<Pair>());
    }

    fn pair(&self, pair: &Pair) -> (&[u8], &[u8]) {
        self.bytes[pair.start..pair.start + pair.name + pair.value].split_at(pair.name)
    }
}

#[cfg(test)]
mod tests {
    use super::Variables;

    #[test]
    fn the_last_of_a_repeated_name_holds() {
        let mut variables = Variables::new();
        variables.push(b"SCRIPT_NAME", b"/a");
        variables.push(b"X", b"");
        variables.push(b"SCRIPT_NAME", b"");
        assert_eq!(variables.get(b"SCRIPT_NAME"), Some(&b""[..]));
        assert_eq!(variables.get(b"X"), Some(&b""[..]));
        assert_eq!(variables.get(b"SCRIPT"), None);
        assert_eq!(variables.iter().count(), 3);
        variables.clear();
        let mut block = b"..PATH_INFO/a".to_vec();
        variables.place(2, 9, 2);
        variables.place(13, 0, 0);
        variables.hold(&mut block);
        variables.push(b"X", b"1");
        let pairs: Vec<_> = variables.iter().collect();
        assert_eq!(
            pairs,
            [(&b"PATH_INFO"[..], &b"/a"[..]), (b"", b""), (b"X", b"1")]
        );
        variables.clear();
        assert!(variables.is_empty());
    }
}
