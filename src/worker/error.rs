//! How a process of a service tells why it ends.

use super::PythonRuntime;
use super::failure::Failure;
use super::service::FastcgiService;
use crate::exit::Exit;
use crate::process::{Channel, ChildMessage};

/// Tells an error, and gives the exit code.
pub fn report(
    service: &FastcgiService,
    worked: Result<Exit, Failure>,
    channel: Option<&Channel>,
    python: Option<&dyn PythonRuntime>,
) -> i32 {
    let error = match worked {
        Ok(exit) => return exit as i32,
        Err(error) => error,
    };
    let told = service.settings().origins.put_in(&format!("{error:#}"));
    log::error!("{}", with_traceback(&told, &error));
    let traceback = error.traceback().unwrap_or_default();
    if service.watches_files() {
        let imported = python.map(PythonRuntime::imported_files);
        let files = imported.unwrap_or_default() + &files_in(traceback);
        // Where nothing of the application was found, a change of other files is not going to help.
        if !traceback.is_empty() || files.lines().any(|file| service.is_own(file)) {
            send_files(channel, &files);
        }
    }
    let text = format!("{told}\n\n{traceback}");
    send(
        channel,
        &ChildMessage::CannotLoad(text.trim_end().to_owned()),
    );
    error.exit() as i32
}

/// What is wrong, and below it the traceback if the application's own code has raised: one message.
pub fn with_traceback(told: &str, error: &Failure) -> String {
    match error.traceback() {
        Some(traceback) => format!("{told}\n{}", traceback.trim_end()),
        None => told.to_owned(),
    }
}

fn send(channel: Option<&Channel>, message: &ChildMessage) {
    if let Some(channel) = channel {
        // A master that has died is noticed where it is waited for.
        let _ = channel.send(message);
    }
}

/// The files that a traceback names, one a line: one with a syntax error is no module yet.
fn files_in(traceback: &str) -> String {
    let mut files = String::new();
    for line in traceback.lines() {
        let named = line.trim_start().strip_prefix("File \"");
        if let Some((file, _)) = named.and_then(|rest| rest.split_once('"')) {
            files.push('\n');
            files.push_str(file);
        }
    }
    files
}

/// Sends the names of files, one a line, in as many messages as they need: a message has to fit its socket.
pub fn send_files(channel: Option<&Channel>, files: &str) {
    const MOST: usize = 64 * 1024;
    let mut message = String::new();
    for file in files.lines() {
        if message.len() + file.len() > MOST {
            send(channel, &ChildMessage::Files(std::mem::take(&mut message)));
        }
        message.push_str(file);
        message.push('\n');
    }
    send(channel, &ChildMessage::Files(message));
}
