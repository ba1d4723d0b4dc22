//! `get`: asks an application, or a gateway that runs, without a web server.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::ask::{AnswerOutput, AskedRequest, NoAnswer};
use super::own_gateway::OwnGateway;
use crate::config::GetSettings;
use crate::exit::Exit;
use crate::process::{self, Address};

/// How often is looked whether the gateway that was started is ready.
const STEP: Duration = Duration::from_millis(5);

/// Why a request cannot be made, or has no answer.
#[derive(Debug, Error)]
enum GetError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("{0} has not answered within {1:?} (--max-time)")]
    TooLate(String, Duration),
    #[error("the gateway cannot be started: {0}")]
    NotStarted(io::Error),
    /// It has said why itself.
    #[error("the gateway has ended")]
    Ended(i32),
}

/// Asks, prints the answer, and says by the exit code what it was.
pub fn get(settings: &GetSettings) -> ExitCode {
    match try_get(settings) {
        Ok(200..=399) => Exit::Fine.into(),
        Ok(_) => Exit::Failed.into(),
        Err(GetError::Ended(code)) => Exit::from_code(code).into(),
        Err(error) => {
            let _ = writeln!(io::stderr(), "wsgi-gateway: error: {error}");
            match error {
                GetError::Usage(_) => Exit::Usage.into(),
                _ => Exit::Failed.into(),
            }
        }
    }
}

fn try_get(settings: &GetSettings) -> Result<u16, GetError> {
    let until = Instant::now() + settings.max_time;
    let question = question(settings)?;
    let target = match named(&settings.target)? {
        Some(address) => return ask(question, address, settings, until, true),
        None => &settings.target,
    };
    let usual = ["--workers=1", "--log-level=error", "--control=off"];
    let mut gateway =
        OwnGateway::start(target, &settings.passed, &usual, None).map_err(GetError::NotStarted)?;
    while !gateway.is_ready() {
        if let Some(status) = gateway.ended() {
            return Err(GetError::Ended(process::code(status)));
        }
        if Instant::now() >= until {
            return Err(too_late(settings));
        }
        std::thread::sleep(STEP);
    }
    // What it writes to wsgi.errors is in the log, which is shown.
    ask(
        question,
        Address::Unix(gateway.socket()),
        settings,
        until,
        false,
    )
}

fn too_late(settings: &GetSettings) -> GetError {
    let target = Path::new(&settings.target).display().to_string();
    GetError::TooLate(target, settings.max_time)
}

/// Asks in a thread: neither a connect to a socket whose queue is full nor a write ends by itself.
fn ask(
    question: AskedRequest,
    address: Address,
    settings: &GetSettings,
    until: Instant,
    with_errors: bool,
) -> Result<u16, GetError> {
    let (to, from) = mpsc::channel();
    let with_head = settings.with_head;
    std::thread::spawn(move || {
        let (mut stderr, mut nowhere) = (io::stderr(), io::sink());
        let mut answer = AnswerOutput {
            out: &mut io::stdout(),
            err: match with_errors {
                true => &mut stderr,
                false => &mut nowhere,
            },
            with_head,
        };
        // Nobody waits for it any more where that fails.
        let _ = to.send(question.ask(&address, &mut answer));
    });
    let left = until.saturating_duration_since(Instant::now());
    match from.recv_timeout(left) {
        // A reader that has gone has seen enough.
        Ok(Err(NoAnswer::Output(error))) if error.kind() == io::ErrorKind::BrokenPipe => Ok(200),
        Ok(status) => Ok(status?),
        Err(_) => Err(too_late(settings)),
    }
}

/// The address that is meant; none where it is an application.
fn named(target: &OsString) -> Result<Option<Address>, GetError> {
    let path = Path::new(target);
    let is_socket = |path: &Path| {
        path.metadata()
            .is_ok_and(|found| found.file_type().is_socket())
    };
    if is_socket(path) {
        return Ok(Some(Address::Unix(path.to_owned())));
    }
    let Some(text) = target.to_str() else {
        return Ok(None);
    };
    let parse = |text: &str| {
        let parsed: Result<Address, _> = text.parse();
        parsed
            .map(Some)
            .map_err(|error| GetError::Usage(error.to_string()))
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.rsplit_once(':') {
        _ if ["unix:", "tcp:", "fd:"]
            .iter()
            .any(|begin| text.starts_with(begin)) =>
        {
            parse(text)
        }
        _ if text == "systemd" => parse(text),
        Some(("", port)) if is_number(port) => parse(&format!("127.0.0.1:{port}")),
        Some((_, port)) if is_number(port) => parse(text),
        _ if text.starts_with('/') && !path.exists() && !text.contains(':') => {
            Err(GetError::Usage(format!(
                "'{text}' is neither the socket of a gateway nor the file of an application: there is nothing of that name"
            )))
        }
        _ => Ok(None),
    }
}

fn question(settings: &GetSettings) -> Result<AskedRequest, GetError> {
    let path = &settings.path;
    if !path.starts_with('/') {
        return Err(GetError::Usage(format!(
            "'{path}' is no path: write what stands behind the host in the URL, such as /shop?page=2 (-H 'Host: NAME' names the site)"
        )));
    }
    let mut headers = Vec::new();
    for header in &settings.headers {
        let field = header.split_once(':').filter(|(name, _)| is_token(name));
        let Some((name, value)) = field else {
            return Err(GetError::Usage(format!(
                "'{header}' is no header field: write it as 'Name: value'"
            )));
        };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let body = settings.data.as_ref().map(body).transpose()?;
    let has_type = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("Content-Type"));
    if body.is_some() && !has_type {
        let form = "application/x-www-form-urlencoded";
        headers.push(("Content-Type".to_owned(), form.to_owned()));
    }
    let usual = if body.is_some() { "POST" } else { "GET" };
    let method = settings.method.clone().unwrap_or_else(|| usual.to_owned());
    if !is_token(&method) {
        return Err(GetError::Usage(format!(
            "'{method}' is no method such as GET, HEAD or POST"
        )));
    }
    // What a web server does with a line that has such characters in it.
    let mut target = String::new();
    for byte in path.bytes() {
        match byte {
            b'!'..=b'~' => target.push(char::from(byte)),
            _ => target += &format!("%{byte:02X}"),
        }
    }
    Ok(AskedRequest {
        method,
        target,
        headers,
        body,
    })
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_char)
}

/// The body that `--data` says.
fn body(data: &OsString) -> Result<Vec<u8>, GetError> {
    let bytes = data.as_encoded_bytes();
    let Some(name) = bytes.strip_prefix(b"@") else {
        return Ok(bytes.to_vec());
    };
    if name == b"-" {
        let mut body = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut body);
        return read
            .map(|_| body)
            .map_err(|error| GetError::Usage(format!("standard input cannot be read: {error}")));
    }
    let text = data.to_string_lossy();
    let file = text.get(1..).unwrap_or_default();
    std::fs::read(file).map_err(|error| {
        GetError::Usage(format!(
            "the file '{file}' of --data cannot be read: {error}"
        ))
    })
}
