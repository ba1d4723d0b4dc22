//! What the web server is to send: requests, and records of any kind.

use std::collections::VecDeque;

use super::script::{DriveScript, some};

/// What the web server is to send.
#[derive(Debug, Default)]
pub(super) struct ToSend {
    wire: VecDeque<u8>,
    /// Makes each request another.
    requests: usize,
}

impl ToSend {
    pub(super) fn len(&self) -> usize {
        self.wire.len()
    }

    /// Takes so many bytes from the front.
    pub(super) fn take(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.wire.len());
        self.wire.drain(..count).collect()
    }

    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        self.wire.extend(bytes);
    }

    fn add_record(&mut self, kind: u8, id: u16, content: &[u8], padding: u8) {
        let [id1, id0] = id.to_be_bytes();
        let [length1, length0] = u16::try_from(content.len()).unwrap().to_be_bytes();
        self.wire
            .extend([1, kind, id1, id0, length1, length0, padding, 9]);
        self.wire.extend(content);
        self.wire.extend(std::iter::repeat_n(170, padding.into()));
    }

    pub(super) fn add_any_record(&mut self, script: &mut DriveScript<'_>, kind: u8) {
        let (id, padding) = (script.id(), script.byte());
        let content = match kind {
            1 => vec![0, script.one_of(5), script.byte(), 0, 0, 0, 0, 0],
            9 => b"\x0e\0FCGI_MAX_CONNS\x0f\0FCGI_MPXS_CONNS\x03\x01abcd".to_vec(),
            _ => some(self.requests, 3, script.size().min(65_535)),
        };
        let id = if kind > 8 { id / 258 } else { id };
        self.add_record(kind, id, &content, padding);
    }

    pub(super) fn add_request(&mut self, script: &mut DriveScript<'_>) {
        self.requests += 1;
        let (id, odd, padding) = (script.id().max(1), script.byte(), script.byte());
        let role = if odd & 7 == 7 { 2 } else { 1 };
        let keep = u8::from(odd & 24 != 24);
        self.add_record(1, id, &[0, role, keep, 0, 0, 0, 0, 0], padding);
        let body = some(self.requests, 0, script.size());
        let announced = match odd >> 5 {
            0..=4 => Some(body.len()),
            5 => None,
            6 => Some(body.len() / 2),
            _ => Some(body.len() + 1),
        };
        let mut params = Vec::new();
        let mut add = |name: &[u8], value: &[u8]| {
            params.extend([u8::try_from(name.len()).unwrap(), 128, 0, 0]);
            params.push(u8::try_from(value.len()).unwrap());
            params.extend(name);
            params.extend(value);
        };
        add(b"NUMBER", self.requests.to_string().as_bytes());
        if let Some(announced) = announced {
            add(b"CONTENT_LENGTH", announced.to_string().as_bytes());
        }
        let method: &[u8] = if odd & 7 == 6 { b"HEAD" } else { b"POST" };
        add(b"REQUEST_METHOD", method);
        let cut = usize::from(script.byte()).min(params.len());
        for piece in [&params[..cut], &params[cut..]] {
            if !piece.is_empty() {
                self.add_record(4, id, piece, padding / 3);
            }
        }
        self.add_record(4, id, &[], padding);
        let piece = script.size().clamp(64, 65_535);
        for piece in body.chunks(piece) {
            self.add_record(5, id, piece, padding);
        }
        if odd & 7 != 5 {
            self.add_record(5, id, &[], padding / 2);
        }
    }
}
