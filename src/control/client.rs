//! Asks at a control socket.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use super::COMMAND;
use crate::fastcgi::{Reply as Piece, ReplyReader, write_request};

/// How long the observer may take for what it only has to look at.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is tried to look where there is no room for who asks, and the time between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes of the longest reply.
const LONGEST: u64 = 64 << 20;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlReply {
    /// The status of HTTP.
    pub status: u16,
    /// What who has asked exits with.
    pub exit: u8,
    /// The text.
    pub body: String,
}

/// Why nothing came back.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum ClientError {
    #[error("nobody answers at {0}: the gateway is not there any more")]
    Nobody(String),
    #[error(
        "this user may not ask at {0}: only root and the user of the gateway may, and --control-group"
    )]
    Forbidden(String),
    #[error("{0} cannot be asked: {1}")]
    Failed(String, io::Error),
    #[error("{0} answers nothing that is an answer of this gateway's")]
    Nonsense(String),
}

/// Asks for what there is to see: `status`, with `json` for one.
///
/// # Errors
/// Why there is no answer.
pub fn ask(socket: &Path, page: &str, query: &str) -> Result<ControlReply, ClientError> {
    let variables = [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", page),
        ("QUERY_STRING", query),
    ];
    let mut tries = 1..TRIES;
    loop {
        match request(socket, &variables, Some(PATIENCE)) {
            // Others ask so much that there was no room: they are let wait for a second at most.
            Err(ClientError::Failed(_, error))
                if is_for_want_of_room(&error) && tries.next().is_some() =>
            {
                std::thread::sleep(PAUSE);
            }
            reply => return reply,
        }
    }
}

/// Asks for something to be done, as `reload` or `resize 4`, and waits for what comes of it.
///
/// # Errors
/// Why there is no answer.
pub fn ask_command(socket: &Path, command: &str) -> Result<ControlReply, ClientError> {
    request(socket, &[(COMMAND, command)], None)
}

/// Whether others may ask so much that nobody came to this.
fn is_for_want_of_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::WouldBlock | ErrorKind::TimedOut
    )
}

fn request(
    socket: &Path,
    variables: &[(&str, &str)],
    patience: Option<Duration>,
) -> Result<ControlReply, ClientError> {
    let shown = || socket.display().to_string();
    let told = |error: io::Error| match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => ClientError::Nobody(shown()),
        ErrorKind::PermissionDenied => ClientError::Forbidden(shown()),
        _ => ClientError::Failed(shown(), error),
    };
    let mut stream = UnixStream::connect(socket).map_err(told)?;
    stream.set_read_timeout(patience).map_err(told)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(told)?;
    let mut bytes = Vec::new();
    let pairs = variables.iter();
    let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    write_request(&mut bytes, pairs, false);
    stream.write_all(&bytes).map_err(told)?;
    let mut reader = ReplyReader::default();
    let mut response = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut stream = stream.take(LONGEST);
    loop {
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.map_err(told)?,
        };
        if count == 0 {
            return Err(told(ErrorKind::ConnectionReset.into()));
        }
        let mut input = &buffer[..count];
        loop {
            match reader.next(&mut input) {
                Ok(Some(Piece::Stdout(piece))) => response.extend_from_slice(piece),
                Ok(Some(Piece::Stderr(_))) => {}
                Ok(Some(Piece::End(_))) => {
                    return read(&response).ok_or_else(|| ClientError::Nonsense(shown()));
                }
                Ok(None) => break,
                Err(_) => return Err(ClientError::Nonsense(shown())),
            }
        }
    }
}

/// Reads a response as a gateway writes it.
fn read(response: &[u8]) -> Option<ControlReply> {
    let text = String::from_utf8_lossy(response);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let field = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    };
    let status = field("Status").map_or(Some(200), |status| status.get(..3)?.parse().ok())?;
    Some(ControlReply {
        status,
        exit: field("X-Exit")
            .and_then(|exit| exit.parse().ok())
            .unwrap_or(0),
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{ControlReply, read};

    #[test]
    fn a_response_is_read_with_its_exit_code() {
        let reply =
            read(b"Content-Type: text/plain\r\nX-Exit: 3\r\nStatus: 200 OK\r\n\r\na\r\n\r\nb");
        let expected = ControlReply {
            status: 200,
            exit: 3,
            body: "a\r\n\r\nb".to_owned(),
        };
        assert_eq!(reply, Some(expected));
        assert_eq!(read(b"nothing"), None);
    }
}
