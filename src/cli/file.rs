//! The file of `--config`: TOML, one key an option. Its values are told as the command line would tell them, so that a
//! relative path in it is seen from the folder of `--chdir` or the working directory, like any other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction};
use toml::de::{DeInteger, DeTable, DeValue};

use super::peers;
use super::settings::{Known, Setting, checked, is_switch};
use crate::config::{ConfigFile, Origin};

/// Reads it, seen from this folder if there is one.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(named: &Path, chdir: Option<&Path>) -> Result<ConfigFile, String> {
    let path = chdir.unwrap_or(Path::new("")).join(named);
    let seen = match chdir {
        Some(folder) if named.is_relative() => format!(" (seen from --chdir {})", folder.display()),
        _ => String::new(),
    };
    ConfigFile::read(&path).map_err(|error| {
        format!(
            "{} cannot be read: {error}{seen}; correct its name, or leave it out",
            called(&path)
        )
    })
}

fn called(path: &Path) -> String {
    format!("the file {} of --config", path.display())
}

/// The options in it.
///
/// # Errors
/// What is wrong, in which line of which file, and the way out.
pub(super) fn settings(
    file: &ConfigFile,
    known: &Known,
) -> Result<BTreeMap<String, Setting>, String> {
    let (path, text) = (file.shown(), file.text());
    let file = called(path);
    let place = |at: usize| {
        let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        format!("line {line} of {file}")
    };
    let table = DeTable::parse(text).map_err(|error| {
        let place = place(error.span().map_or(0, |span| span.start));
        let others = match path
            .extension()
            .is_some_and(|ending| ending == "py" || ending == "ini")
        {
            true => " (another server's file? here it is TOML: workers = 4)",
            false => "",
        };
        format!(
            "{place} is not TOML: {}{others}",
            error.message().replace('\n', ", ")
        )
    })?;
    let mut settings = BTreeMap::new();
    for (name, value) in table.into_inner() {
        let place = place(name.span().start);
        let key = name.get_ref().as_ref();
        if let DeValue::Table(inner) = value.get_ref() {
            // `pm.max_children = 5` is one to TOML.
            let mut dotted = inner.keys().map(|name| format!("{key}.{}", name.get_ref()));
            let meant = dotted.find_map(|name| Some((peers::key(&name, known)?, name)));
            return Err(match meant {
                Some((ours, name)) => {
                    format!(
                        "{place} has the key '{name}', which is no option: did you mean '{ours}'?"
                    )
                }
                None => format!(
                    "{place} begins the table '{key}', and there are none: every option stands at the top, above any [...]"
                ),
            });
        }
        let Some(option) = known.get(key) else {
            return Err(format!(
                "{place} has the key '{key}', {}",
                unknown_key(known, key)
            ));
        };
        if key == "config" {
            return Err(format!(
                "{place} names another file: one file has all options"
            ));
        }
        let values = words(value.get_ref(), option)
            .and_then(|words| checked(option, words))
            .map_err(|(value, reason)| {
                format!(
                    "{place} has a wrong value '{value}' for {key}: {reason}; correct it or leave the line out"
                )
            })?;
        let origin = Origin::File(path.to_owned());
        settings.insert(key.to_owned(), Setting { origin, values });
    }
    Ok(settings)
}

fn unknown_key(known: &Known, key: &str) -> String {
    match peers::key(key, known).or_else(|| known.nearest(key)) {
        Some(nearest) => format!("which is no option: did you mean '{nearest}'?"),
        None => {
            "which is no option: 'wsgi-gateway fastcgi --help' tells all of them (a key is written without the --)"
                .to_owned()
        }
    }
}

/// A value as words of the command line; an error has the value and the reason.
fn words(value: &DeValue<'_>, option: &Arg) -> Result<Vec<OsString>, (String, String)> {
    let DeValue::Array(values) = value else {
        return Ok(vec![word(value, option)?.into()]);
    };
    if !matches!(option.get_action(), ArgAction::Append) {
        let reason = "it takes one value and no list";
        return Err(("[...]".to_owned(), reason.to_owned()));
    }
    let words = values
        .iter()
        .map(|value| word(value.get_ref(), option).map(OsString::from));
    words.collect()
}

fn word(value: &DeValue<'_>, option: &Arg) -> Result<String, (String, String)> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(digits(number, option)),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(on) if is_switch(option) => Ok(on.to_string()),
        DeValue::Boolean(on) => Err((on.to_string(), "it takes a value".to_owned())),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            let reason = "a string, a number, true or false is wanted";
            Err((value.type_str().to_owned(), reason.to_owned()))
        }
    }
}

/// An integer as the command line has it: with ten digits, but a mode with eight, whichever way it was written: 660 and
/// 0o660 are the same mode.
fn digits(number: &DeInteger<'_>, option: &Arg) -> String {
    let mode = option
        .get_value_names()
        .is_some_and(|names| names.iter().any(|name| name == "MODE"));
    if mode && number.radix() == 8 {
        return number.as_str().to_owned();
    }
    // What is larger is out of every range, and is told as it stands there.
    i128::from_str_radix(number.as_str(), number.radix())
        .map_or_else(|_| number.to_string(), |number| number.to_string())
}
