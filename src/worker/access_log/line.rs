//! One line of the access log, made of what is known of a request. Nothing that a client sends can end the line or a quoted string
//! in it, or pass for something that the gateway says.

use std::time::Duration;

use crate::config::{AccessFormat, AccessPart, Span, TimeForm, TimeUnit};
use crate::gateway::{FailureKind, RequestFigures, Variables};
use crate::logging::calendar::{self, padded};

/// Bytes of one value that are shown.
const SHOWN: usize = 2048;

/// Bytes of a line, at the most.
const MOST: usize = 56 * 1024;

/// What is known of a request that has ended. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessEntry<'a> {
    pub(super) variables: &'a Variables,
    pub(super) figures: RequestFigures,
    /// When it began, since 1970.
    pub(super) begun: Duration,
    pub(super) duration: u64,
    /// Until the head of the response, where that left before the end.
    pub(super) first: Option<u64>,
    /// Of the processor, where it was looked at.
    pub(super) cpu: Option<u64>,
    /// Bytes by which the worker's most resident memory has grown, and those that it is now.
    pub(super) grown: u64,
    pub(super) memory: u64,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) pid: u32,
    pub(super) worker: u32,
    /// From 1.
    pub(super) thread: usize,
}

impl AccessEntry<'_> {
    /// Writes its line.
    pub(super) fn write(&self, format: &AccessFormat, out: &mut Vec<u8>) {
        let start = out.len();
        match format {
            AccessFormat::Time => self.write_time(out),
            AccessFormat::Json => self.write_json(out),
            AccessFormat::Parts(parts) => {
                for part in parts {
                    self.write_part(part, out);
                }
            }
        }
        out.truncate(start + MOST);
        out.push(b'\n');
    }

    fn get(&self, name: &[u8]) -> &[u8] {
        self.variables.get(name).unwrap_or_default()
    }

    /// The URI, in two pieces that belong together.
    fn uri(&self) -> [&[u8]; 2] {
        match self.get(b"REQUEST_URI") {
            [] => [self.get(b"SCRIPT_NAME"), self.get(b"PATH_INFO")],
            uri => [uri, &[]],
        }
    }

    /// The path and the query, of a URI that may be a whole one.
    fn split_uri(&self) -> ([&[u8]; 2], &[u8]) {
        match self.uri() {
            [uri, []] => match uri.iter().position(|byte| *byte == b'?') {
                Some(at) => ([&uri[..at], &[]], &uri[at + 1..]),
                None => ([uri, &[]], &[]),
            },
            path => (path, self.get(b"QUERY_STRING")),
        }
    }

    fn first(&self) -> u64 {
        self.first.unwrap_or(self.duration)
    }

    // ---- The format of the gateway's own ---------------------------------------------------------------------------

    fn write_time(&self, out: &mut Vec<u8>) {
        calendar::write_iso(self.begun, out);
        out.push(b' ');
        words(self.name.as_bytes(), out);
        out.push(b' ');
        self.write_worker(out);
        out.push(b' ');
        words(self.get(b"REQUEST_METHOD"), out);
        out.push(b' ');
        let [uri, rest] = self.uri();
        words(uri, out);
        if !rest.is_empty() {
            words(rest, out);
        }
        out.push(b' ');
        self.write_status(out);
        out.push(b' ');
        number(self.figures.sent, out);
        out.extend_from_slice(b"B ");
        decimals(self.duration / 1_000_000, out);
        out.extend_from_slice(b"s wait=");
        decimals(self.figures.waited / 1_000_000, out);
        out.extend_from_slice(b" first=");
        decimals(self.first() / 1_000_000, out);
        out.extend_from_slice(b" cpu=");
        match self.cpu {
            Some(cpu) => decimals(cpu / 1_000_000, out),
            None => out.push(b'-'),
        }
        out.extend_from_slice(b" rss=+");
        match self.grown {
            0 => out.push(b'0'),
            small @ 1..1_048_576 => {
                number(small >> 10, out);
                out.push(b'K');
            }
            large => {
                number(large >> 20, out);
                out.push(b'M');
            }
        }
        out.extend_from_slice(b" id=");
        out.extend_from_slice(self.id.as_bytes());
        if self.figures.was_left {
            out.extend_from_slice(b" left");
        }
        if let Some(failure) = self.failure() {
            out.extend_from_slice(b" failed=");
            out.extend_from_slice(failure.as_bytes());
        }
    }

    fn failure(&self) -> Option<&'static str> {
        self.figures.failure.map(|kind| match kind {
            FailureKind::Exception => "exception",
            FailureKind::Protocol => "protocol",
            FailureKind::AfterHead => "after_head",
        })
    }

    fn write_worker(&self, out: &mut Vec<u8>) {
        number(self.worker.into(), out);
        out.push(b'.');
        number(self.thread as u64, out);
    }

    fn write_status(&self, out: &mut Vec<u8>) {
        match self.figures.status {
            Some(status) => number(status.into(), out),
            None => out.push(b'-'),
        }
    }

    // ---- JSON ------------------------------------------------------------------------------------------------------

    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        calendar::write_iso(self.begun, out);
        out.push(b'"');
        let (path, query) = self.split_uri();
        for (key, value) in [
            ("name", [self.name.as_bytes(), &[]]),
            ("id", [self.id.as_bytes(), &[]]),
            ("client", [self.get(b"REMOTE_ADDR"), &[]]),
            ("user", [self.get(b"REMOTE_USER"), &[]]),
            ("method", [self.get(b"REQUEST_METHOD"), &[]]),
            ("path", path),
            ("query", [query, &[]]),
            ("protocol", [self.get(b"SERVER_PROTOCOL"), &[]]),
            ("host", [self.get(b"HTTP_HOST"), &[]]),
            ("referer", [self.get(b"HTTP_REFERER"), &[]]),
            ("agent", [self.get(b"HTTP_USER_AGENT"), &[]]),
        ] {
            key_of(key, out);
            out.push(b'"');
            value.iter().for_each(|part| json(part, out));
            out.push(b'"');
        }
        for (key, value) in [
            ("status", self.figures.status.map(u64::from)),
            ("received", Some(self.figures.received)),
            ("sent", Some(self.figures.sent)),
            ("worker", Some(self.worker.into())),
            ("thread", Some(self.thread as u64)),
            ("pid", Some(self.pid.into())),
            ("rss_grown", Some(self.grown)),
        ] {
            key_of(key, out);
            match value {
                Some(value) => number(value, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        for (key, value) in [
            ("duration", Some(self.duration)),
            ("wait", Some(self.figures.waited)),
            ("first", Some(self.first())),
            ("cpu", self.cpu),
        ] {
            key_of(key, out);
            match value {
                Some(value) => fraction(value / 1000, 6, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        if self.figures.was_left {
            out.extend_from_slice(b",\"left\":true");
        }
        if let Some(failure) = self.failure() {
            key_of("failed", out);
            out.push(b'"');
            out.extend_from_slice(failure.as_bytes());
            out.push(b'"');
        }
        out.push(b'}');
    }

    // ---- Letters ---------------------------------------------------------------------------------------------------

    fn write_part(&self, part: &AccessPart, out: &mut Vec<u8>) {
        match part {
            AccessPart::Text(text) => out.extend_from_slice(text.as_bytes()),
            AccessPart::Client => self.write_variable(b"REMOTE_ADDR", out),
            AccessPart::Ident => out.push(b'-'),
            AccessPart::User => self.write_variable(b"REMOTE_USER", out),
            AccessPart::Time(form) => self.write_when(*form, out),
            AccessPart::RequestLine => {
                quoted(self.get(b"REQUEST_METHOD"), out);
                out.push(b' ');
                self.uri().iter().for_each(|part| quoted(part, out));
                out.push(b' ');
                quoted(self.get(b"SERVER_PROTOCOL"), out);
            }
            AccessPart::Method => self.write_variable(b"REQUEST_METHOD", out),
            AccessPart::Path => {
                let (path, _) = self.split_uri();
                path.iter().for_each(|part| quoted(part, out));
            }
            AccessPart::Query => {
                let (_, query) = self.split_uri();
                if !query.is_empty() {
                    out.push(b'?');
                    quoted(query, out);
                }
            }
            AccessPart::Protocol => self.write_variable(b"SERVER_PROTOCOL", out),
            AccessPart::Status => self.write_status(out),
            AccessPart::Bytes(true) if self.figures.sent == 0 => out.push(b'-'),
            AccessPart::Bytes(_) => number(self.figures.sent, out),
            AccessPart::Span(span, unit) => {
                let nanos = match span {
                    Span::All => self.duration,
                    Span::Queue => self.figures.waited,
                    Span::First => self.first(),
                };
                write_span(nanos, *unit, out);
            }
            AccessPart::Memory(shift) => number(self.memory >> shift, out),
            AccessPart::Cpu => match self.cpu {
                // In hundredths of a percent.
                Some(cpu) => {
                    let part = u128::from(cpu) * 10_000 / u128::from(self.duration.max(1));
                    fraction(u64::try_from(part).unwrap_or(u64::MAX), 2, out);
                }
                None => out.push(b'-'),
            },
            AccessPart::Variable(name) => self.write_variable(name.as_bytes(), out),
            AccessPart::Connection => out.push(if self.figures.was_left { b'X' } else { b'-' }),
            AccessPart::Name => quoted(self.name.as_bytes(), out),
            AccessPart::Pid => number(self.pid.into(), out),
            AccessPart::Worker => self.write_worker(out),
            AccessPart::Id => out.extend_from_slice(self.id.as_bytes()),
        }
    }

    fn write_variable(&self, name: &[u8], out: &mut Vec<u8>) {
        match self.get(name) {
            [] => out.push(b'-'),
            value => quoted(value, out),
        }
    }

    fn write_when(&self, form: TimeForm, out: &mut Vec<u8>) {
        match form {
            TimeForm::Common => calendar::write_common(self.begun, out),
            TimeForm::Iso => calendar::write_iso(self.begun, out),
            TimeForm::Seconds => number(self.begun.as_secs(), out),
            TimeForm::Millis => number(whole(self.begun.as_millis()), out),
            TimeForm::Micros => number(whole(self.begun.as_micros()), out),
        }
    }
}

fn write_span(nanos: u64, unit: TimeUnit, out: &mut Vec<u8>) {
    match unit {
        TimeUnit::WholeSeconds => number(nanos / 1_000_000_000, out),
        TimeUnit::Seconds => decimals(nanos / 1_000_000, out),
        TimeUnit::WholeMillis => number(nanos / 1_000_000, out),
        TimeUnit::Millis => decimals(nanos / 1000, out),
        TimeUnit::Micros => number(nanos / 1000, out),
    }
}

fn whole(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The digits of a number.
pub(super) fn number(value: u64, out: &mut Vec<u8>) {
    padded(value, 1, out);
}

/// Thousandths, with three decimals.
fn decimals(thousandths: u64, out: &mut Vec<u8>) {
    fraction(thousandths, 3, out);
}

/// A number of units of so many decimals.
fn fraction(value: u64, places: u32, out: &mut Vec<u8>) {
    let unit = 10_u64.pow(places);
    number(value / unit, out);
    out.push(b'.');
    padded(value % unit, places as usize, out);
}

fn key_of(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

/// What fits of a value.
fn shown(value: &[u8]) -> (&[u8], &'static [u8]) {
    match value.get(..SHOWN) {
        Some(begin) if value.len() > SHOWN => (begin, b"..."),
        _ => (value, b""),
    }
}

/// Writes a value, with what `is_plain` says no of as Apache writes it: `\"`, `\\`, `\xhh`.
fn escaped(value: &[u8], is_plain: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    let (value, end) = shown(value);
    let mut left = value;
    while let Some(at) = left.iter().position(|byte| !is_plain(*byte)) {
        out.extend_from_slice(&left[..at]);
        match left[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                out.extend_from_slice(b"\\x");
                out.extend_from_slice(&hex(byte));
            }
        }
        left = &left[at + 1..];
    }
    out.extend_from_slice(left);
    out.extend_from_slice(end);
}

/// A value that may stand between quotation marks.
fn quoted(value: &[u8], out: &mut Vec<u8>) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    escaped(value, is_plain, out);
}

/// A value that is one word of a line.
fn words(value: &[u8], out: &mut Vec<u8>) {
    match value {
        [] => out.push(b'-'),
        value => escaped(
            value,
            |byte| matches!(byte, b'!'..=b'~') && byte != b'\\',
            out,
        ),
    }
}

/// What stands between the quotation marks of a JSON string (RFC 8259 section 7). Bytes that are no UTF-8 are the characters of their
/// numbers, as in `environ`.
fn json(value: &[u8], out: &mut Vec<u8>) {
    let (value, mut end) = shown(value);
    let most = out.len() + 2 * SHOWN;
    for piece in value.utf8_chunks() {
        for character in piece.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\u{2028}' | '\u{2029}' => unicode(character.into(), out),
                _ if character.is_control() => unicode(character.into(), out),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in piece.invalid() {
            unicode((*byte).into(), out);
        }
        if out.len() > most {
            end = b"...";
            break;
        }
    }
    out.extend_from_slice(end);
}

/// A character of no more than 16 bits.
fn unicode(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    for byte in &number.to_be_bytes()[2..] {
        out.extend_from_slice(&hex(*byte));
    }
}
