//! One request to a gateway by FastCGI, as nginx would send it, and what comes back.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use thiserror::Error;

use crate::fastcgi::{Reply, ReplyReader, write_body, write_request};
use crate::gateway::{Variables, url_decoded};
use crate::process::Address;

/// What is asked.
pub(super) struct AskedRequest {
    pub(super) method: String,
    /// The path with its query, as it stands in a request line.
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Vec<u8>>,
}

/// Where what comes back goes.
pub(super) struct AnswerOutput<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) err: &'a mut dyn Write,
    /// Whether the head goes to `out`, too.
    pub(super) with_head: bool,
}

/// Why there is no whole answer. One sentence each, with the address.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub(super) enum NoAnswer {
    #[error(
        "no gateway listens on {0}: {1}; start one ('wsgi-gateway fastcgi --bind {0} APP'), or give the address of its --bind"
    )]
    NobodyListens(Address, &'static str),
    #[error(
        "{0} may not be connected to: permission denied; do this as root, or as a user of the socket's group (--socket-group)"
    )]
    Closed(Address),
    #[error("cannot connect to {0}: {1}")]
    Unreachable(Address, io::Error),
    #[error("'{0}' is nothing to connect to: give unix:/path, /path or host:port")]
    NotConnectable(Address),
    #[error(
        "{0} closed the connection and answered nothing: --allow may leave this host out, or it is no gateway"
    )]
    Nothing(Address),
    #[error(
        "{0} answers something else than FastCGI: give the address of the gateway's --bind, not that of the web server"
    )]
    NotFastcgi(Address),
    #[error("the response of {0} was cut: its log says why")]
    Cut(Address),
    #[error("the response of {0} has no head that can be read")]
    NoHead(Address),
    #[error("the response cannot be written: {0}")]
    Output(io::Error),
}

