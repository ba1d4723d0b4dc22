//! Where messages go and what they look like: one line an event, on standard error or in `--log-file`; a worker's go to
//! the master, which alone has the file.

pub mod calendar;
mod flood;
mod form;
mod said;

use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use log::Level;

use crate::config::{LogSettings, WorkerOutput};
use crate::gateway::forked;
use crate::process::{self, Channel, ChildMessage, LineForm, LogFileError, LogOutput};
use flood::Verdict;
use form::{Form, Message};
use said::said_level;

/// The most text of one message to the master, in bytes.
const PIECE: usize = 64 * 1024;

/// The targets of what the application says, by its output and by `wsgi.errors`: it may say at which level.
const OF_APPLICATION: [&str; 2] = [process::OUTPUT, "wsgi.errors"];

/// The way out of this process.
enum Sink {
    Own(LogOutput),
    /// Through the master.
    Through(Channel),
}

/// The form of this process's messages, which nothing changes once logging has started.
static FORM: OnceLock<Form> = OnceLock::new();

fn form() -> &'static Form {
    FORM.get_or_init(Form::plain)
}

/// A line of the gateway's own.
fn line(level: Level, text: &str) -> Vec<u8> {
    form().write(&Message {
        level,
        from: None,
        pid: None,
        text,
    })
}

static SINK: Mutex<Option<Sink>> = Mutex::new(None);

/// Where a process's lines go at first.
#[derive(Debug)]
pub enum Destination<'a> {
    /// To standard error.
    StandardError,
    /// To this file, which is to be opened.
    File(&'a Path),
    /// To the file of this name, which the process has inherited open.
    Opened(PathBuf, File),
    /// To the master.
    Master(&'a Channel),
}

/// Starts logging. A web server puts time and program in front of what a CGI program says, so that only a responder's lines
/// have them, which is `alone` with them.
///
/// # Errors
/// When the file cannot be opened; messages then go to standard error.
pub fn start(settings: &LogSettings, alone: bool, to: Destination<'_>) -> Result<(), LogFileError> {
    // Before anything is said.
    let to_stderr = matches!(to, Destination::StandardError);
    FORM.get_or_init(|| Form::new(settings, alone, to_stderr));
    // The process goes to its folder only when there is a log to say in that it cannot.
    let mut output = LogOutput::new(|text| line(Level::Warn, text));
    output.limit(settings.limit);
    let mut through = None;
    let opened = match to {
        Destination::File(file) => output.open(file),
        Destination::Opened(path, file) => {
            output.adopt(path, file);
            Ok(())
        }
        Destination::StandardError => Ok(()),
        Destination::Master(channel) => {
            through = Some(channel);
            Ok(())
        }
    };
    *sink() = Some(Sink::Own(output));
    through.into_iter().for_each(go_through);
    let filter = env_logger::Builder::new()
        .filter_level(settings.level)
        .build();
    log::set_max_level(filter.filter());
    // There is another one already in tests at most.
    let _ = log::set_boxed_logger(Box::new(Undisturbed(filter)));
    opened
}

/// The line of an error with this text, for who is to write it without this program.
pub fn error_line(text: &str) -> Vec<u8> {
    line(Level::Error, text)
}

/// The file that lines go to, if it is one of this process's own: another program is to have it open.
pub fn file() -> io::Result<Option<OwnedFd>> {
    match &*sink() {
        Some(Sink::Own(output)) => output.file(),
        _ => Ok(None),
    }
}

/// The number of that file's descriptor, for who closes all others.
pub fn descriptor() -> Option<RawFd> {
    match &*sink() {
        Some(Sink::Own(output)) => output.descriptor(),
        _ => None,
    }
}

/// From here on this process is a worker, and its messages go through the master.
pub fn go_through(channel: &Channel) {
    match channel.try_clone() {
        Ok(channel) => {
            *sink() = Some(Sink::Through(channel));
        }
        Err(error) => log::error!("the log cannot go through the master: {error}"),
    }
}

/// What becomes of what workers write: as it is, it goes where the lines of the log go, one after the other.
pub fn line_form(told: WorkerOutput) -> LineForm {
    let write = |line: &[u8]| {
        if let Some(Sink::Own(output)) = &mut *sink() {
            output.write(line);
        }
    };
    match told {
        WorkerOutput::Tagged => LineForm::Tagged,
        WorkerOutput::Raw => LineForm::Raw(write),
    }
}

/// Opens the log file anew.
pub fn reopen() {
    let reopened = match &mut *sink() {
        Some(Sink::Own(output)) => output.reopen(),
        _ => return,
    };
    match reopened {
        Ok(()) => log::info!("log file opened anew"),
        Err(error) => log::error!("{error}"),
    }
}

fn sink() -> MutexGuard<'static, Option<Sink>> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A logger that works in a child, too: the application may fork while another of its threads is in here, and has locks that
/// nobody frees there. What is to be said is the inner one's decision.
struct Undisturbed(env_logger::Logger);

impl log::Log for Undisturbed {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let of_application = OF_APPLICATION.contains(&record.target());
        let said = match of_application {
            true => said_level(&text),
            false => told_level(record),
        };
        let level = said.unwrap_or(record.level());
        // What the application says for debugging is not dropped by who has not asked for the gateway's own.
        let weight = record.to_builder().level(level.min(Level::Info)).build();
        let is_told = match said {
            Some(_) => self.0.matches(&weight),
            None => self.0.matches(record),
        };
        if !is_told {
            return;
        }
        if forked::is_child() {
            // In the words by which the level is known where that is read.
            process::write_in_child(&format!(
                "{}: {text}\n",
                level.as_str().replace("WARN", "WARNING")
            ));
            return;
        }
        let Verdict::Tell(left_out) = flood::judge(record) else {
            return;
        };
        if left_out > 0 {
            tell(&Message {
                level,
                from: None,
                pid: None,
                text: &format!("{left_out} messages such as the next were left out"),
            });
        }
        let (from, pid) = speaker(record);
        tell(&Message {
            level,
            from: from.as_deref(),
            pid,
            text: &text,
        });
    }

    fn flush(&self) {}
}

/// The level that another process has given it.
fn told_level(record: &log::Record<'_>) -> Option<Level> {
    let said = record.key_values().get(process::SAID.into())?.to_u64()?;
    Level::iter().find(|level| *level as u64 == said)
}

/// The process that has said it, where that is another.
fn speaker(record: &log::Record<'_>) -> (Option<String>, Option<u32>) {
    let values = record.key_values();
    let from = values.get(process::FROM.into());
    let pid = values.get(process::PID.into());
    (
        from.map(|from| from.to_string()),
        pid.and_then(|pid| pid.to_u64())
            .and_then(|pid| pid.try_into().ok()),
    )
}

/// Writes a message, or sends it to the master.
fn tell(message: &Message<'_>) {
    match &mut *sink() {
        Some(Sink::Own(output)) => output.write(&form().write(message)),
        Some(Sink::Through(channel)) => {
            for piece in message.text.as_bytes().chunks(PIECE) {
                let text = String::from_utf8_lossy(piece).into_owned();
                // A master that has died takes no more, and this worker is about to end.
                let _ = channel.send(&ChildMessage::Log(message.level as u8, text));
            }
        }
        None => {}
    }
}
