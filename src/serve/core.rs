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

    /// The Pythons that there are cores for, as `3.14t`, the oldest first.
    pub(super) fn cores(&self) -> Vec<String> {
        let (built, folder) = self.places();
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let installed = names.filter_map(|name| {
            Some(
                name.strip_prefix("core-cp")?
                    .strip_suffix(".so")?
                    .to_owned(),
            )
        });
        let mut found: Vec<String> = built
            .and_then(|built| entry_of(&built))
            .into_iter()
            .chain(installed)
            .collect();
        found.sort_by_key(|name| (name.trim_end_matches('t').parse::<u32>().ok(), name.len()));
        found.dedup();
        let shown = found
            .iter()
            .filter(|name| name.is_ascii() && name.len() > 1);
        shown
            .map(|name| format!("{}.{}", &name[..1], &name[1..]))
            .collect()
    }

    /// What cargo has built, if this is its program, and the folder of the installed cores.
    fn places(&self) -> (Option<PathBuf>, PathBuf) {
        let bin = self.program.parent().unwrap_or(Path::new("/"));
        let built = Some(bin.join(BUILT)).filter(|built| built.is_file());
        let folder = bin.parent().unwrap_or(Path::new("/"));
        (built, folder.join("lib/wsgi-gateway"))
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
        let (built, folder) = self.places();
        let files = built.map_or_else(String::new, |built| quoted(built.as_os_str()));
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

/// The version of Python in the name of this core's entry, `311`.
fn entry_of(core: &Path) -> Option<String> {
    const ENTRY: &[u8] = b"PyInit_wsgi_gateway_cp";
    let bytes = std::fs::read(core).ok()?;
    let at = bytes
        .windows(ENTRY.len())
        .position(|found| found == ENTRY)?;
    let rest = bytes[at + ENTRY.len()..]
        .split(|byte| *byte == b'_')
        .next()?;
    String::from_utf8(rest.to_vec()).ok()
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
