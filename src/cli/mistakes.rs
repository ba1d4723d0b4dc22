//! What is said of a command line that cannot be read: one line, which names the word that is wrong and the way out.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::peers;
use super::query::{after_app, option};
use super::settings::{Known, is_switch, reason};

/// How an application is named.
const APP: &str = "package.module:attribute, package.module, package.module:factory(), or a file such as /srv/site/app.wsgi";

/// The sentence for this error of clap's about these words.
pub(super) fn told(error: &clap::Error, command: &Command, words: &[OsString]) -> String {
    // Ours already.
    if error.context().next().is_none() && error.kind() != ErrorKind::InvalidUtf8 {
        let text = error.to_string();
        return text.trim_start_matches("error: ").trim_end().to_owned();
    }
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = TypedLine::new(command, &words);
    match error.kind() {
        ErrorKind::UnknownArgument => line.unknown(&context(error, ContextKind::InvalidArg)),
        ErrorKind::InvalidSubcommand => {
            line.no_command(&context(error, ContextKind::InvalidSubcommand))
        }
        ErrorKind::ArgumentConflict if line.door.is_none() => line.misplaced(error),
        ErrorKind::ArgumentConflict => line.contradiction(error),
        ErrorKind::MissingRequiredArgument => line.missing(error),
        ErrorKind::InvalidValue if context(error, ContextKind::InvalidValue).is_empty() => {
            line.no_value(error)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => wrong_value(error),
        ErrorKind::InvalidUtf8 => line.not_text(),
        _ => first_line(error),
    }
}

/// The command line as it was typed.
struct TypedLine<'a> {
    command: &'a Command,
    words: &'a [String],
    /// The command that was chosen.
    door: Option<&'a Command>,
    /// Behind APP, or behind all where there is none.
    after_app: usize,
}

impl<'a> TypedLine<'a> {
    fn new(command: &'a Command, words: &'a [String]) -> Self {
        let typed: Vec<OsString> = words.iter().map(OsString::from).collect();
        Self {
            command,
            words,
            door: words.get(1).and_then(|word| command.find_subcommand(word)),
            after_app: after_app(command, &typed),
        }
    }

