//! APP, as an operator names the application: `package.module:attribute`, a factory, or a file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Endings that make a word without a slash a file. A web server starts `#!` files by a path with a slash.
const ENDINGS: [&[u8]; 3] = [b".py", b".cgi", b".fcgi"];

/// Whether the word is a file's path and no module's name. `site.wsgi` may be either, and is the name of the module in
/// every Django project: there, the file that exists decides.
fn is_file(word: &[u8]) -> bool {
    word.contains(&b'/')
        || ENDINGS.iter().any(|ending| word.ends_with(ending))
        || (word.ends_with(b".wsgi") && Path::new(OsStr::from_bytes(word)).is_file())
}

/// Where the application is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What to import or to load.
    pub source: ApplicationSource,
    /// The attribute, maybe dotted; `None`: `application`, then `app`.
    pub attribute: Option<String>,
    /// Whether the attribute is a factory that is called without arguments for the application.
    pub is_factory: bool,
}

/// What has the application in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationSource {
    /// A module, by its dotted name.
    Module(String),
    /// A file, whatever its name.
    File(PathBuf),
}

/// A word that names no application.
#[derive(Debug, Error)]
#[error(
    "'{0}' names no application: give package.module:attribute, package.module, package.module:factory(), or a file such \
     as /srv/site/app.wsgi"
)]
pub struct TargetError(PathBuf);

impl Target {
    /// Reads APP.
    ///
    /// # Errors
    /// When it has none of the forms that it may have.
    pub fn parse(app: &OsStr) -> Result<Self, TargetError> {
        let bytes = app.as_bytes();
        // A file's name may hold a colon itself: only an attribute behind the last one makes it a separator.
        let (source, attribute) = match bytes.iter().rposition(|&byte| byte == b':') {
            Some(colon) if !bytes[colon..].contains(&b'/') && !is_file(&bytes[colon..]) => {
                (&bytes[..colon], Some(&bytes[colon + 1..]))
            }
            _ => (bytes, None),
        };
        let bad = || TargetError(app.into());
        let attribute = attribute
            .map(|bytes| std::str::from_utf8(bytes).map_err(|_| bad()))
            .transpose()?;
        let (attribute, is_factory) = match attribute.and_then(|name| name.strip_suffix("()")) {
            Some(factory) => (Some(factory), true),
            None => (attribute, false),
        };
        if attribute.is_some_and(|name| !name.split('.').all(is_identifier)) {
            return Err(bad());
        }
        let source = if is_file(source) {
            ApplicationSource::File(OsString::from_vec(source.to_vec()).into())
        } else {
            let module = std::str::from_utf8(source).map_err(|_| bad())?;
            if !module.split('.').all(is_identifier) {
                return Err(bad());
            }
            ApplicationSource::Module(module.to_owned())
        };
        Ok(Self {
            source,
            attribute: attribute.map(str::to_owned),
            is_factory,
        })
    }

    /// Whether it is imported by name.
    pub fn is_module(&self) -> bool {
        matches!(self.source, ApplicationSource::Module(_))
    }

    /// The folders in or above which the application's virtual environment may lie, the likeliest first. A file's is the
    /// one that it lies in when links are followed, or else the link's own.
    ///
    /// # Errors
    /// When the working directory cannot be told.
    pub fn folders(&self) -> std::io::Result<Vec<PathBuf>> {
        let here = std::env::current_dir()?;
        let ApplicationSource::File(file) = &self.source else {
            return Ok(vec![here]);
        };
        let named = here.join(file);
        let real = named.canonicalize().ok();
        let files = real.into_iter().chain([named]);
        Ok(files
            .filter_map(|file| Some(file.parent()?.to_owned()))
            .collect())
    }
}

/// Whether Python takes the word for a name.
pub fn is_identifier(word: &str) -> bool {
    let mut letters = word.chars();
    letters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::{ApplicationSource, Target};

    fn parse(app: &str) -> (String, Option<String>, bool) {
        let target = Target::parse(app.as_ref()).unwrap();
        let source = match target.source {
            ApplicationSource::Module(name) => format!("module {name}"),
            ApplicationSource::File(path) => format!("file {}", path.display()),
        };
        (source, target.attribute, target.is_factory)
    }

    #[test]
    fn every_form_is_read() {
        let some = |name: &str| Some(name.to_owned());
        for (app, expected) in [
            ("site", ("module site", None, false)),
            ("my.site:app", ("module my.site", some("app"), false)),
            ("site:make.app()", ("module site", some("make.app"), true)),
            ("app.py", ("file app.py", None, false)),
            ("app.fcgi", ("file app.fcgi", None, false)),
            ("./app", ("file ./app", None, false)),
            ("/srv/a:b/app.wsgi", ("file /srv/a:b/app.wsgi", None, false)),
            (
                "/srv/app.py:main",
                ("file /srv/app.py", some("main"), false),
            ),
        ] {
            let (source, attribute, factory) = expected;
            assert_eq!(parse(app), (source.to_owned(), attribute, factory), "{app}");
        }
    }

    #[test]
    fn what_is_no_name_is_told_with_the_forms() {
        for app in ["", "a-b", "a:b-c", "a:", "a..b", ":app", "a:b:c"] {
            let message = Target::parse(app.as_ref()).unwrap_err().to_string();
            assert!(message.contains(&format!("'{app}'")), "{message}");
        }
    }
}
