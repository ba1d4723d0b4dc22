//! Records, the unit of the FastCGI protocol (FastCGI 1.0 section 3.3), and the numbers of section 8.
//!
//! Raw bytes become types here and nowhere else. No I/O.

/// The length of a record's header, in bytes.
pub const HEADER_LENGTH: usize = 8;

/// The most content that we put in one record: a multiple of 8 under 65,536, so that records stay aligned (section 3.3).
pub const MAX_CONTENT: usize = 65_528;

const VERSION: u8 = 1;

/// A record's type (section 8). Types above 11 and those that only a responder sends are kept as their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the specification's FCGI_ constant of its name
pub enum RecordType {
    BeginRequest,
    AbortRequest,
    EndRequest,
    Params,
    Stdin,
    Stdout,
    Stderr,
    Data,
    GetValues,
    GetValuesResult,
    UnknownType,
    Other(u8),
}

impl RecordType {
    const fn number(self) -> u8 {
        match self {
            Self::BeginRequest => 1,
            Self::AbortRequest => 2,
            Self::EndRequest => 3,
            Self::Params => 4,
            Self::Stdin => 5,
            Self::Stdout => 6,
            Self::Stderr => 7,
            Self::Data => 8,
            Self::GetValues => 9,
            Self::GetValuesResult => 10,
            Self::UnknownType => 11,
            Self::Other(number) => number,
        }
    }
}

impl From<u8> for RecordType {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::BeginRequest,
            2 => Self::AbortRequest,
            3 => Self::EndRequest,
            4 => Self::Params,
            5 => Self::Stdin,
            6 => Self::Stdout,
            7 => Self::Stderr,
            8 => Self::Data,
            9 => Self::GetValues,
            10 => Self::GetValuesResult,
            11 => Self::UnknownType,
            number => Self::Other(number),
        }
    }
}

/// What the web server wants the application to be (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers an HTTP request (section 6.2).
    Responder,
    /// Says whether a request may go on (section 6.3).
    Authorizer,
    /// A Filter (section 6.4) or a number that the specification does not know: refused with UNKNOWN_ROLE.
    Unsupported(u16),
}

impl From<u16> for Role {
    fn from(number: u16) -> Self {
        match number {
            1 => Self::Responder,
            2 => Self::Authorizer,
            number => Self::Unsupported(number),
        }
    }
}

/// How a request ended for the protocol (section 5.5). OVERLOADED is not among them: several web servers make an empty
/// answer or an endless wait of it, so a full responder answers with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolStatus {
    /// Normal end.
    RequestComplete = 0,
    /// A second request while one is open on the connection.
    CantMpxConn = 1,
    /// A role that is not served.
    UnknownRole = 3,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The record's type.
    pub kind: RecordType,
    /// The request that it belongs to; 0 for a management record (section 3.3).
    pub id: u16,
    /// Bytes of content behind the header.
    pub content: u16,
    /// Bytes to skip behind the content.
    pub padding: u8,
}

