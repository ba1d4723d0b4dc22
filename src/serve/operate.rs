//! What an operator sees of gateways that run, and has them do.

use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;

use crate::config::{Operation, StatusForm};
use crate::control::{
    ClientError, ControlReply, Found, Status, age, ask, ask_command, found_sockets, table,
};
use crate::exit::{Exit, UsageError};
use crate::persistent::{Living, clear_left, living};
use crate::process::user_name;
use crate::top;
use crate::worker::Failure;

/// Why that cannot be done.
#[derive(Debug, Error)]
enum OperateError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
}

impl OperateError {
    fn exit(&self) -> Exit {
        match self {
            // There is none, which may be so and is no fault of who asks.
            Self::Usage(UsageError::NoGateway) | Self::Client(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
            Self::Terminal(_) => Exit::Failed,
            Self::Failure(error) => error.exit(),
        }
    }

    /// Whether it is that there is no gateway to be asked.
    fn is_about_no_gateway(&self) -> bool {
        matches!(
            self,
            Self::Client(ClientError::Nobody(_))
                | Self::Usage(UsageError::NoGateway | UsageError::NoSuchGateway(_))
        )
    }
}

/// How long a persistent application that `stop` ends may take for what it is at, if it is not told otherwise.
const STOP: Duration = Duration::from_secs(40);

/// How old a socket is on which nobody answers before it is taken for one of a gateway that was killed: another may just begin
/// to listen.
const LEFT: Duration = Duration::from_secs(60);

/// Does what an operator wants of gateways that run.
pub fn operate(operation: &Operation) -> ExitCode {
    let done = match operation {
        Operation::Ps { json } => ps(*json),
        Operation::Status {
            gateway,
            form,
            shows_query,
        } => return status(gateway.as_deref(), *form, *shows_query),
        Operation::Top { gateway } => watch(gateway.as_deref()),
        Operation::Act { gateway, command } => act(gateway.as_deref(), command),
        Operation::Stop { gateway, all } => stop(gateway.as_deref(), *all),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            tell(&error);
            error.exit().into()
        }
    }
}

fn tell(error: &OperateError) {
    let _ = writeln!(io::stderr(), "wsgi-gateway: error: {error:#}");
}

/// A gateway that answers.
struct Answering {
    found: Found,
    status: Status,
}

/// The gateways that answer, and the sockets that this user may not ask at.
fn running() -> (Vec<Answering>, Vec<Found>) {
    let (mut running, mut closed) = (Vec::new(), Vec::new());
    for found in found_sockets() {
        match ask_status(&found.path, "json") {
            Ok(status) => running.push(Answering { found, status }),
            Err(ClientError::Forbidden(_)) => closed.push(found),
            Err(ClientError::Nobody(_)) => clear(&found.path),
            Err(_) => {}
        }
    }
    (running, closed)
}

fn ask_status(socket: &Path, query: &str) -> Result<Status, ClientError> {
    let reply = ask(socket, "/status", query)?;
    Status::read(&reply.body).ok_or_else(|| ClientError::Nonsense(socket.display().to_string()))
}

fn is_socket(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_ok_and(|found| found.file_type().is_socket())
}

/// Removes the socket of a gateway that was killed.
fn clear(socket: &Path) {
    let made = std::fs::symlink_metadata(socket).and_then(|found| found.modified());
    let is_old = |made: SystemTime| made.elapsed().is_ok_and(|age| age > LEFT);
    if made.is_ok_and(is_old) {
        // It is no harm where it stays.
        let _ = std::fs::remove_file(socket);
    }
}