    /// What options are looked for in.
    fn own(&self) -> &'a Command {
        self.door.unwrap_or(self.command)
    }

    /// APP, where there is one.
    fn app(&self) -> Option<&'a str> {
        self.own().get_positionals().next()?;
        let at = self.after_app.checked_sub(1).filter(|at| *at > 0)?;
        let word = self.words.get(at)?;
        let is_app = !word.starts_with('-') && self.door.is_none_or(|door| door.get_name() != word);
        is_app.then_some(word.as_str())
    }

    /// Where a word stands, as a whole or with its value.
    fn place(&self, word: &str) -> Option<usize> {
        let is = |found: &String| found == word || found.split('=').next() == Some(word);
        self.words.iter().position(is).or_else(|| {
            // A letter of several, or with its value behind it.
            let is = |found: &String| found.starts_with(word);
            self.words.iter().position(is).filter(|_| word.len() == 2)
        })
    }

    /// The value that an unknown option was given, as far as that can be told.
    fn value(&self, at: usize) -> Option<&str> {
        let word = &self.words[at];
        if let Some((_, value)) = word.split_once('=') {
            return Some(value);
        }
        let next = self.words.get(at + 1)?;
        // The last word is rather APP.
        ((next == "-" || !next.starts_with('-')) && at + 2 < self.words.len()).then_some(next)
    }

    /// A word that is neither an option here nor wanted.
    fn unknown(&self, word: &str) -> String {
        let word = word.split('=').next().unwrap_or(word);
        let Some(at) = self.place(word) else {
            return format!("'{word}' has no meaning here");
        };
        let before = self.words[..at].last().map_or("", String::as_str);
        if let Some(option) = self.option(before).filter(|_| word.starts_with('-')) {
            if !is_switch(option) && option.get_action().takes_values() {
                return self.dashed_value(option, &self.words[at]);
            }
        }
        if !word.starts_with('-') {
            return self.one_too_many(word, before);
        }
        // Of what serves: a habit is more likely than an option of the other commands.
        let serves = |door: &Command| ["cgi", "fastcgi", "check"].contains(&door.get_name());
        if let Some(others) = self.of_other_commands(word, serves) {
            return others;
        }
        if let Some(instead) = peers::instead(word, self.value(at)) {
            return format!("no option {word}: {instead}");
        }
        if let Some(others) = self.of_other_commands(word, |_| true) {
            return others;
        }
        let nearest = word.strip_prefix("--").and_then(|long| self.nearest(long));
        match nearest {
            Some(near) => format!("no option {word}: did you mean --{near}?"),
            None => format!("no option {word}: {} tells all of them", self.help()),
        }
    }

    /// The option of this command that the word is.
    fn option(&self, word: &str) -> Option<&'a Arg> {
        option(self.own(), word)
    }

    fn nearest(&self, long: &str) -> Option<String> {
        let known = Known::of_one(self.own());
        known.nearest(long).map(str::to_owned)
    }

    fn help(&self) -> String {
        match self.door {
            Some(door) => format!("'wsgi-gateway {} --help'", door.get_name()),
            None => "'wsgi-gateway --help'".to_owned(),
        }
    }

    /// A value that begins with a dash, which is read as one only where it is a number; it would be wrong as well.
    fn dashed_value(&self, option: &Arg, value: &str) -> String {
        let name = shown(option);
        match super::settings::checked(option, vec![value.into()]) {
            Err((_, reason)) => format!("{name}: {reason}"),
            Ok(_) => format!("{name} needs a value: write {name}={value} if that is it"),
        }
    }

    /// A word behind all that there may be.
    fn one_too_many(&self, word: &str, before: &str) -> String {
        if let Some(option) = self.option(before).filter(|option| is_switch(option)) {
            let name = shown(option);
            return format!(
                "{name} takes no word behind it: write {name} or {name}={word}, and not '{word}'"
            );
        }
        match (self.door, self.app()) {
            (None, Some(app)) => self.no_command(app),
            (Some(door), Some(app)) => {
                // Where the word before was meant for an option that takes none.
                let switch = self.words.iter().position(|word| word == app);
                let switch = switch.and_then(|at| self.option(&self.words[at - 1]));
                match switch.filter(|option| is_switch(option)) {
                    Some(option) => {
                        let name = shown(option);
                        format!(
                            "{name} takes no word behind it: write {name} or {name}={app}, and not '{app}'"
                        )
                    }
                    None => format!(
                        "'{word}' is one word too many: '{}' has its APP, '{app}', already",
                        door.get_name()
                    ),
                }
            }
            (Some(door), None) => format!(
                "'{word}' is one word too many: '{}' takes none",
                door.get_name()
            ),
            (None, None) => format!("'{word}' is one word too many"),
        }
    }

    /// An option that exists, and not for this command.
    fn of_other_commands(&self, word: &str, among: impl Fn(&Command) -> bool) -> Option<String> {
        let doors = self.command.get_subcommands().filter(|door| among(door));
        let having: Vec<&str> = doors
            .filter(|door| option(door, word).is_some())
            .map(Command::get_name)
            .collect();
        let first = having.first()?;
        let names = having.join("', '");
        Some(match self.door {
            Some(door) => format!(
                "{word} is no option of '{}', but of '{names}': leave it out, or use 'wsgi-gateway {first}'",
                door.get_name()
            ),
            None => format!(
                "{word} is an option of '{names}', which comes first: wsgi-gateway {first} {word} ..."
            ),
        })
    }

    /// What stands in a command's place and is none.
    fn no_command(&self, word: &str) -> String {
        let names: Vec<&str> = self
            .command
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(Command::get_name)
            .collect();
        let all = names.join(", ");
        // It would be an application, and has what no command has.
        if word.contains([':', '/', '.']) {
            return format!(
                "which command is for '{word}'? It comes first: wsgi-gateway fastcgi --bind ADDR {word} (commands: {all})"
            );
        }
        match meant(word, &names) {
            Some(meant) => {
                format!("'{word}' is no command: did you mean '{meant}'? (commands: {all})")
            }
            None => format!("'{word}' is no command: give one of {all}, or a single APP"),
        }
    }

    /// A command that does not come first.
    fn misplaced(&self, error: &clap::Error) -> String {
        let first = self.words.get(1).map_or("", String::as_str);
        let is_command = |word: &&String| self.command.find_subcommand(word).is_some();
        match (self.words.iter().find(is_command), self.app()) {
            (Some(command), _) if first.starts_with('-') => {
                format!("options come behind the command: wsgi-gateway {command} {first} ...")
            }
            (_, Some(app)) => self.no_command(app),
            _ => first_line(error),
        }
    }

    /// Two that exclude each other.
    fn contradiction(&self, error: &clap::Error) -> String {
        let [one, other] =
            [ContextKind::InvalidArg, ContextKind::PriorArg].map(|kind| context(error, kind));
        let plain = |name: &str| name.trim_matches(['[', ']', '<', '>']).to_owned();
        format!(
            "{} and {} contradict each other: give one of them",
            plain(&one),
            plain(&other)
        )
    }

    fn missing(&self, error: &clap::Error) -> String {
        let names = context(error, ContextKind::InvalidArg);
        let door = self.door.map_or("wsgi-gateway", Command::get_name);
        match names.trim_matches(['[', ']', '<', '>']) {
            "APP" => format!("'{door}' needs APP, the application: {APP}"),
            name => format!("'{door}' needs {name}: {} tells more", self.help()),
        }
    }

    fn no_value(&self, error: &clap::Error) -> String {
        let named = context(error, ContextKind::InvalidArg);
        let name = named.split([' ', '=', '[']).next().unwrap_or_default();
        let place = named
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'));
        let place = place.map_or("VALUE", |(place, _)| place);
        match self.option(name).map(Arg::get_possible_values) {
            Some(values) if !values.is_empty() => {
                let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
                format!("{name} needs a value: one of {}", values.join(", "))
            }
            _ => format!("{name} needs a value: {name} {place}"),
        }
    }

    /// A word that is no text, where one is needed.
    fn not_text(&self) -> String {
        let word = self.words.iter().find(|word| word.contains('\u{fffd}'));
        let word = word.map_or("a word", String::as_str);
        format!("'{word}' is not UTF-8: only paths need not be")
    }
}

