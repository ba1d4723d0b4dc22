//! The head of a response: the application's status and headers as the bytes that leave, and what may not be in them.
//!
//! Both doors write the same lines and differ only in where the `Status:` line stands, so the two parts are kept apart.

use std::borrow::Cow;

use thiserror::Error;

/// A checked response head (RFC 3875 section 6.3; PEP 3333, "The start_response() Callable").
#[derive(Clone, Debug)]
pub struct Head {
    status: Vec<u8>,
    fields: Vec<u8>,
    code: u16,
    content_length: Option<u64>,
}

/// Why a status or a header cannot be sent. The message names the value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// Not `NNN` or `NNN reason` with NNN from 200 to 999.
    #[error("status {:?} is not of the form '200 OK'", text(.0))]
    Status(Vec<u8>),
    /// A 1xx status: it would be taken as the final response by most web servers (RFC 3875 section 6.3.3 knows none).
    #[error("status {:?}: a 1xx status is the web server's to send", text(.0))]
    Informational(Vec<u8>),
    /// A name that is not a token (RFC 9110 section 5.6.2).
    #[error("header name {:?} is not an HTTP token", text(.0))]
    Name(Vec<u8>),
    /// A control character in a status or value: it would let one header become two.
    #[error("{} has a control character in its value {:?}", text(.0), text(.1))]
    Control(Vec<u8>, Vec<u8>),
    /// A header of the connection, not of the response (PEP 3333, "Other HTTP Features"; RFC 9110 section 7.6.1).
    #[error("hop-by-hop header {:?} is the web server's to send", text(.0))]
    HopByHop(Vec<u8>),
    /// `Status` as a header: it is the gateway's own word for the status line.
    #[error("a header named 'Status' conflicts with the gateway's status line")]
    StatusField,
    /// A Content-Length that is not a number, or a second one that differs.
    #[error("Content-Length {:?} is not one decimal number", text(.0))]
    ContentLength(Vec<u8>),
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The headers that PEP 3333 forbids an application to send ("Other HTTP Features"; the list of RFC 2616 section 13.5.1).
const HOP_BY_HOP: [&[u8]; 9] = [
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"trailers",
    b"transfer-encoding",
    b"upgrade",
];

impl Head {
    /// A head with this status and no headers yet.
    ///
    /// # Errors
    /// When the status is malformed, informational, or has a control character.
    pub fn new(status: &[u8]) -> Result<Self, HeadError> {
        if status.iter().any(u8::is_ascii_control) {
            return Err(HeadError::Control(b"status".to_vec(), status.to_vec()));
        }
        let bad = || HeadError::Status(status.to_vec());
        let (digits, rest) = status.split_at_checked(3).ok_or_else(bad)?;
        if !digits.iter().all(u8::is_ascii_digit) || !(rest.is_empty() || rest[0] == b' ') {
            return Err(bad());
        }
        let code = digits
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        match code {
            0..100 => Err(bad()),
            100..200 => Err(HeadError::Informational(status.to_vec())),
            _ => Ok(Self {
                status: status.to_vec(),
                fields: Vec::with_capacity(256),
                code,
                content_length: None,
            }),
        }
    }

    /// Adds a header behind the others, as the application wrote it.
    ///
    /// # Errors
    /// When the name is no token, the value has a control character, or the header is not the application's to send.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(HeadError::Name(name.to_vec()));
        }
        if value.iter().any(u8::is_ascii_control) {
            return Err(HeadError::Control(name.to_vec(), value.to_vec()));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value).ok_or_else(|| HeadError::ContentLength(value.to_vec()))?;
            if self.content_length.is_some_and(|other| other != length) {
                return Err(HeadError::ContentLength(value.to_vec()));
            }
            self.content_length = Some(length);
        } else if HOP_BY_HOP
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
        {
            return Err(HeadError::HopByHop(name.to_vec()));
        } else if name.eq_ignore_ascii_case(b"status") {
            return Err(HeadError::StatusField);
        }
        self.fields.extend_from_slice(name);
        self.fields.extend_from_slice(b": ");
        self.fields.extend_from_slice(value);
        self.fields.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// The status code, 200 to 999.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The Content-Length that the application announced, in bytes.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether a response of this status has no body whatever the application yields (RFC 9110 sections 15.3.5, 15.4.5).
    pub fn is_bodiless(&self) -> bool {
        matches!(self.code, 204 | 304)
    }

    /// Writes the head with `Status:` in front, as PEP 3333's `run_with_cgi` does and small CGI servers need.
    pub fn write_status_first(&self, out: &mut Vec<u8>) {
        self.write_status(out);
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(b"\r\n");
    }

    /// Writes the head with `Status:` at the end: HAProxy makes every status 302 when a Location comes after it.
    pub fn write_status_last(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.fields);
        self.write_status(out);
        out.extend_from_slice(b"\r\n");
    }

    fn write_status(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Status: ");
        out.extend_from_slice(&self.status);
        out.extend_from_slice(b"\r\n");
    }
}

/// The number that these ASCII digits say, and nothing else around them; `None` also when it is past 2^64.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::{Head, HeadError};

    fn head(status: &str, fields: &[(&str, &str)]) -> Result<Head, HeadError> {
        let mut head = Head::new(status.as_bytes())?;
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes())?;
        }
        Ok(head)
    }

    #[test]
    fn the_status_line_is_first_in_cgi_and_last_in_fastcgi() {
        let head = head("201 Made It", &[("Location", "/x"), ("X-A", "")]).unwrap();
        let (mut first, mut last) = (Vec::new(), Vec::new());
        head.write_status_first(&mut first);
        head.write_status_last(&mut last);
        assert_eq!(
            first,
            b"Status: 201 Made It\r\nLocation: /x\r\nX-A: \r\n\r\n"
        );
        assert_eq!(
            last,
            b"Location: /x\r\nX-A: \r\nStatus: 201 Made It\r\n\r\n"
        );
    }

    #[test]
    fn a_status_is_three_digits_and_a_reason() {
        for good in ["200 OK", "404", "200 ", "999 Nein"] {
            assert!(head(good, &[]).is_ok(), "{good}");
        }
        for bad in ["", "20", "abc", "2000", "200OK", "099 X", "+20 X"] {
            let expected = HeadError::Status(bad.as_bytes().to_vec());
            assert_eq!(head(bad, &[]).unwrap_err(), expected);
        }
        for (bad, kind) in [
            ("200 a\r\nX: y", "control"),
            ("200 \0", "control"),
            ("103 Early", "1xx"),
        ] {
            let message = head(bad, &[]).unwrap_err().to_string();
            assert!(message.contains(kind), "{message}");
        }
    }

    #[test]
    fn headers_that_would_break_the_response_are_refused() {
        for (name, value) in [
            ("X\r\nY", "v"),
            ("X Y", "v"),
            ("X:", "v"),
            ("", "v"),
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "a\nb"),
            ("X", "a\0"),
            ("X", "a\tb"),
            ("Connection", "close"),
            ("TRANSFER-encoding", "chunked"),
            ("Status", "200 OK"),
            ("Content-Length", "1x"),
            ("Content-Length", ""),
            ("Content-Length", "-1"),
        ] {
            assert!(head("200 OK", &[(name, value)]).is_err(), "{name}: {value}");
        }
        assert!(
            head(
                "200 OK",
                &[("Content-Length", "1"), ("Content-Length", "2")]
            )
            .is_err()
        );
    }
}
