//! What comes back for a request.

use super::REQUEST_COMPLETE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndRequest {
    pub(crate) app_status: u32,
    pub(crate) protocol_status: u8,
}

/// What came for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// 200 where the application named none, 0 where no whole head came.
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// All but `Status`, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) end: Option<EndRequest>,
    /// Content lengths of the `FCGI_STDOUT` records, without the empty one that ends the stream.
    pub(crate) stdout_records: Vec<usize>,
    pub(crate) stderr_records: Vec<usize>,
    /// Whether the empty record came.
    pub(crate) stdout_ended: bool,
    pub(crate) stderr_ended: bool,
    pub(crate) raw_stdout: Vec<u8>,
    /// Whether the other side has closed the connection.
    pub(crate) closed: bool,
    /// Whether the response was given up with a header that no web server can take for its end.
    pub(crate) broken: bool,
    /// Whether it ended with a reset: what a peer sees that still had bytes on the way.
    pub(crate) reset: bool,
}

impl Response {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|header| header.0.eq_ignore_ascii_case(name))
            .map(|header| header.1.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A complete response that ended as it should: what most tests expect before they look closer.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{self:#?}");
        assert!(!self.reset, "{self:#?}");
        assert_eq!(
            self.end.map(|end| end.protocol_status),
            Some(REQUEST_COMPLETE),
            "{self:#?}"
        );
        self
    }

    pub(super) fn parse_head(&mut self) {
        let raw = std::mem::take(&mut self.raw_stdout);
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            self.status = 200;
            for line in raw[..end].split(|byte| *byte == b'\n') {
                let line: String = line.iter().map(|byte| char::from(*byte)).collect();
                let line = line.strip_suffix('\r').unwrap_or(&line);
                let (name, value) = line
                    .split_once(':')
                    .unwrap_or_else(|| panic!("header line without a colon: {line:?}"));
                let value = value.trim();
                if name.eq_ignore_ascii_case("status") {
                    let (code, reason) = value.split_once(' ').unwrap_or((value, ""));
                    self.status = code.parse().unwrap();
                    self.reason = reason.into();
                } else {
                    self.headers.push((name.into(), value.into()));
                }
            }
            self.body = raw[end + 4..].to_vec();
        }
        self.raw_stdout = raw;
    }
}