impl Header {
    /// A header for content of ours, which needs no padding.
    pub fn new(kind: RecordType, id: u16, content: u16) -> Self {
        Self {
            kind,
            id,
            content,
            padding: 0,
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The version number, when it is not 1.
    pub fn parse(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, u8> {
        let [version, kind, id1, id0, content1, content0, padding, _] = *bytes;
        if version != VERSION {
            return Err(version);
        }
        Ok(Self {
            kind: kind.into(),
            id: u16::from_be_bytes([id1, id0]),
            content: u16::from_be_bytes([content1, content0]),
            padding,
        })
    }

    /// The header as it goes over the wire.
    pub fn bytes(&self) -> [u8; HEADER_LENGTH] {
        let [id1, id0] = self.id.to_be_bytes();
        let [content1, content0] = self.content.to_be_bytes();
        let kind = self.kind.number();
        [VERSION, kind, id1, id0, content1, content0, self.padding, 0]
    }
}

/// Writes a whole record of at most 65,535 bytes of content.
pub fn write_record(out: &mut Vec<u8>, kind: RecordType, id: u16, content: &[u8]) {
    let length = u16::try_from(content.len()).expect("callers split content into records");
    out.extend_from_slice(&Header::new(kind, id, length).bytes());
    out.extend_from_slice(content);
}

/// Writes a record of STDERR (section 5.3) with padding behind its content: up to the next multiple of 8, and always at least
/// one byte.
///
/// The padding is there for HAProxy before its fix "mux-fcgi: Don't swap trash and dbuf when handling STDERR records", such as
/// the 2.6.12 of Debian 12. When a text without padding is the last of what it has read so far, it swaps the buffer that it
/// read into with one that is not from the same pool, and the whole process dies of that: of any report that an application
/// flushes a moment before it goes on. With padding the text is never last, for HAProxy waits until the padding is here, too.
pub fn write_stderr(out: &mut Vec<u8>, id: u16, text: &[u8]) {
    let length = u16::try_from(text.len()).expect("callers split text into records");
    let padding = [8, 7, 6, 5, 4, 3, 2, 1][text.len() % 8];
    let header = Header {
        kind: RecordType::Stderr,
        id,
        content: length,
        padding,
    };
    out.extend_from_slice(&header.bytes());
    out.extend_from_slice(text);
    out.resize(out.len() + usize::from(padding), 0);
}

/// What comes in place of the rest of a response that has begun and that its application cannot end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The header of a record of STDOUT in version 0 that announces content. None follows.
    ///
    /// The end of the connection alone is taken by nginx for the end of the response, unless it both asks to keep the connection and
    /// buffers; this header is an error for it ("upstream sent unsupported FastCGI protocol version"). What servers that do not
    /// look at the version see is a record that is cut; without content HAProxy would see the end of STDOUT, and of half a header
    /// it waits for the rest.
    Break,
    /// An END_REQUEST with the application status 1, and no end of STDOUT in front of it.
    EndRequest,
}

impl Cut {
    /// The cut of which no web server's client makes a whole page that can be told otherwise, for which none waits, and behind which
    /// each gets as much as can be of what has left. `owed` is how many bytes of the body the head has promised and the client has
    /// not got. What each server makes of it is in `tests/suite/servers/cuts.rs`.
    pub fn of(role: Role, owed: Option<u64>, is_nginx: bool) -> Self {
        match (role, owed) {
            // One that ends well may let somebody in.
            (Role::Authorizer, _) => Self::Break,
            // Every server would make a whole page of an END_REQUEST.
            (_, None) => Self::Break,
            // For the client nothing is missing.
            (_, Some(0)) => Self::EndRequest,
            // When nginx sees END_REQUEST it compares the length with what it got, passes on all of that, and ends its client's
            // connection. At a break it drops some; and after a mere close its client waits for the rest until
            // `keepalive_timeout`, 75 s. Behind an end of STDOUT it does not compare, where connections are kept.
            (_, Some(_)) if is_nginx => Self::EndRequest,
            // Behind an END_REQUEST lighttpd's client would wait for 5 s, and HAProxy's until the connection is closed.
            (_, Some(_)) => Self::Break,
        }
    }
}

/// Writes what a response ends with that is cut.
pub fn write_cut(out: &mut Vec<u8>, id: u16, cut: Cut) {
    match cut {
        Cut::Break => {
            let mut header = Header::new(RecordType::Stdout, id, 8).bytes();
            header[0] = 0;
            out.extend_from_slice(&header);
        }
        Cut::EndRequest => write_end_request(out, id, 1, ProtocolStatus::RequestComplete),
    }
}

/// Writes an END_REQUEST record (section 5.5). `app_status` is what a CGI program would have exited with.
pub fn write_end_request(out: &mut Vec<u8>, id: u16, app_status: u32, status: ProtocolStatus) {
    let mut body = [0; 8];
    body[..4].copy_from_slice(&app_status.to_be_bytes());
    body[4] = status as u8;
    write_record(out, RecordType::EndRequest, id, &body);
}

#[cfg(test)]
mod tests {
    use super::{
        Cut, Header, ProtocolStatus, RecordType, Role, write_cut, write_end_request, write_stderr,
    };
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn a_header_written_by_hand_reads_as_it_should() {
        let header = Header::parse(&[1, 5, 0x12, 0x34, 0x80, 0x01, 7, 99]).unwrap();
        let expected = Header {
            kind: RecordType::Stdin,
            id: 0x1234,
            content: 0x8001,
            padding: 7,
        };
        assert_eq!(header, expected);
        assert_eq!(Header::parse(&[2, 5, 0, 1, 0, 0, 0, 0]), Err(2));
    }

    #[test]
    fn an_end_request_record_has_the_bytes_of_the_specification() {
        let mut out = Vec::new();
        write_end_request(&mut out, 258, 1, ProtocolStatus::CantMpxConn);
        assert_eq!(out, [1, 3, 1, 2, 0, 8, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn a_text_never_comes_without_padding() {
        for (text, header, padding) in [
            (&b"seven b"[..], [1, 7, 0, 2, 0, 7, 1, 0], 1),
            (b"eight by", [1, 7, 0, 2, 0, 8, 8, 0], 8),
            (b"nine byte", [1, 7, 0, 2, 0, 9, 7, 0], 7),
        ] {
            let mut out = Vec::new();
            write_stderr(&mut out, 2, text);
            assert_eq!(out, [&header, text, &vec![0; padding]].concat());
        }
    }

    #[test]
    fn a_cut_is_no_record_or_an_end_that_comes_too_early() {
        let no_record = [0, 6, 1, 2, 0, 8, 0, 0];
        let end = [1, 3, 1, 2, 0, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        for (role, owed, is_nginx, expected) in [
            (Role::Responder, None, false, &no_record[..]),
            (Role::Responder, None, true, &no_record),
            (Role::Responder, Some(1), false, &no_record),
            (Role::Responder, Some(1), true, &end),
            (Role::Responder, Some(0), false, &end),
            (Role::Authorizer, Some(0), false, &no_record),
            (Role::Authorizer, Some(1), true, &no_record),
        ] {
            let mut out = Vec::new();
            write_cut(&mut out, 258, Cut::of(role, owed, is_nginx));
            assert_eq!(out, expected, "{role:?} {owed:?} {is_nginx}");
        }
    }

    proptest! {
        #[test]
        fn headers_come_back_as_they_went(kind: u8, id: u16, content: u16, padding: u8) {
            let header = Header { kind: kind.into(), id, content, padding };
            prop_assert_eq!(Header::parse(&header.bytes()), Ok(header));
        }

        #[test]
        fn no_eight_bytes_make_it_panic(bytes in any::<[u8; 8]>()) {
            let _ = Header::parse(&bytes);
        }
    }
}