/// A connection to a gateway.
enum GatewayStream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl GatewayStream {
    fn open(address: &Address) -> Result<Self, NoAnswer> {
        let opened = match address {
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
            Address::Abstract(name) => SocketAddr::from_abstract_name(name)
                .and_then(|address| UnixStream::connect_addr(&address))
                .map(Self::Unix),
            Address::Tcp(host, port) => TcpStream::connect((&**host, *port)).map(Self::Tcp),
            Address::Fd(_) | Address::Systemd => {
                return Err(NoAnswer::NotConnectable(address.clone()));
            }
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                NoAnswer::NobodyListens(address.clone(), "there is no such socket")
            }
            io::ErrorKind::ConnectionRefused => {
                NoAnswer::NobodyListens(address.clone(), "connection refused")
            }
            io::ErrorKind::PermissionDenied => NoAnswer::Closed(address.clone()),
            _ => NoAnswer::Unreachable(address.clone(), error),
        })
    }

    fn to_write(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Unix(stream) => Box::new(stream.try_clone()?),
            Self::Tcp(stream) => Box::new(stream.try_clone()?),
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl AskedRequest {
    /// The variables of nginx's fastcgi_params, for an application that has the whole site (`conf/nginx.conf`).
    fn variables(&self) -> Variables {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let decoded = url_decoded(path.as_bytes());
        let host = self.field("Host").unwrap_or("localhost");
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
        let length = self.body.as_ref().map(|body| body.len().to_string());
        let mut variables = Variables::default();
        for (name, value) in [
            ("QUERY_STRING", query.as_bytes()),
            ("REQUEST_METHOD", self.method.as_bytes()),
            (
                "CONTENT_TYPE",
                self.field("Content-Type").unwrap_or_default().as_bytes(),
            ),
            (
                "CONTENT_LENGTH",
                length.as_deref().unwrap_or_default().as_bytes(),
            ),
            ("SCRIPT_NAME", b""),
            ("PATH_INFO", &decoded),
            ("REQUEST_URI", self.target.as_bytes()),
            ("DOCUMENT_URI", &decoded),
            ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ("REQUEST_SCHEME", b"http"),
            ("GATEWAY_INTERFACE", b"CGI/1.1"),
            (
                "SERVER_SOFTWARE",
                concat!("wsgi-gateway/", env!("CARGO_PKG_VERSION")).as_bytes(),
            ),
            ("REMOTE_ADDR", b"127.0.0.1"),
            ("REMOTE_PORT", b"0"),
            ("SERVER_ADDR", b"127.0.0.1"),
            ("SERVER_PORT", port.as_bytes()),
            ("SERVER_NAME", name.as_bytes()),
            ("REDIRECT_STATUS", b"200"),
        ] {
            variables.push(name.as_bytes(), value);
        }
        if self.field("Host").is_none() {
            variables.push(b"HTTP_HOST", host.as_bytes());
        }
        for (name, value) in &self.headers {
            let name = name.to_ascii_uppercase().replace('-', "_");
            if name != "CONTENT_TYPE" && name != "CONTENT_LENGTH" {
                variables.push(format!("HTTP_{name}").as_bytes(), value.as_bytes());
            }
        }
        variables
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Asks, and writes what comes back while it comes: the status.
    ///
    /// # Errors
    /// When there is no whole answer; a part of it may have been written.
    pub(super) fn ask(
        &self,
        address: &Address,
        answer: &mut AnswerOutput<'_>,
    ) -> Result<u16, NoAnswer> {
        let mut connection = GatewayStream::open(address)?;
        let mut bytes = Vec::new();
        write_request(&mut bytes, self.variables().iter(), self.body.is_some());
        if let Some(body) = &self.body {
            for piece in body.chunks(MOST) {
                write_body(&mut bytes, piece);
            }
            write_body(&mut bytes, &[]);
        }
        let unreachable = |error| NoAnswer::Unreachable(address.clone(), error);
        let mut writer = connection.to_write().map_err(unreachable)?;
        // An answer may come before the body was read, and be larger than what the kernel holds.
        let written = std::thread::spawn(move || writer.write_all(&bytes));
        let status = self.read(&mut connection, address, answer);
        // Who has answered need not have read it all.
        drop(written);
        status
    }

    fn read(
        &self,
        connection: &mut GatewayStream,
        address: &Address,
        answer: &mut AnswerOutput<'_>,
    ) -> Result<u16, NoAnswer> {
        let mut reader = ReplyReader::default();
        let mut head = IncomingHead::default();
        let mut buffer = vec![0; 64 * 1024];
        let mut is_begun = false;
        loop {
            let count = connection.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                return Err(match is_begun {
                    true => NoAnswer::Cut(address.clone()),
                    false => NoAnswer::Nothing(address.clone()),
                });
            }
            let mut input = &buffer[..count];
            loop {
                let reply = reader.next(&mut input).map_err(|_| match is_begun {
                    true => NoAnswer::Cut(address.clone()),
                    false => NoAnswer::NotFastcgi(address.clone()),
                })?;
                match reply {
                    None => break,
                    Some(Reply::Stdout(bytes)) => {
                        is_begun = true;
                        head.take(bytes, answer).map_err(NoAnswer::Output)?;
                        if head.is_too_long() {
                            return Err(NoAnswer::NoHead(address.clone()));
                        }
                    }
                    Some(Reply::Stderr(bytes)) => {
                        is_begun = true;
                        // Whoever does not read it does not want it.
                        let _ = answer.err.write_all(bytes);
                    }
                    Some(Reply::End(_)) if head.status.is_none() => {
                        return Err(NoAnswer::NoHead(address.clone()));
                    }
                    Some(Reply::End(0)) => {
                        answer.out.flush().map_err(NoAnswer::Output)?;
                        return Ok(head.status.unwrap_or_default());
                    }
                    // The application has failed, and a page says so; or a response was cut.
                    Some(Reply::End(_)) => match head.status {
                        Some(status) if status >= 400 => return Ok(status),
                        _ => return Err(NoAnswer::Cut(address.clone())),
                    },
                }
            }
        }
    }
}

/// As much of a body as a record holds with room for none of it left over.
const MOST: usize = 65_528;

/// The largest head that is read, in bytes.
const LONGEST_HEAD: usize = 1 << 20;

/// The head of a response while it comes (RFC 3875 section 6.3).
#[derive(Default)]
struct IncomingHead {
    bytes: Vec<u8>,
    /// Known as soon as the head has come.
    status: Option<u16>,
}

impl IncomingHead {
    fn is_too_long(&self) -> bool {
        self.status.is_none() && self.bytes.len() > LONGEST_HEAD
    }

    /// Takes bytes of the response, and passes on what is to be shown of them.
    fn take(&mut self, bytes: &[u8], answer: &mut AnswerOutput<'_>) -> io::Result<()> {
        if self.status.is_some() {
            return answer.out.write_all(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        let text = &self.bytes;
        let ends = (0..text.len()).filter(|&at| text[at] == b'\n');
        let end = ends
            .filter_map(|at| match text[at + 1..] {
                [b'\n', ..] => Some((at + 1, at + 2)),
                [b'\r', b'\n', ..] => Some((at + 1, at + 3)),
                _ => None,
            })
            .next();
        let Some((end, begin)) = end else {
            return Ok(());
        };
        let head = String::from_utf8_lossy(&text[..end]).into_owned();
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        let value = |wanted: &str| {
            let mut fields = fields.clone();
            let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim().to_owned())
        };
        let status = match (value("Status"), value("Location")) {
            (Some(status), _) => status,
            (None, Some(_)) => "302 Found".to_owned(),
            (None, None) => "200 OK".to_owned(),
        };
        self.status = Some(
            status
                .get(..3)
                .and_then(|code| code.parse().ok())
                .unwrap_or(0),
        );
        if answer.with_head {
            write!(answer.out, "HTTP/1.1 {status}\r\n")?;
            for line in head.lines() {
                let is_status = line
                    .split_once(':')
                    .is_some_and(|(name, _)| name.eq_ignore_ascii_case("Status"));
                if !is_status {
                    write!(answer.out, "{line}\r\n")?;
                }
            }
            answer.out.write_all(b"\r\n")?;
        }
        let rest = self.bytes.split_off(begin);
        answer.out.write_all(&rest)
    }
}
