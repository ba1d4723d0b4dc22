//! What the web server of a script said and what it got, read without any of the gateway's own code.

use std::collections::BTreeMap;

/// What the web server said, as far as it was delivered.
#[derive(Debug, Default)]
pub(super) struct WireHeard {
    /// Every BEGIN_REQUEST that came whole, in order.
    pub(super) begun: Vec<WireRequest>,
    /// Whether it said something that is no FastCGI: what follows means nothing.
    pub(super) faulty: bool,
    /// Questions for variables, and management records of no known type.
    pub(super) questions: usize,
    pub(super) unknown: usize,
    header: Vec<u8>,
    left: usize,
    padding: usize,
    whole: Vec<u8>,
    /// The last request of each id.
    open: BTreeMap<u16, usize>,
}

/// A request as the web server sent it.
#[derive(Debug)]
pub(super) struct WireRequest {
    pub(super) id: u16,
    pub(super) role: u16,
    pub(super) params: Vec<u8>,
    pub(super) params_ended: bool,
    pub(super) body: Vec<u8>,
    pub(super) body_ended: bool,
    pub(super) aborted: bool,
}

impl WireHeard {
    /// So much more was delivered.
    pub(super) fn hear(&mut self, mut bytes: &[u8]) {
        while !self.faulty {
            let some = split(&mut bytes, 8 - self.header.len());
            self.header.extend_from_slice(some);
            if self.header.len() < 8 {
                return;
            }
            if !some.is_empty() {
                self.faulty = self.header[0] != 1;
                self.left = usize::from(self.header[4]) * 256 + usize::from(self.header[5]);
                self.padding = usize::from(self.header[6]);
                continue;
            }
            let content = split(&mut bytes, self.left);
            self.left -= content.len();
            self.content(content);
            if self.left == 0 {
                self.padding -= split(&mut bytes, self.padding).len();
            }
            if self.left > 0 || self.padding > 0 {
                return;
            }
            self.record();
            self.header.clear();
            self.whole.clear();
        }
    }

    /// Whether the last record is whole.
    pub(super) fn is_between_records(&self) -> bool {
        self.header.is_empty()
    }

    fn id(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    fn content(&mut self, bytes: &[u8]) {
        let open = self.open.get(&self.id()).map(|at| &mut self.begun[*at]);
        match (self.header[1], open) {
            (4, Some(request)) if !request.params_ended => request.params.extend_from_slice(bytes),
            (5, Some(request)) if !request.body_ended => request.body.extend_from_slice(bytes),
            (1, _) => self.whole.extend_from_slice(bytes),
            _ => {}
        }
    }

    fn record(&mut self) {
        let (id, kind) = (self.id(), self.header[1]);
        let is_empty = self.header[4..6] == [0, 0];
        if id == 0 {
            match kind {
                1 | 2 | 4 | 5 => self.faulty = true,
                9 => self.questions += 1,
                _ => self.unknown += 1,
            }
            return;
        }
        if kind == 1 {
            if self.whole.len() < 8 {
                self.faulty = true;
                return;
            }
            self.open.insert(id, self.begun.len());
            self.begun.push(WireRequest {
                id,
                role: u16::from_be_bytes([self.whole[0], self.whole[1]]),
                params: Vec::new(),
                params_ended: false,
                body: Vec::new(),
                body_ended: false,
                aborted: false,
            });
            return;
        }
        let Some(at) = self.open.get(&id) else {
            return;
        };
        let request = &mut self.begun[*at];
        match kind {
            2 => request.aborted = true,
            4 if is_empty => request.params_ended = true,
            5 if is_empty => request.body_ended = true,
            _ => {}
        }
    }
}

/// The pairs of a PARAMS stream; `None` where one runs past its end.
pub(super) fn pairs(mut block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    fn length(block: &mut &[u8]) -> Option<usize> {
        let (&first, rest) = block.split_first()?;
        *block = rest;
        if first < 128 {
            return Some(first.into());
        }
        let (more, rest) = block.split_at_checked(3)?;
        *block = rest;
        let first = usize::from(first - 128);
        Some(
            more.iter()
                .fold(first, |sum, byte| sum * 256 + usize::from(*byte)),
        )
    }
    let mut found = Vec::new();
    while !block.is_empty() {
        let (name, value) = (length(&mut block)?, length(&mut block)?);
        let (name, rest) = block.split_at_checked(name)?;
        let (value, rest) = rest.split_at_checked(value)?;
        found.push((name.to_vec(), value.to_vec()));
        block = rest;
    }
    Some(found)
}

/// A record that the web server got.
#[derive(Debug)]
pub(super) struct GotRecord {
    pub(super) kind: u8,
    pub(super) id: u16,
    /// Without one it is the header that breaks off a response.
    pub(super) content: Option<Vec<u8>>,
}

/// Takes the next record from the front of what the web server got, once it is whole.
///
/// # Panics
/// When it is none.
pub(super) fn take_record(got: &mut Vec<u8>) -> Option<GotRecord> {
    let &[version, kind, id1, id0, content1, content0, padding, _] = got.first_chunk::<8>()?;
    let id = u16::from_be_bytes([id1, id0]);
    let length = usize::from(content1) * 256 + usize::from(content0);
    if version == 0 {
        assert_eq!((kind, length, padding), (6, 8, 0), "no break of ours");
        got.drain(..8);
        return Some(GotRecord {
            kind,
            id,
            content: None,
        });
    }
    assert_eq!(version, 1, "not a record: {:?}", &got[..8]);
    let end = 8 + length + usize::from(padding);
    let content = got.get(8..end)?[..length].to_vec();
    got.drain(..end);
    Some(GotRecord {
        kind,
        id,
        content: Some(content),
    })
}

/// Takes up to `count` bytes from the front.
pub(super) fn split<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}
