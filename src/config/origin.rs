//! Where settings were told: behind the names of options in errors, and in the listing of `check`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a setting was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By a word of the command line.
    CommandLine,
    /// By the environment variable of this name.
    Variable(String),
    /// By this file, which `--config` names.
    File(PathBuf),
    /// Nowhere.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting in force.
#[derive(Clone, Debug)]
pub struct SettingInForce {
    /// The option, as a file names it: `max-body`.
    pub key: String,
    /// As it was told; a default that is more than a value is told in words.
    pub value: String,
    /// By whom.
    pub origin: Origin,
}

/// Options that were told, by their keys, and where.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SettingOrigins(Vec<(String, String)>);

impl SettingOrigins {
    /// Those of settings that were told somewhere.
    pub fn of(told: &[SettingInForce]) -> Self {
        let told = told
            .iter()
            .filter(|setting| setting.origin != Origin::Default);
        Self(
            told.map(|setting| (setting.key.clone(), setting.origin.to_string()))
                .collect(),
        )
    }

    /// Puts behind the first mention of each option where it was told, if it was.
    pub fn put_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (key, origin) in &self.0 {
            let option = format!("--{key}");
            let ends = text.match_indices(&option).map(|(at, _)| at + option.len());
            let in_word = |sign: char| sign == '-' || sign.is_ascii_alphanumeric();
            let whole = ends
                .into_iter()
                .find(|end| !text[*end..].starts_with(in_word));
            if let Some(end) = whole {
                text.insert_str(end, &format!(" ({origin})"));
            }
        }
        text
    }
}

/// A file of options, as it was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Seen from the folder that the process was started in.
    shown: PathBuf,
    /// Wherever the process has gone since.
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    /// Reads it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        Ok(Self {
            shown: path.to_owned(),
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            text,
        })
    }

    /// As it was named.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether something else stands there now, or nothing: by its text, so that one that was only written anew counts as
    /// the same.
    pub fn has_changed(&self) -> bool {
        std::fs::read_to_string(&self.path).map_or(true, |text| text != self.text)
    }
}