fn shown(option: &Arg) -> String {
    option
        .get_long()
        .map_or_else(|| option.get_id().to_string(), |long| format!("--{long}"))
}

/// What to say of a single word that is an application, where nothing says what is to be done with it; nothing where it can hardly
/// have been meant for a command.
pub(super) fn mistyped(word: &str, command: &Command) -> Option<String> {
    let words = ["wsgi-gateway".to_owned(), word.to_owned()];
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    meant(word, &names)?;
    Some(TypedLine::new(command, &words).no_command(word))
}

/// The command that a word was meant for.
pub(super) fn meant<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    /// Less than for options, whose names are longer: `chek` is near `check`, and `app` near nothing.
    const NEAR: f64 = 0.8;
    let word = word.to_lowercase();
    if let Some(ours) = peers::command(&word) {
        return names.iter().find(|name| **name == ours).copied();
    }
    let near = |name: &str| strsim::jaro_winkler(name, &word);
    let nearest = names.iter().max_by(|a, b| near(a).total_cmp(&near(b)))?;
    (near(nearest) > NEAR).then_some(*nearest)
}

fn wrong_value(error: &clap::Error) -> String {
    let named = context(error, ContextKind::InvalidArg);
    let name = named.split([' ', '=', '[']).next().unwrap_or_default();
    let value = context(error, ContextKind::InvalidValue);
    let values = context(error, ContextKind::ValidValue);
    let name = match name.strip_prefix('<') {
        Some(name) => name.trim_end_matches('>'),
        None => name,
    };
    match error.source() {
        Some(_) => format!("{name}: {}", reason(error)),
        None if !values.is_empty() => format!("{name}: '{value}' is none of {values}"),
        None => format!("{name}: '{value}' is wrong"),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(ContextValue::StyledStr(text)) => text.to_string(),
        _ => String::new(),
    }
}