/// The control socket of the gateway that is meant.
fn find(gateway: Option<&str>) -> Result<PathBuf, UsageError> {
    let Some(name) = gateway else {
        let (mut running, closed) = running();
        let names = running.iter().map(|it| &it.found).chain(&closed);
        let names: Vec<&str> = names.map(|found| found.name.as_str()).collect();
        return match names.as_slice() {
            [] => Err(UsageError::NoGateway),
            [_] => Ok(running
                .pop()
                .map(|it| it.found)
                .or(closed.into_iter().next())
                .ok_or(UsageError::NoGateway)?
                .path),
            several => Err(UsageError::SeveralGateways(several.join(", "))),
        };
    };
    let path = name.strip_prefix("unix:").unwrap_or(name);
    if path.contains('/') {
        return Ok(path.into());
    }
    let mut found = found_sockets();
    found.retain(|it| it.name == name);
    // Those of gateways that were killed are no second one.
    if found.len() > 1 {
        found.retain(|it| !matches!(ask_status(&it.path, "json"), Err(ClientError::Nobody(_))));
    }
    match found.as_slice() {
        [] => Err(UsageError::NoSuchGateway(name.to_owned())),
        [one] => Ok(one.path.clone()),
        several => {
            let paths = several.iter().map(|it| it.path.display().to_string());
            let paths: Vec<String> = paths.collect();
            Err(UsageError::SameName(name.to_owned(), paths.join(", ")))
        }
    }
}

