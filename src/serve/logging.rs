//! Where messages go and what they look like: one line an event, on standard error or in `--log-file`; a worker's go to
//! the master, which alone has the file.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::exit::Usage;
use crate::cli::{Cli, Door};
use crate::gateway::forked;
use crate::process::{self, Channel, LogOutput, Message};

/// The most text of one message to the master, in bytes.
const PIECE: usize = 64 * 1024;

/// The way out of this process.
enum Way {
    Own(LogOutput),
    /// Through the master.
    Through(Channel),
}

static WAY: Mutex<Option<Way>> = Mutex::new(None);

/// Whether [`WAY`] leads through the master, for the format.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// Starts logging as the command line says. A web server puts time and program in front of what a CGI program says, so
/// that only a responder's lines have them.
///
/// # Errors
/// When the file of `--log-file` cannot be opened.
pub fn start(cli: &Cli) -> anyhow::Result<()> {
    let (options, alone) = match &cli.door {
        Some(Door::Cgi(options)) => (&options.general, false),
        Some(Door::Explain(options)) => (&options.general, false),
        Some(Door::Check(options)) => (&options.application.general, false),
        Some(Door::Fastcgi(options)) => (&options.application.general, true),
        None => (&cli.general, std::env::var_os("REQUEST_METHOD").is_none()),
    };
    // What 'check' has to say is for who asks.
    let file = match &cli.door {
        Some(Door::Check(_)) => None,
        _ => options.log_file.as_deref(),
    };
    // The process goes there only when there is a log to say in that it cannot.
    let folder = options.chdir.as_deref().unwrap_or(Path::new(""));
    let opened = open(file.map(|file| folder.join(file)).as_deref());
    let level = options.log_level;
    let pid = std::process::id();
    let logger = env_logger::Builder::new()
        .filter_level(level)
        .format(move |out, record| {
            let level = record.level().as_str().to_ascii_lowercase();
            if IS_WORKER.load(Ordering::Relaxed) {
                // The level, for the master; this is no text.
                out.write_all(&[record.level() as u8])?;
                write!(out, "{}", record.args())
            } else if alone {
                let now = out.timestamp_millis();
                writeln!(out, "{now} wsgi-gateway[{pid}] {level}: {}", record.args())
            } else {
                writeln!(out, "wsgi-gateway: {level}: {}", record.args())
            }
        })
        .target(env_logger::Target::Pipe(Box::new(Record)))
        .build();
    log::set_max_level(logger.filter());
    // There is another one already in tests at most.
    let _ = log::set_boxed_logger(Box::new(Undisturbed(logger)));
    opened.map_err(|error| Usage(error).into())
}

fn open(file: Option<&Path>) -> Result<(), String> {
    let mut output = LogOutput::default();
    let opened = file.map_or(Ok(()), |file| output.open(file));
    *way() = Some(Way::Own(output));
    opened
}

/// From here on this process is a worker, and its messages go through the master.
pub(super) fn go_through(channel: &Channel) {
    match channel.try_clone() {
        Ok(channel) => {
            *way() = Some(Way::Through(channel));
            IS_WORKER.store(true, Ordering::Relaxed);
        }
        Err(error) => log::error!("the log cannot go through the master: {error}"),
    }
}

/// Opens the log file anew.
pub(super) fn reopen() {
    let reopened = match &mut *way() {
        Some(Way::Own(output)) => output.reopen(),
        _ => return,
    };
    match reopened {
        Ok(()) => log::info!("log file opened anew"),
        Err(error) => log::error!("{error}"),
    }
}

fn way() -> MutexGuard<'static, Option<Way>> {
    WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A logger that works in a child, too: the application may fork while another of its threads is in here, and has locks that
/// nobody frees there.
struct Undisturbed(env_logger::Logger);

impl log::Log for Undisturbed {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if !forked::is_child() {
            return self.0.log(record);
        }
        if self.0.matches(record) {
            let level = record.level().as_str().to_ascii_lowercase();
            process::write_in_child(&format!("{level}: {}\n", record.args()));
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Takes whole records from the logger.
struct Record;

impl Write for Record {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        match &mut *way() {
            Some(Way::Own(output)) => output.write(record),
            Some(Way::Through(channel)) => {
                let (level, text) = record.split_first().unwrap_or((&1, &[]));
                for piece in text.chunks(PIECE) {
                    let text = String::from_utf8_lossy(piece).into_owned();
                    // A master that has died takes no more, and this worker is about to end.
                    let _ = channel.send(&Message::Log(*level, text));
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
