//! The core: the part of the gateway that runs inside Python, a file for each version of it, and how this process becomes a
//! Python that loads it.
//!
//! A core is an extension module that is loaded by its path and not found by `sys.path`, and whose entry has the version of
//! Python in its name, and a word for what it has in common with this program: what does not fit is not found there.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::interpreter::{self, choose};
use crate::config::{self, Launch, Target, Transfer as _, Work, WorkerSettings};
use crate::logging;
use crate::process;
use crate::worker::Failure;

/// What cargo makes of `src/python`.
const BUILT: &str = "deps/libwsgi_gateway_core.so";

/// What Python runs to load the core: `FILES` are cores to try first, and `FOLDER` is that of the installed ones. It imports
/// nothing that has to be found in a file.
const BOOTSTRAP: &str = include_str!("core/bootstrap.py");

/// What it runs when there is no core for it, which Python 2 can read, too: `TELL` are descriptors with what is written to
/// each, around the reason.
const FAILURE: &str = include_str!("core/failure.py");

/// Where the program's own files are. To be asked for before somebody puts another program in this one's place.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    program: PathBuf,
}

/// Whom Python tells when it finds no core: a descriptor, and what stands before and behind the reason, which is left out where
/// nothing is to stand behind it.
pub(super) type ToTell = (i32, Vec<u8>, Option<Vec<u8>>);

impl Installation {
    /// That of this process.
    pub(super) fn find() -> Self {
        Self {
            program: std::env::current_exe().unwrap_or_default(),
        }
    }

    /// The program's file.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Has this process become the Python of the application. It is in the folder that the application is seen from.
    ///
    /// Returns only the reason why that cannot be done.
    pub(super) fn become_python(
        &self,
        settings: &WorkerSettings,
        work: Work,
        alone: bool,
        tell: &[ToTell],
    ) -> Failure {
        match self.try_become_python(settings, work, alone, tell) {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    fn try_become_python(
        &self,
        settings: &WorkerSettings,
        work: Work,
        alone: bool,
        tell: &[ToTell],
    ) -> Result<Infallible, Failure> {
        let target = Target::parse(&settings.app)?;
        let choice = choose(settings, &target, &self.program)?;
        let log = logging::file()?;
        let launch = Launch {
            build: config::BUILD.to_owned(),
            interpreter: choice.clone(),
            work,
            settings: settings.clone(),
            alone,
            log: log.as_ref().map(process::leave_open).transpose()?,
        };
        let sealed = process::seal(&launch.write()?)?;
        let settings = process::leave_open(&sealed)?;
        let bootstrap = self.bootstrap(&choice.path, settings, tell);
        let words = ["-u", "-X", "utf8", "-c", &bootstrap].map(OsStr::new);
        let error = process::become_program(&choice.path, &words);
        Err(interpreter::cannot_execute(&choice, &error).into())
    }

    fn bootstrap(&self, python: &Path, settings: i32, tell: &[ToTell]) -> String {
        let bin = self.program.parent().unwrap_or(Path::new("/"));
        let built = Some(bin.join(BUILT)).filter(|built| built.is_file());
        let files = built.map_or_else(String::new, |built| quoted(built.as_os_str()));
        let folder = bin.parent().unwrap_or(Path::new("/"));
        let folder = folder.join("lib/wsgi-gateway");
        let tell: Vec<String> = tell
            .iter()
            .map(|(fd, before, behind)| {
                let behind = behind.as_deref().map_or("None".to_owned(), literal);
                format!("({fd}, {}, {behind})", literal(before))
            })
            .collect();
        let places = |text: &str| {
            text.replace("$FILES", &format!("[{files}]"))
                .replace("$FOLDER", &quoted(folder.as_os_str()))
        };
        let failure = places(FAILURE)
            .replace("$PYTHON", &quoted(python.as_os_str()))
            .replace("$TELL", &format!("[{}]", tell.join(", ")));
        places(BOOTSTRAP)
            .replace("$CONTRACT", config::CONTRACT)
            .replace("$SETTINGS", &settings.to_string())
            .replace("$FAILURE", &literal(failure.as_bytes()))
    }
}

fn quoted(path: &OsStr) -> String {
    literal(path.as_bytes())
}

/// A literal of Python's for these bytes.
fn literal(bytes: &[u8]) -> String {
    let mut text = String::from("b'");
    for byte in bytes {
        match byte {
            b'\\' | b'\'' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('\'');
    text
}