fn ps(json: bool) -> Result<Exit, OperateError> {
    let (running, _) = running();
    if json {
        let all: Vec<String> = running.iter().map(|it| it.status.write()).collect();
        print(&format!("[{}]", all.join(",")));
        return Ok(Exit::Fine);
    }
    let applications = living();
    if running.is_empty() && applications.is_empty() {
        print("no gateway and no persistent application runs");
        return Ok(Exit::Fine);
    }
    if !running.is_empty() {
        let head = [
            "NAME", "PID", "USER", "APP", "ADDRESS", "WORKERS", "BUSY", "WAITING", "UPTIME",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(running.iter().map(gateway_row));
        print_table(&rows, &[1, 5, 6, 7, 8]);
    }
    if !applications.is_empty() {
        if !running.is_empty() {
            print("");
        }
        let head = [
            "APPLICATION",
            "PID",
            "AGE",
            "REQUESTS",
            "PROCESSES",
            "MEMORY",
            "IDLE",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(applications.iter().map(application_row));
        print_table(&rows, &[1, 2, 3, 4, 5, 6]);
    }
    Ok(Exit::Fine)
}

fn gateway_row(running: &Answering) -> [String; 9] {
    let Answering { found, status } = running;
    let workers = status.workers;
    let waiting: Option<u64> = status.waiting.iter().map(|it| it.connections).sum();
    let addresses: Vec<&str> = status
        .waiting
        .iter()
        .map(|it| it.address.as_str())
        .collect();
    [
        found.name.clone(),
        status.pid.to_string(),
        user_name(status.uid),
        status.application.clone(),
        addresses.join(" "),
        format!("{} of {}", workers.idle + workers.busy, workers.max),
        format!("{}/{}", status.threads_busy, status.threads),
        waiting.map_or_else(|| "-".to_owned(), |waiting| waiting.to_string()),
        age(status.uptime_seconds),
    ]
}

fn application_row(found: &Living) -> [String; 7] {
    let account = &found.account;
    let since = |time: SystemTime| age(time.elapsed().unwrap_or_default().as_secs_f64());
    let (processes, memory) = found.size();
    [
        account.application.clone(),
        account.pid.to_string(),
        since(account.since),
        account.requests.to_string(),
        processes.to_string(),
        format!("{}M", memory.div_ceil(1 << 20)),
        account.idle_since.map_or_else(|| "busy".to_owned(), since),
    ]
}

/// Shows how it stands with a gateway, for people and for those who look at the exit code: 3 where it does not run.
fn status(gateway: Option<&str>, form: StatusForm, shows_query: bool) -> ExitCode {
    const NOT_THERE: u8 = 3;
    let shown = find(gateway)
        .map_err(OperateError::from)
        .and_then(|socket| show_status(&socket, form, shows_query));
    match shown {
        Ok(exit) => exit.into(),
        Err(error) => {
            tell(&error);
            match error.is_about_no_gateway() {
                true => NOT_THERE.into(),
                false => error.exit().into(),
            }
        }
    }
}

fn show_status(socket: &Path, form: StatusForm, shows_query: bool) -> Result<Exit, OperateError> {
    let (page, query) = match form {
        StatusForm::Text => ("/status", "text"),
        StatusForm::Full => ("/status", "full"),
        StatusForm::Json => ("/status", "json"),
        StatusForm::Metrics => ("/metrics", ""),
    };
    let query = match shows_query {
        true => format!("{query}&query"),
        false => query.to_owned(),
    };
    let reply = ask(socket, page, &query)?;
    print(reply.body.trim_end());
    let status = ask_status(socket, "json")?;
    Ok(if status.ok { Exit::Fine } else { Exit::Failed })
}

fn watch(gateway: Option<&str>) -> Result<Exit, OperateError> {
    let socket = find(gateway)?;
    top::run(|shows_query| -> Result<Status, OperateError> {
        let query = if shows_query { "json&query" } else { "json" };
        Ok(ask_status(&socket, query)?)
    })?;
    Ok(Exit::Fine)
}

fn act(gateway: Option<&str>, command: &str) -> Result<Exit, OperateError> {
    let reply = ask_command(&find(gateway)?, command)?;
    Ok(show(&reply))
}

/// Says what came of a command: on standard error where it failed.
fn show(reply: &ControlReply) -> Exit {
    let text = reply.body.trim_end();
    match reply.exit {
        0 => print(text),
        _ => {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
    Exit::from_code(reply.exit.into())
}

/// Ends a gateway or persistent applications, and waits until they have ended.
fn stop(name: Option<&str>, all: bool) -> Result<Exit, OperateError> {
    clear_left();
    let mut applications = living();
    if let Some(name) = name {
        match find(Some(name)) {
            // The path of an application is not that of a socket.
            Ok(path) if !is_socket(&path) => {}
            Ok(socket) => return Ok(show(&ask_command(&socket, "stop")?)),
            Err(error @ UsageError::SameName(..)) => return Err(error.into()),
            Err(_) => {}
        }
        applications.retain(|it| it.account.application.contains(name));
        if applications.is_empty() {
            return Err(UsageError::NoSuchApplication(name.to_owned()).into());
        }
    } else if !all {
        let (gateways, _) = running();
        let names = gateways.iter().map(|it| it.found.name.clone());
        match (names.collect::<Vec<_>>().as_slice(), applications.len()) {
            ([], _) => {}
            ([_], 0) => return Ok(show(&ask_command(&find(None)?, "stop")?)),
            (names, _) => {
                let mut names = names.to_vec();
                names.extend(applications.into_iter().map(|it| it.account.application));
                return Err(UsageError::SeveralApplications(names.join(", ")).into());
            }
        }
    }
    stop_applications(&applications, all)
}

fn stop_applications(found: &[Living], all: bool) -> Result<Exit, OperateError> {
    let mut names: Vec<&str> = found
        .iter()
        .map(|it| it.account.application.as_str())
        .collect();
    names.dedup();
    match names.as_slice() {
        [] => {
            print("no gateway and no persistent application runs");
            return Ok(Exit::Fine);
        }
        [_] => {}
        _ if all => {}
        several => return Err(UsageError::SeveralApplications(several.join(", ")).into()),
    }
    for one in found {
        one.end();
    }
    let until = Instant::now() + STOP;
    for one in found {
        while one.is_there() {
            if Instant::now() >= until {
                let busy = Failure::StillBusy {
                    application: one.account.application.clone(),
                    pid: one.account.pid,
                    seconds: STOP.as_secs(),
                };
                return Err(busy.into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        print(&format!(
            "stopped {} (process {})",
            one.account.application, one.account.pid
        ));
    }
    Ok(Exit::Fine)
}

fn print_table<const N: usize>(rows: &[[String; N]], right: &[usize]) {
    print(table(rows, right).trim_end());
}

fn print(text: &str) {
    // Who does not read it does not want it.
    let _ = writeln!(io::stdout(), "{text}");
}
