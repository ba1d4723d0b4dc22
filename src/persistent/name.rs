//! The name of a responder: what makes it another application's, and what makes it another state of the same.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getegid, geteuid};

use crate::config::{ApplicationSource, Target};

/// What of a process an application sees, and no request changes: who differs in it has a responder of his own.
const LIMITS: [Resource; 9] = [
    Resource::RLIMIT_AS,
    Resource::RLIMIT_CORE,
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_STACK,
];

/// What a responder is named by.
#[derive(Debug)]
pub struct Traits<'a> {
    /// The application.
    pub target: &'a Target,
    /// Folders in which it is looked for before the working directory, if it is a module.
    pub path: &'a [PathBuf],
    /// The interpreter.
    pub python: &'a Path,
    /// This program's file.
    pub program: &'a Path,
    /// All settings, as text.
    pub settings: &'a [u8],
}

/// The name of a responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceName {
    /// Says which application it is for, run in which way by whom.
    application: String,
    /// Says in which state its files and its programs' are.
    state: String,
}

impl InstanceName {
    /// The name, by how things are now, seen from the working directory.
    ///
    /// # Errors
    /// When the application's file or the working directory cannot be looked at.
    pub fn of(traits: &Traits<'_>) -> io::Result<Self> {
        let here = fs::metadata(".")?;
        let file = match &traits.target.source {
            ApplicationSource::File(file) => {
                // Nobody is to answer for a file that is not there.
                fs::metadata(file)?;
                Some(file.clone())
            }
            ApplicationSource::Module(name) => module_file(name, traits.path),
        };
        let mut about = Vec::new();
        push(
            &mut about,
            &(geteuid().as_raw(), getegid().as_raw(), mask()),
        );
        push(
            &mut about,
            &(
                here.dev(),
                here.ino(),
                traits.program,
                traits.python,
                traits.settings,
            ),
        );
        for limit in LIMITS {
            push(&mut about, &getrlimit(limit).ok());
        }
        match &traits.target.source {
            // By its path: who edits a file, or deploys another, puts a new one in its place.
            ApplicationSource::File(file) => push(&mut about, &std::path::absolute(file)?),
            ApplicationSource::Module(name) => push(&mut about, name),
        }
        let mut state = Vec::new();
        for file in watched(file.as_deref()) {
            push(&mut state, &stamp(&file));
        }
        for program in [traits.program, traits.python] {
            // A package manager's other link to it is no change.
            let written = stamp(program).map(|(file, written, _)| (file, written));
            push(&mut state, &written);
        }
        Ok(Self {
            application: format!("{:016x}{:016x}", digest(0, &about), digest(1, &about)),
            state: format!("{:016x}", digest(2, &state)),
        })
    }

    /// The name that stands in this file's, where it is one of a responder.
    pub(super) fn in_file(name: &str) -> Option<Self> {
        let (application, state) = name.strip_suffix(".account")?.split_once('-')?;
        Some(Self {
            application: application.to_owned(),
            state: state.to_owned(),
        })
    }

    /// Whether this is the same application in another state.
    pub(super) fn is_other_state_of(&self, other: &Self) -> bool {
        self.application == other.application && self.state != other.state
    }

    /// The name of its socket.
    pub fn socket(&self) -> String {
        format!("{}-{}.sock", self.application, self.state)
    }

    /// The name of the file in which it accounts for what it does.
    pub fn account(&self) -> String {
        format!("{}-{}.account", self.application, self.state)
    }

    /// The name of the log of all that have been in this application's place.
    pub fn log(&self) -> String {
        format!("{}.log", self.application)
    }
}

/// Puts a value behind others, so that no two lists of values read the same.
fn push(bytes: &mut Vec<u8>, value: &impl Hash) {
    struct Bytes<'a>(&'a mut Vec<u8>);
    impl Hasher for Bytes<'_> {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }
    value.hash(&mut Bytes(bytes));
    bytes.push(0xfe);
}

/// The names are only compared with those that this same build has made.
fn digest(salt: u8, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (salt, bytes).hash(&mut hasher);
    hasher.finish()
}

/// The permission bits that files made by this process do not get. It must have a single thread.
fn mask() -> u32 {
    let mask = umask(Mode::empty());
    umask(mask);
    mask.bits()
}

