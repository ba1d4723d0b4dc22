//! Records and name-value pairs (section 3), written and read.

use super::response::EndRequest;
use super::{BEGIN_REQUEST, END_REQUEST, Pair};

/// One record, as section 3.3 draws it.
pub(crate) fn record(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("the content of a record");
    let mut wire = vec![1, kind];
    wire.extend(id.to_be_bytes());
    wire.extend(length.to_be_bytes());
    wire.extend([padding, 0]);
    wire.extend(content);
    // Not zeroes: padding is ignored, so what is in it must not matter.
    wire.extend(std::iter::repeat_n(0xA5, usize::from(padding)));
    wire
}

/// A stream in records of at most `size` bytes, and the empty record that ends it.
pub(crate) fn stream(kind: u8, id: u16, content: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for part in content.chunks(size) {
        let padding = part.len().wrapping_neg() % 8;
        wire.extend(record(kind, id, part, u8::try_from(padding).unwrap()));
    }
    wire.extend(record(kind, id, b"", 0));
    wire
}

/// `FCGI_BEGIN_REQUEST` (section 5.1).
pub(crate) fn begin(id: u16, role: u16, flags: u8) -> Vec<u8> {
    let [high, low] = role.to_be_bytes();
    record(BEGIN_REQUEST, id, &[high, low, flags, 0, 0, 0, 0, 0], 0)
}

/// Name-value pairs (section 3.4): one byte for a length up to 127, else four.
pub(crate) fn pairs(pairs: &[Pair]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (name, value) in pairs {
        for length in [name.len(), value.len()] {
            if length < 0x80 {
                wire.push(u8::try_from(length).unwrap());
            } else {
                wire.extend(long_length(length));
            }
        }
        wire.extend(name);
        wire.extend(value);
    }
    wire
}

/// The form of four bytes, which is legal for any length.
pub(crate) fn long_length(length: usize) -> [u8; 4] {
    (u32::try_from(length).unwrap() | 0x8000_0000).to_be_bytes()
}

/// The way back.
pub(crate) fn parse_pairs(mut wire: &[u8]) -> Vec<Pair> {
    fn length(wire: &mut &[u8]) -> usize {
        let first = usize::from(wire[0]);
        if first < 0x80 {
            *wire = &wire[1..];
            return first;
        }
        let long = u32::from_be_bytes(wire[..4].try_into().unwrap());
        *wire = &wire[4..];
        usize::try_from(long & 0x7FFF_FFFF).unwrap()
    }
    let mut found = Vec::new();
    while !wire.is_empty() {
        let name = length(&mut wire);
        let value = length(&mut wire);
        let (pair, rest) = wire.split_at(name + value);
        let (name, value) = pair.split_at(name);
        found.push((name.to_vec(), value.to_vec()));
        wire = rest;
    }
    found
}

/// A record that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: u8,
    pub(crate) id: u16,
    pub(crate) content: Vec<u8>,
    pub(crate) padding: u8,
}

impl Record {
    /// The content of an `FCGI_END_REQUEST` (section 5.5).
    pub(crate) fn end_request(&self) -> EndRequest {
        assert_eq!(self.kind, END_REQUEST, "{self:?}");
        assert_eq!(self.content.len(), 8, "FCGI_EndRequestBody is 8 bytes");
        assert_eq!(self.content[5..], [0, 0, 0], "reserved bytes");
        EndRequest {
            app_status: u32::from_be_bytes(self.content[..4].try_into().unwrap()),
            protocol_status: self.content[4],
        }
    }
}
