//! A small HTTP/1.1 client: what a browser does with a web server's answer, and no more. It sees an answer
//! as it arrives and tells a whole one from one that was cut.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::gateway::DEADLINE;

/// A connection that is kept until it is dropped.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    left: Left,
}

/// What is still to come of the answer that is being read (RFC 9112, section 6.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Bytes(u64),
    Chunks,
    ToTheEnd,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its announced end.
    pub(crate) whole: bool,
    /// Whether the answer is HTTP/1.1, which keeps the connection unless it says otherwise.
    pub(crate) http_1_1: bool,
}

impl Page {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let is = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().find(is).map(|field| field.1.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn open(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        // A head and its body are two writes: the second is not to wait for the acknowledgement of the first.
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client {
            stream: BufReader::new(stream),
            left: Left::Bytes(0),
        }
    }

    /// A whole exchange.
    pub(crate) fn fetch(&mut self, method: &str, target: &str, body: &[u8]) -> Page {
        self.begin(method, target, &[], body.len());
        self.write(body);
        self.page(method)
    }

    /// The head of a request, to `site.example` unless a field names another host. Its body is up to `write`.
    pub(crate) fn begin(&mut self, method: &str, target: &str, fields: &[&str], length: usize) {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !fields.iter().any(|field| field.starts_with("Host:")) {
            head += "Host: site.example\r\n";
        }
        for field in fields {
            head += field;
            head += "\r\n";
        }
        if length > 0 {
            head += &format!("Content-Length: {length}\r\n");
        }
        head += "\r\n";
        self.write(head.as_bytes());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    /// An error where the server has closed the connection.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads a whole answer to a request of this method.
    pub(crate) fn page(&mut self, method: &str) -> Page {
        let page = self.head(method);
        self.with_body(page)
    }

    /// Reads a whole answer, after any "100 Continue"; `None` when the connection ends without one.
    pub(crate) fn final_page(&mut self, method: &str) -> Option<Page> {
        loop {
            let page = self.try_head(method)?;
            if page.status != 100 {
                return Some(self.with_body(page));
            }
        }
    }

    fn with_body(&mut self, mut page: Page) -> Page {
        loop {
            match self.block() {
                Some(block) if block.is_empty() => break,
                Some(block) => page.body.extend(block),
                None => {
                    page.whole = false;
                    break;
                }
            }
        }
        page
    }

    /// Reads the head of an answer. Its body is up to `block`.
    pub(crate) fn head(&mut self, method: &str) -> Page {
        self.try_head(method).expect("the head of an answer")
    }

    fn try_head(&mut self, method: &str) -> Option<Page> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1)?.parse().ok()?;
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
        let page = Page {
            status,
            fields,
            body: Vec::new(),
            whole: true,
            http_1_1: status_line.starts_with("HTTP/1.1 "),
        };
        self.left = if method == "HEAD" || [100, 204, 304].contains(&status) {
            Left::Bytes(0)
        } else if page.field("Transfer-Encoding") == Some("chunked") {
            Left::Chunks
        } else if let Some(length) = page.field("Content-Length") {
            Left::Bytes(length.parse().ok()?)
        } else {
            Left::ToTheEnd
        };
        Some(page)
    }

    /// The next bytes of a body as they come: none at its end, `None` where it is cut.
    pub(crate) fn block(&mut self) -> Option<Vec<u8>> {
        match self.left {
            Left::Bytes(0) => Some(Vec::new()),
            Left::Bytes(left) => {
                let block = self.some(left)?;
                self.left = Left::Bytes(left - block.len() as u64);
                (!block.is_empty()).then_some(block)
            }
            Left::Chunks => {
                let size = self.line()?;
                let size = usize::from_str_radix(&size, 16).ok()?;
                let mut chunk = vec![0; size + 2];
                self.stream.read_exact(&mut chunk).ok()?;
                assert!(chunk.ends_with(b"\r\n"), "a chunk longer than it says");
                chunk.truncate(size);
                if size == 0 {
                    self.left = Left::Bytes(0);
                }
                Some(chunk)
            }
            Left::ToTheEnd => self.some(u64::MAX),
        }
    }

    /// Whatever is there, at most so much; nothing at the end of the connection.
    fn some(&mut self, most: u64) -> Option<Vec<u8>> {
        let there = self.stream.fill_buf().ok()?;
        let length = there.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let block = there[..length].to_vec();
        self.stream.consume(length);
        Some(block)
    }

    /// A line without its end, each byte a character; `None` when the connection has ended.
    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).ok()?;
        let line = line.strip_suffix(b"\r\n")?;
        Some(line.iter().copied().map(char::from).collect())
    }
}