/// The file that the module is probably in.
fn module_file(name: &str, path: &[PathBuf]) -> Option<PathBuf> {
    let place: PathBuf = name.split('.').collect();
    let mut file = OsString::from(&place);
    file.push(".py");
    let folders = path.iter().map(PathBuf::as_path).chain([Path::new("")]);
    folders
        .flat_map(|folder| [folder.join(&file), folder.join(&place).join("__init__.py")])
        .find(|file| file.is_file())
}

/// The files whose change makes it another state: the application's own, and those that are touched to have it renewed.
fn watched(file: Option<&Path>) -> Vec<PathBuf> {
    let beside = |file: &Path| file.parent().map(Path::to_owned);
    // The link that it may be lies elsewhere than what it leads to.
    let real = file.filter(|file| file.is_symlink());
    let real = real.and_then(|file| file.canonicalize().ok());
    let folders = match file {
        Some(file) => [beside(file), real.as_deref().and_then(beside)],
        None => [Some(PathBuf::new()), None],
    };
    let mut watched: Vec<PathBuf> = file.map(Path::to_owned).into_iter().collect();
    for folder in folders.into_iter().flatten() {
        watched.push(folder.join("restart.txt"));
        watched.push(folder.join("tmp/restart.txt"));
    }
    watched
}

/// What changes when a file does: it is another one, of another size, or was written; and when it was changed, which another link to
/// it does, too. Nothing where there is no such file.
fn stamp(file: &Path) -> Option<([u64; 3], [i64; 2], [i64; 2])> {
    let found = fs::metadata(file).ok()?;
    Some((
        [found.dev(), found.ino(), found.size()],
        [found.mtime(), found.mtime_nsec()],
        [found.ctime(), found.ctime_nsec()],
    ))
}

#[cfg(test)]
mod tests {
    use super::{InstanceName, Traits};
    use crate::config::Target;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    fn name(target: &Target, settings: &[u8]) -> InstanceName {
        let traits = Traits {
            target,
            path: &[],
            python: Path::new("/usr/bin/python3"),
            program: Path::new("/bin/true"),
            settings,
        };
        InstanceName::of(&traits).unwrap()
    }

    #[test]
    fn a_change_is_another_state_and_an_option_another_application() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.py");
        fs::write(&file, "one").unwrap();
        let target = Target::parse(file.as_os_str()).unwrap();
        let first = name(&target, b"a");
        assert_eq!(name(&target, b"a"), first);
        assert_ne!(name(&target, b"b").application, first.application);
        fs::write(&file, "three").unwrap();
        let second = name(&target, b"a");
        assert!(second.is_other_state_of(&first));
        fs::write(folder.path().join("restart.txt"), "").unwrap();
        let third = name(&target, b"a");
        assert!(third.is_other_state_of(&second));
        fs::create_dir(folder.path().join("tmp")).unwrap();
        fs::write(folder.path().join("tmp/restart.txt"), "").unwrap();
        assert!(name(&target, b"a").is_other_state_of(&third));
        assert_eq!(InstanceName::in_file(&third.account()), Some(third));
        fs::remove_file(&file).unwrap();
        let traits = Traits {
            target: &target,
            path: &[],
            python: Path::new("/"),
            program: Path::new("/"),
            settings: b"",
        };
        assert!(InstanceName::of(&traits).is_err());
    }

    #[test]
    fn a_new_program_is_another_state_and_a_link_to_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (app, program) = (folder.path().join("app.py"), folder.path().join("program"));
        fs::write(&app, "").unwrap();
        fs::write(&program, "one").unwrap();
        let target = Target::parse(app.as_os_str()).unwrap();
        let name = || {
            let traits = Traits {
                target: &target,
                path: &[],
                python: &program,
                program: &program,
                settings: b"",
            };
            InstanceName::of(&traits).unwrap()
        };
        let first = name();
        let changed = fs::metadata(&program).unwrap().ctime_nsec();
        let link = folder.path().join("link");
        // The kernel's clock for this goes in steps.
        while fs::metadata(&program).unwrap().ctime_nsec() == changed {
            let _ = fs::remove_file(&link);
            fs::hard_link(&program, &link).unwrap();
        }
        assert_eq!(name(), first);
        fs::write(&program, "three").unwrap();
        assert!(name().is_other_state_of(&first));
    }
}
