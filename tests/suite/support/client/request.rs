//! A request, as a web server would send it.

use super::records::{begin, pairs, stream};
use super::{PARAMS, Pair, RESPONDER, STDIN};

/// One request as a web server would send it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) params: Vec<Pair>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) keep: bool,
    pub(crate) id: u16,
    pub(crate) role: u16,
}

impl Request {
    /// The variables of nginx's stock `fastcgi_params`, with the application at the root.
    pub(crate) fn get(path_and_query: &str) -> Request {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let path_info = percent_decoded(path);
        let mut request = Request {
            params: Vec::new(),
            stdin: Vec::new(),
            keep: false,
            id: 1,
            role: RESPONDER,
        };
        for (name, value) in [
            ("QUERY_STRING", query.as_bytes()),
            ("REQUEST_METHOD", b"GET"),
            ("CONTENT_TYPE", b""),
            ("CONTENT_LENGTH", b""),
            ("SCRIPT_NAME", b""),
            ("PATH_INFO", &path_info),
            ("REQUEST_URI", path_and_query.as_bytes()),
            ("DOCUMENT_URI", &path_info),
            ("DOCUMENT_ROOT", b"/var/www/html"),
            ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ("REQUEST_SCHEME", b"http"),
            ("GATEWAY_INTERFACE", b"CGI/1.1"),
            ("SERVER_SOFTWARE", b"nginx/1.26.3"),
            ("REMOTE_ADDR", b"127.0.0.1"),
            ("REMOTE_PORT", b"54321"),
            ("REMOTE_USER", b""),
            ("SERVER_ADDR", b"127.0.0.1"),
            ("SERVER_PORT", b"80"),
            ("SERVER_NAME", b"localhost"),
            ("REDIRECT_STATUS", b"200"),
            ("HTTP_HOST", b"localhost"),
            ("HTTP_USER_AGENT", b"suite"),
            ("HTTP_ACCEPT", b"*/*"),
        ] {
            request = request.add_param(name, value);
        }
        request
    }

    pub(crate) fn post(path: &str, body: &[u8]) -> Request {
        let mut request = Request::get(path)
            .param("REQUEST_METHOD", "POST")
            .param("CONTENT_TYPE", "application/octet-stream")
            .param("CONTENT_LENGTH", body.len().to_string());
        request.stdin = body.to_vec();
        request
    }

    /// Sets a variable: replaces its value where it stands, or adds it.
    pub(crate) fn param(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        match self.params.iter_mut().find(|pair| pair.0 == name) {
            Some(pair) => pair.1 = value.as_ref().to_vec(),
            None => return self.add_param(name, value),
        }
        self
    }

    /// Adds a variable, also when there is one of that name.
    pub(crate) fn add_param(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.params
            .push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn without(mut self, name: impl AsRef<[u8]>) -> Self {
        self.params.retain(|pair| pair.0 != name.as_ref());
        self
    }

    /// With `FCGI_KEEP_CONN`.
    pub(crate) fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn role(mut self, role: u16) -> Self {
        self.role = role;
        self
    }

    /// The whole request as nginx would write it: one record a stream where it fits, padded to eight.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut wire = self.head();
        wire.extend(stream(STDIN, self.id, &self.stdin, 32_768));
        wire
    }

    /// Up to the end of `FCGI_PARAMS`.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut wire = begin(self.id, self.role, u8::from(self.keep));
        wire.extend(stream(PARAMS, self.id, &pairs(&self.params), 65_528));
        wire
    }
}

fn percent_decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            decoded.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            decoded.push(byte);
        }
    }
    decoded
}
