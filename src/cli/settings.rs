//! What the environment and the file of `--config` say, put under the command line: clap takes each of their values for
//! the default of its option, so that one that the command line has beats it, and all are checked alike.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{file, peers};
use crate::config::{ConfigFile, Origin, SettingInForce};

/// What the name of every variable begins with that is one of ours.
const PREFIX: &str = "WSGI_GATEWAY_";

/// What one option was told, and where.
pub(super) struct Setting {
    pub(super) origin: Origin,
    pub(super) values: Vec<OsString>,
}

/// The options of all doors by their keys: one file or environment may be for several doors.
pub(super) struct Known(BTreeMap<String, Arg>);

impl Known {
    /// Of all doors.
    pub(super) fn of(command: &Command) -> Self {
        // Not those that 'conf', 'get' and 'try' have for themselves: who writes a file of settings would not be told of a mistake.
        let serves = |door: &&Command| SERVING.contains(&door.get_name());
        let doors = command.get_subcommands().filter(serves);
        let doors = std::iter::once(command).chain(doors);
        let options = doors.flat_map(Command::get_arguments);
        Self(
            options
                .map(|option| (key(option).to_owned(), option.clone()))
                .collect(),
        )
    }

    /// Of this door alone.
    pub(super) fn of_one(door: &Command) -> Self {
        let options = door
            .get_arguments()
            .filter(|option| option.get_long().is_some());
        Self(
            options
                .map(|option| (key(option).to_owned(), option.clone()))
                .collect(),
        )
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arg> {
        self.0.get(key)
    }

    /// The key that was probably meant, if any is near.
    pub(super) fn nearest(&self, word: &str) -> Option<&str> {
        /// Where clap, too, begins to take one word for another.
        const NEAR: f64 = 0.7;
        let word = word.to_lowercase().replace('_', "-");
        let near = |key: &str| strsim::jaro(key, &word);
        let keys = self.0.keys().map(String::as_str);
        let nearest = keys.max_by(|a, b| near(a).total_cmp(&near(b)))?;
        (near(nearest) > NEAR).then_some(nearest)
    }
}

/// The commands that may be told by environment and file what they are told by the command line.
const SERVING: [&str; 4] = ["cgi", "fastcgi", "check", "explain"];

/// Whether a command serves or says what would be served. What environment and file say is for those alone.
fn is_door(command: &Command) -> bool {
    let mut options = command.get_arguments();
    options.any(|option| option.get_long() == Some("config"))
}

/// The name of an option in a file.
fn key(option: &Arg) -> &str {
    option
        .get_long()
        .unwrap_or_else(|| option.get_id().as_str())
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('-', "_"))
}

/// What environment and file say.
#[derive(Default)]
pub(super) struct Settings {
    told: BTreeMap<String, Setting>,
    /// The file, if there is one.
    pub(super) file: Option<ConfigFile>,
}

impl Settings {
    /// What the environment says, which beats the file that it or the command line names.
    ///
    /// A variable of ours that is not known is a warning and not an error: it may be for another version.
    ///
    /// # Errors
    /// What is wrong with a value, and where.
    pub(super) fn gather(
        command: &Command,
        words: &[OsString],
        variables: &[(OsString, OsString)],
        warnings: &mut Vec<String>,
    ) -> Result<Self, clap::Error> {
        let named = words.iter().any(|word| names_config(word));
        let mut settings = Self::default();
        if variables.is_empty() && !named {
            return Ok(settings);
        }
        let known = Known::of(command);
        for (name, value) in variables {
            settings.add_variable(&known, name, value, warnings)?;
        }
        // Only to see what the file is, and from where: what is wrong with the words is told when all is known.
        let seen = settings
            .under(command.clone().ignore_errors(true))
            .try_get_matches_from(words);
        let Ok(seen) = seen else {
            return Ok(settings);
        };
        let door = seen.subcommand().map_or(&seen, |(_, door)| door);
        // What is no door has neither.
        let path = |id| {
            let found = door.try_get_one::<PathBuf>(id).ok().flatten();
            found.map(PathBuf::as_path)
        };
        if let Some(config) = path("config") {
            let read = file::read(config, path("chdir")).map_err(wrong)?;
            for (key, setting) in file::settings(&read, &known).map_err(wrong)? {
                settings.told.entry(key).or_insert(setting);
            }
            settings.file = Some(read);
        }
        Ok(settings)
    }

    fn add_variable(
        &mut self,
        known: &Known,
        name: &OsStr,
        value: &OsStr,
        warnings: &mut Vec<String>,
    ) -> Result<(), clap::Error> {
        let text = name.to_string_lossy();
        let word = text.strip_prefix(PREFIX).unwrap_or(&text);
        let key = word.to_ascii_lowercase().replace('_', "-");
        let Some(option) = known.get(&key).filter(|_| variable(&key) == text) else {
            let meant = peers::key(word, known).or_else(|| known.nearest(word));
            let meant = meant.map_or(String::new(), |key| {
                format!(": did you mean {}?", variable(key))
            });
            warnings.push(format!(
                "the environment variable {text} is of no option of this version and says nothing{meant}"
            ));
            return Ok(());
        };
        let values = match separators(option) {
            Some(separators) => split(value, separators),
            None => vec![value.to_owned()],
        };
        let values = checked(option, values).map_err(|(value, reason)| {
            wrong(format!(
                "the environment variable {text} has a wrong value '{value}': {reason}; correct it or unset it"
            ))
        })?;
        let origin = Origin::Variable(text.into_owned());
        self.told.insert(key, Setting { origin, values });
        Ok(())
    }

