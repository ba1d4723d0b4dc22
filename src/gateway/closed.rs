//! Why a path cannot be used that is there: a folder on its way, or the file itself, is closed for the user of this process.
//! The errors of the system do not tell which, and for Python such a file does not exist.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// As many links as the kernel follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

static USER: OnceLock<String> = OnceLock::new();

/// This process has become the user of this name.
pub fn run_as(name: &str) {
    // A process changes its user once.
    let _ = USER.set(name.to_owned());
}

/// The user of this process, for messages.
pub fn user() -> String {
    if let Some(name) = USER.get() {
        return format!("user '{name}'");
    }
    // Its owner is the user in effect.
    let Ok(uid) = fs::metadata("/proc/self").map(|found| found.uid().to_string()) else {
        return "this user".to_owned();
    };
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    });
    format!("user '{}'", name.unwrap_or(&uid))
}

/// What is closed on the way to this path, in words that begin with "permission denied"; nothing where that is not what
/// keeps it from being used.
pub fn on_the_way(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let folder = closed_folder(&path, MAX_LINKS)?;
    Some(told("may not enter the folder", &folder, "x"))
}

/// As [`on_the_way`], and also where the folder itself that the path names may not be entered.
pub fn to_enter(folder: &Path) -> Option<String> {
    // What is looked for in it does not matter: it is found, not there, or kept from being looked for.
    on_the_way(&folder.join("x"))
}

/// As [`on_the_way`], and also where the file or the folder itself may not be read.
pub fn to_read(path: &Path) -> Option<String> {
    let path = &std::path::absolute(path).ok()?;
    if let Some(closed) = on_the_way(path) {
        return Some(closed);
    }
    let found = fs::metadata(path).ok()?;
    let is_denied = |error: io::Error| error.kind() == ErrorKind::PermissionDenied;
    if found.is_dir() && fs::read_dir(path).is_err_and(is_denied) {
        return Some(told("may not read the folder", path, "rx"));
    }
    if found.is_file() && File::open(path).is_err_and(is_denied) {
        return Some(told("may not read the file", path, "r"));
    }
    None
}

fn told(what: &str, path: &Path, right: &str) -> String {
    format!(
        "permission denied: {} {what} {} (chmod o+{right} opens it to everybody; or have another user run this)",
        user(),
        path.display()
    )
}

/// The first folder on the way, through all links, that may not be searched.
fn closed_folder(path: &Path, links: usize) -> Option<PathBuf> {
    let mut at = PathBuf::from("/");
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        match part {
            Component::Normal(name) => {
                let next = at.join(name);
                let found = match fs::symlink_metadata(&next) {
                    Ok(found) => found,
                    Err(error) => {
                        return (error.kind() == ErrorKind::PermissionDenied).then_some(at);
                    }
                };
                if found.is_symlink() {
                    let target = at.join(fs::read_link(&next).ok()?);
                    let rest = target.join(parts.as_path());
                    return closed_folder(&rest, links.checked_sub(1)?);
                }
                at = next;
            }
            // Where it is now there are no links.
            Component::ParentDir => drop(at.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{closed_folder, on_the_way, user};
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_open_or_not_there_is_not_closed() {
        let name = format!("wsgi-gateway-closed-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        std::fs::create_dir(at("one")).unwrap();
        symlink("../one/none", at("one/link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for name in ["one", "one/link", "none/at/all", "loop", "one/../one"] {
            assert_eq!(on_the_way(&at(name)), None, "{name}");
        }
        assert_eq!(closed_folder(&at("loop"), 40), None);
        assert!(user().starts_with("user '"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
