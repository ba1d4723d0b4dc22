//! Where messages go and what they look like: one line an event, on standard error or in `--log-file`; a worker's go to
//! the master, which alone has the file.

mod flood;

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::{LogFormat, LogSettings, WorkerOutput};
use crate::gateway::forked;
use crate::process::{self, Channel, ChildMessage, LineForm, LogFileError, LogOutput};
use flood::Verdict;

/// The most text of one message to the master, in bytes.
const PIECE: usize = 64 * 1024;

/// The way out of this process.
enum Sink {
    Own(LogOutput),
    /// Through the master.
    Through(Channel),
}

/// The form of this process's messages, which nothing changes once logging has started.
static FORM: OnceLock<Form> = OnceLock::new();

/// How a message becomes a line.
#[derive(Clone, Copy)]
struct Form {
    format: LogFormat,
    /// Whether nobody else puts time and program in front.
    alone: bool,
    pid: u32,
}

impl Form {
    fn get() -> Self {
        *FORM.get_or_init(|| Self {
            format: LogFormat::Text,
            alone: true,
            pid: std::process::id(),
        })
    }

    /// The line, with its end.
    fn line(self, level: log::Level, message: &str) -> Vec<u8> {
        let Self { format, alone, pid } = self;
        let level = level.as_str().to_ascii_lowercase();
        let line = match format {
            LogFormat::Json => format!(
                "{{\"time\": \"{}\", \"level\": \"{level}\", \"pid\": {pid}, \"message\": \"{}\"}}\n",
                now(),
                Quoted(message)
            ),
            LogFormat::Text if alone => {
                format!("{} wsgi-gateway[{pid}] {level}: {message}\n", now())
            }
            LogFormat::Text => format!("wsgi-gateway: {level}: {message}\n"),
        };
        line.into_bytes()
    }
}

/// The time as RFC 3339 has it, in UTC.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    timestamp(since.unwrap_or_default())
}

/// A point in time by what has passed since 1970.
fn timestamp(since: Duration) -> String {
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (day, hour, minute) = (days + 1, second / 3600, second / 60 % 60);
    let second = second % 60;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Text as it stands in a JSON string (RFC 8259 section 7): nothing in it can end the string or the line.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                // Some readers take these two for ends of a line, too.
                '\u{2028}' | '\u{2029}' => write!(f, "\\u{:04x}", u32::from(character))?,
                _ if character.is_control() => write!(f, "\\u{:04x}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

static SINK: Mutex<Option<Sink>> = Mutex::new(None);

/// Whether [`SINK`] leads through the master, for the format.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

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
    let form = *FORM.get_or_init(|| Form {
        format: settings.format,
        alone,
        pid: std::process::id(),
    });
    // The process goes to its folder only when there is a log to say in that it cannot.
    let mut output = LogOutput::new(|text| Form::get().line(log::Level::Warn, text));
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
    let level = settings.level;
    let logger = env_logger::Builder::new()
        .filter_level(level)
        .format(move |out, record| {
            if IS_WORKER.load(Ordering::Relaxed) {
                // The level, for the master; this is no text.
                out.write_all(&[record.level() as u8])?;
                write!(out, "{}", record.args())
            } else {
                out.write_all(&form.line(record.level(), &record.args().to_string()))
            }
        })
        .target(env_logger::Target::Pipe(Box::new(Record)))
        .build();
    log::set_max_level(logger.filter());
    // There is another one already in tests at most.
    let _ = log::set_boxed_logger(Box::new(Undisturbed(logger)));
    opened
}

/// The line of an error with this text, for who is to write it without this program.
pub fn error_line(text: &str) -> Vec<u8> {
    Form::get().line(log::Level::Error, text)
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
            IS_WORKER.store(true, Ordering::Relaxed);
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
/// nobody frees there.
struct Undisturbed(env_logger::Logger);

impl log::Log for Undisturbed {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if forked::is_child() {
            if self.0.matches(record) {
                let level = record.level().as_str().to_ascii_lowercase();
                process::write_in_child(&format!("{level}: {}\n", record.args()));
            }
            return;
        }
        let Verdict::Tell(left_out) = flood::judge(record) else {
            return;
        };
        if left_out > 0 {
            let mut note = log::Record::builder();
            let note = note.level(record.level()).target(record.target());
            let text = format!("{left_out} messages such as the next were left out");
            self.0.log(&note.args(format_args!("{text}")).build());
        }
        self.0.log(record);
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Takes whole records from the logger.
struct Record;

impl Write for Record {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        match &mut *sink() {
            Some(Sink::Own(output)) => output.write(record),
            Some(Sink::Through(channel)) => {
                let (level, text) = record.split_first().unwrap_or((&1, &[]));
                for piece in text.chunks(PIECE) {
                    let text = String::from_utf8_lossy(piece).into_owned();
                    // A master that has died takes no more, and this worker is about to end.
                    let _ = channel.send(&ChildMessage::Log(*level, text));
                }
            }
            None => {}
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Quoted, timestamp};
    use std::time::Duration;

    #[test]
    fn nothing_ends_a_json_string_but_its_end() {
        let text = "a\"\\\n\t\r\0\u{1b}\u{7f}\u{85}\u{2028}\u{e9}\u{1f600}";
        let expected = r#"a\"\\\n\t\u000d\u0000\u001b\u007f\u0085\u2028"#;
        assert_eq!(
            Quoted(text).to_string(),
            format!("{expected}\u{e9}\u{1f600}")
        );
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_704_067_199_000, "2023-12-31T23:59:59.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(Duration::from_millis(millis)), text);
        }
    }
}