    /// Whether there is an application without one on the command line.
    pub(super) fn has_application(&self) -> bool {
        self.has("app")
    }

    /// Whether there is one of this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.told.contains_key(key)
    }

    /// The command with these settings in place of its defaults.
    pub(super) fn under(&self, command: Command) -> Command {
        if self.told.is_empty() {
            return command;
        }
        let set = |option: Arg| match self.told.get(key(&option)) {
            Some(setting) => option
                .required(false)
                .default_values(setting.values.clone()),
            None => option,
        };
        let command = match self.has_application() {
            true => command.arg_required_else_help(false),
            false => command,
        };
        command
            .mut_args(set)
            .mut_subcommands(|door| match is_door(&door) {
                true => door.mut_args(set),
                false => door,
            })
    }

    /// Where an option was told.
    pub(super) fn origin(&self, option: &Arg, matches: &ArgMatches) -> Origin {
        if matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine) {
            return Origin::CommandLine;
        }
        self.told
            .get(key(option))
            .map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// All settings in force, the application first.
    pub(super) fn told(&self, door: &Command, matches: &ArgMatches) -> Vec<SettingInForce> {
        let mut options: Vec<&Arg> = door
            .get_arguments()
            .filter(|option| option.get_action().takes_values())
            .collect();
        options.sort_by_key(|option| !option.is_positional());
        let told = options.into_iter().map(|option| SettingInForce {
            key: key(option).to_owned(),
            value: in_force(option, matches),
            origin: self.origin(option, matches),
        });
        told.collect()
    }
}

/// The value in words.
fn in_force(option: &Arg, matches: &ArgMatches) -> String {
    let id = option.get_id().as_str();
    if let Some(values) = matches.get_raw(id) {
        let values: Vec<_> = values.map(OsStr::to_string_lossy).collect();
        return values.join(" ");
    }
    // What its help says, where nothing but code could give the value.
    let help = option.get_help().map_or(String::new(), ToString::to_string);
    help.split_once("[default: ")
        .and_then(|(_, default)| default.split_once(']'))
        .map_or("not set", |(default, _)| default)
        .to_owned()
}

/// Whether the word may be the option that names a file of options.
pub(super) fn names_config(word: &OsStr) -> bool {
    let word = word.to_string_lossy();
    word.starts_with("--config") || word.starts_with("-c")
}

/// Whether it is on or off.
pub(super) fn is_switch(option: &Arg) -> bool {
    option
        .get_num_args()
        .is_some_and(|number| number.min_values() == 0)
}

/// What stands between the values that a variable has for an option that may be given more than once.
fn separators(option: &Arg) -> Option<&'static [u8]> {
    match (option.get_action(), key(option)) {
        // As in PYTHONPATH: a folder may have a space or a comma in its name.
        (ArgAction::Append, "pythonpath") => Some(b":"),
        (ArgAction::Append, _) => Some(b" ,\t\n"),
        _ => None,
    }
}

fn split(text: &OsStr, separators: &[u8]) -> Vec<OsString> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let parts = text.as_bytes().split(|byte| separators.contains(byte));
    parts
        .filter(|part| !part.is_empty())
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect()
}

/// Checks values as if they stood on the command line, and has them as clap wants its defaults.
///
/// # Errors
/// The first wrong value and what is wrong with it.
pub(super) fn checked(
    option: &Arg,
    values: Vec<OsString>,
) -> Result<Vec<OsString>, (String, String)> {
    let check = |value: OsString| {
        let told = |reason| (value.to_string_lossy().into_owned(), reason);
        if value.is_empty() {
            return Err(told("it is empty".to_owned()));
        }
        let Some(long) = option.get_long() else {
            return Ok(value);
        };
        let mut word = OsString::from(format!("--{long}="));
        word.push(&value);
        let alone = Command::new("option")
            .no_binary_name(true)
            .arg(option.clone());
        match alone.try_get_matches_from([word]) {
            Ok(_) => Ok(value),
            Err(error) => Err(told(reason(&error))),
        }
    };
    values.into_iter().map(check).collect()
}

/// What is wrong with a value, without its option's name.
pub(super) fn reason(error: &clap::Error) -> String {
    match (error.kind(), error.source()) {
        (ErrorKind::InvalidUtf8, _) => "it is not UTF-8".to_owned(),
        (_, Some(source)) => source.to_string(),
        (_, None) => error.kind().to_string(),
    }
}

/// An error of the operator's, told like those of the command line.
pub(super) fn wrong(text: impl fmt::Display) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{text}\n"))
}

/// The variables that are ours; an empty one counts as unset.
pub(super) fn ours(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    variables
        .filter(|(name, value)| {
            name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) && !value.is_empty()
        })
        .collect()
}
