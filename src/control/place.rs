//! Where control sockets lie: in a folder of this user's, by the gateway's name, so that who asks has to say no more than that.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use thiserror::Error;

use crate::process::PrivateDirectory;

/// The folder of root's, and of services'.
const RUN: &str = "/run/wsgi-gateway";

/// What its file's name ends with.
const ENDING: &str = "ctl";

/// Where a gateway is to have its control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlace {
    /// Nowhere.
    Off,
    /// At this path.
    At(PathBuf),
    /// In the usual folder, by its name; by its name and the process id where another gateway has that.
    Usual(String),
}

/// Why there is no place.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum PlaceError {
    #[error("the folder {folder} cannot be made: {error}")]
    Folder {
        folder: String,
        error: std::io::Error,
    },
    #[error("{0}")]
    Private(#[from] crate::process::NoDirectory),
}

/// A control socket that is there; whether somebody answers is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The gateway's name, as the file has it.
    pub name: String,
    /// The socket's path.
    pub path: PathBuf,
}

impl ControlPlace {
    /// The paths to be tried, the first first.
    ///
    /// # Errors
    /// When there is no folder for them.
    pub fn paths(&self) -> Result<Vec<PathBuf>, PlaceError> {
        let name = match self {
            Self::Off => return Ok(Vec::new()),
            Self::At(path) => return Ok(vec![path.clone()]),
            Self::Usual(name) => file_name(name),
        };
        let folder = usual_folder()?;
        let pid = std::process::id();
        Ok(vec![
            folder.join(format!("{name}.{ENDING}")),
            folder.join(format!("{name}-{pid}.{ENDING}")),
        ])
    }
}

/// A name as it can be that of a file, and no option's value.
fn file_name(name: &str) -> String {
    let may = |letter: char| letter.is_alphanumeric() || "-_.@+".contains(letter);
    let name: String = name
        .chars()
        .map(|letter| if may(letter) { letter } else { '-' })
        .take(60)
        .collect();
    let name = name.trim_matches(['-', '.']);
    match name {
        "" => "gateway".to_owned(),
        name => name.to_owned(),
    }
}

fn usual_folder() -> Result<PathBuf, PlaceError> {
    // Of systemd (RuntimeDirectory= in systemd.exec(5)), the first of several.
    let given = std::env::var("RUNTIME_DIRECTORY").ok();
    if let Some(given) = given.as_deref().and_then(|given| given.split(':').next()) {
        if Path::new(given).is_absolute() {
            return Ok(given.into());
        }
    }
    if geteuid().is_root() {
        return match fs::create_dir(RUN) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(PlaceError::Folder {
                    folder: RUN.to_owned(),
                    error,
                })
            }
            _ => Ok(RUN.into()),
        };
    }
    Ok(PrivateDirectory::find()?.path().to_owned())
}

/// The control sockets in the usual folders: of this user, of services, and as root of everybody.
pub fn found_sockets() -> Vec<Found> {
    let mut folders = vec![PathBuf::from(RUN)];
    folders.extend(below(Path::new(RUN)));
    folders.extend(std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from));
    folders.extend(
        PrivateDirectory::all()
            .iter()
            .map(|it| it.path().to_owned()),
    );
    if geteuid().is_root() {
        let homes = below(Path::new("/run/user")).into_iter();
        folders.extend(homes.map(|home| home.join("wsgi-gateway")));
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("wsgi-gateway-"))
        };
        folders.extend(below(Path::new("/tmp")).into_iter().filter(is_ours));
    }
    folders.sort();
    folders.dedup();
    let mut found: Vec<Found> = folders.iter().flat_map(|folder| sockets(folder)).collect();
    found.sort_by(|one, other| (&one.name, &one.path).cmp(&(&other.name, &other.path)));
    found
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn sockets(folder: &Path) -> Vec<Found> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sockets = entries.filter_map(|entry| {
        let path = entry.path();
        let is_it = path.extension().is_some_and(|ending| ending == ENDING);
        let name = path.file_stem()?.to_str()?.to_owned();
        is_it.then_some(Found { name, path })
    });
    sockets.collect()
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_name_is_a_file_s() {
        for (name, expected) in [
            ("shop", "shop"),
            ("my site:app", "my-site-app"),
            ("../../etc/passwd", "etc-passwd"),
            ("--all", "all"),
            ("", "gateway"),
            ("..", "gateway"),
            ("caf\u{e9}", "caf\u{e9}"),
        ] {
            assert_eq!(file_name(name), expected, "{name}");
        }
    }
}
