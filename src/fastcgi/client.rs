//! The other side of the protocol, that of who has a request answered: writes a request, reads what comes back. No I/O.

use super::pairs::write_pair;
use super::record::{HEADER_LENGTH, Header, MAX_CONTENT, RecordType, write_record};

/// The id of the only request on its connection.
const ID: u16 = 1;

/// The role of a Responder, and no flag: the connection ends with the request (section 5.1).
const BEGIN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

/// Writes a request up to where its body begins: BEGIN_REQUEST and PARAMS, and the end of STDIN if it has none.
pub fn write_request<'a>(
    out: &mut Vec<u8>,
    variables: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    has_body: bool,
) {
    write_record(out, RecordType::BeginRequest, ID, &BEGIN);
    let mut pairs = Vec::new();
    for (name, value) in variables {
        write_pair(&mut pairs, name, value);
    }
    for piece in pairs.chunks(MAX_CONTENT) {
        write_record(out, RecordType::Params, ID, piece);
    }
    write_record(out, RecordType::Params, ID, &[]);
    if !has_body {
        write_body(out, &[]);
    }
}

/// Writes a piece of the body of at most 65,528 bytes; an empty one is its end.
pub fn write_body(out: &mut Vec<u8>, piece: &[u8]) {
    write_record(out, RecordType::Stdin, ID, piece);
}

/// A piece of what comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Bytes of the response.
    Stdout(&'a [u8]),
    /// Bytes for who reads the application's errors.
    Stderr(&'a [u8]),
    /// The response is whole, or was cut where the status says so: what a CGI program would have exited with.
    End(u32),
}

/// What comes back is no record of an answer, which is how a response is cut, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyError;

/// Reads what comes back, however it is cut.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// What is here of a header, or of the content of END_REQUEST.
    bytes: [u8; HEADER_LENGTH],
    count: usize,
    /// The record that the next bytes belong to.
    record: Option<Header>,
}

impl ReplyReader {
    /// The next piece in `input`, from which it is taken; nothing when that is used up.
    ///
    /// # Errors
    /// When a record is none of an answer to the one request. Nothing can be read after that.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Reply<'a>>, ReplyError> {
        while !input.is_empty() {
            let Some(record) = &mut self.record else {
                if self.gather(input) {
                    let header = Header::parse(&self.bytes).map_err(|_| ReplyError)?;
                    let is_known = matches!(
                        header.kind,
                        RecordType::Stdout | RecordType::Stderr | RecordType::EndRequest
                    );
                    let is_end = header.kind == RecordType::EndRequest;
                    if !is_known || header.id != ID || (is_end && header.content != 8) {
                        return Err(ReplyError);
                    }
                    self.record = Some(header);
                }
                continue;
            };
            if record.content == 0 {
                let skipped = input.len().min(record.padding.into());
                *input = &input[skipped..];
                record.padding -= u8::try_from(skipped).map_err(|_| ReplyError)?;
                if record.padding == 0 {
                    self.record = None;
                }
                continue;
            }
            let kind = record.kind;
            if kind == RecordType::EndRequest {
                if self.gather(input) {
                    let [status @ .., _, _, _, _] = self.bytes;
                    return Ok(Some(Reply::End(u32::from_be_bytes(status))));
                }
                continue;
            }
            let count = input.len().min(record.content.into());
            record.content -= u16::try_from(count).map_err(|_| ReplyError)?;
            if record.content == 0 && record.padding == 0 {
                self.record = None;
            }
            let (piece, rest) = input.split_at(count);
            *input = rest;
            return Ok(Some(match kind {
                RecordType::Stdout => Reply::Stdout(piece),
                _ => Reply::Stderr(piece),
            }));
        }
        Ok(None)
    }

    /// Takes bytes until there are eight: whether there are.
    fn gather(&mut self, input: &mut &[u8]) -> bool {
        let count = input.len().min(HEADER_LENGTH - self.count);
        let (taken, rest) = input.split_at(count);
        self.bytes[self.count..self.count + count].copy_from_slice(taken);
        *input = rest;
        self.count = (self.count + count) % HEADER_LENGTH;
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Cut, RecordType, write_record};
    use super::super::record::{ProtocolStatus, write_cut, write_end_request, write_stderr};
    use super::{Reply, ReplyError, ReplyReader, write_body, write_request};
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    type Read = (Vec<u8>, Vec<u8>, Option<u32>);

    /// What was read of pieces of at most so many bytes.
    fn read(bytes: &[u8], at_once: usize) -> Result<Read, ReplyError> {
        let mut reader = ReplyReader::default();
        let (mut out, mut err, mut end) = (Vec::new(), Vec::new(), None);
        for mut piece in bytes.chunks(at_once) {
            while let Some(reply) = reader.next(&mut piece)? {
                match reply {
                    Reply::Stdout(bytes) => out.extend_from_slice(bytes),
                    Reply::Stderr(bytes) => err.extend_from_slice(bytes),
                    Reply::End(status) => end = Some(status),
                }
            }
        }
        Ok((out, err, end))
    }

    #[test]
    fn an_answer_is_read_whatever_its_cuts() {
        let mut bytes = Vec::new();
        write_stderr(&mut bytes, 1, b"oh");
        write_record(
            &mut bytes,
            RecordType::Stdout,
            1,
            b"Status: 200 OK\r\n\r\nbody",
        );
        write_record(&mut bytes, RecordType::Stdout, 1, b"");
        write_record(&mut bytes, RecordType::Stderr, 1, b"");
        write_end_request(&mut bytes, 1, 3, ProtocolStatus::RequestComplete);
        for at_once in 1..bytes.len() {
            let (out, err, end) = read(&bytes, at_once).unwrap();
            assert_eq!(out, b"Status: 200 OK\r\n\r\nbody");
            assert_eq!((err.as_slice(), end), (&b"oh"[..], Some(3)));
        }
    }

    #[test]
    fn a_cut_and_records_of_others_are_errors() {
        let mut cut = Vec::new();
        write_cut(&mut cut, 1, Cut::Break);
        let mut other = Vec::new();
        write_record(&mut other, RecordType::Stdout, 2, b"x");
        let mut kind = Vec::new();
        write_record(&mut kind, RecordType::Params, 1, b"x");
        for bytes in [cut, other, kind] {
            assert_eq!(read(&bytes, 3), Err(ReplyError));
        }
    }

    #[test]
    fn a_request_is_written_record_by_record() {
        let mut out = Vec::new();
        write_request(&mut out, [(&b"A"[..], &b"bc"[..])].into_iter(), true);
        let begin = [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let params = [1, 4, 0, 1, 0, 5, 0, 0, 1, 2, b'A', b'b', b'c'];
        assert_eq!(
            out,
            [&begin[..], &params, &[1, 4, 0, 1, 0, 0, 0, 0]].concat()
        );
        out.clear();
        write_body(&mut out, b"");
        assert_eq!(out, [1, 5, 0, 1, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at_once in 1..20_usize) {
            let whole = read(&bytes, 1000);
            prop_assert_eq!(read(&bytes, at_once).is_ok(), whole.is_ok());
        }
    }
}
