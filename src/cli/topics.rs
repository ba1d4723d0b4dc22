//! `help TOPIC`, and `help` alone, which lists what there is to read. What `help COMMAND` shows is clap's.

use std::ffi::OsString;

use clap::Command;

use super::answer::CommandLineAnswer;
use super::mistakes::meant;
use crate::help::{TOPICS, Topic};

/// What these words ask to read, where they ask for that, and not for clap's help.
pub(super) fn asked(words: &[OsString], command: &Command) -> Option<CommandLineAnswer> {
    let words: Vec<&str> = words
        .iter()
        .skip(1)
        .filter_map(|word| word.to_str())
        .collect();
    let ["help", asked @ ..] = &words[..] else {
        return None;
    };
    let is_command = |word: &str| command.find_subcommand(word).is_some() || word == "help";
    match asked {
        [] => Some(CommandLineAnswer::text(list(command).into_bytes())),
        [word, ..] if word.starts_with('-') || is_command(word) => None,
        [word] => Some(match Topic::named(&word.to_lowercase()) {
            Some(topic) => CommandLineAnswer::text(topic.text().into_bytes()),
            None => CommandLineAnswer::wrong(unknown(word, command)),
        }),
        [_, word, ..] => Some(CommandLineAnswer::wrong(format!(
            "'{word}' is one word too many: 'help' takes one topic or command"
        ))),
    }
}

/// What there is to read, a line each.
fn list(command: &Command) -> String {
    let topics = TOPICS.map(|topic| (topic.name, topic.title()));
    let doors = shown(command).map(|door| {
        let about = door.get_about().map_or(String::new(), ToString::to_string);
        // Its first sentence.
        let first = about.split([':', '.', ',', '(']).next().unwrap_or_default();
        (door.get_name(), first.trim_end().to_owned())
    });
    let mut text = "'wsgi-gateway help TOPIC' tells more, of these:\n\n".to_owned();
    let line = |(name, about): (&str, String)| format!("  {name:<16}{about}\n");
    text.extend(topics.map(line));
    text.push_str("\n'wsgi-gateway help COMMAND' tells how each of these is called:\n\n");
    text.extend(doors.map(line));
    text.push_str("\n'wsgi-gateway fastcgi -h' has the options that most need.\n");
    text
}

/// The sentence for a word that is neither a topic nor a command.
fn unknown(word: &str, command: &Command) -> String {
    let topics = TOPICS.map(|topic| topic.name);
    let commands: Vec<&str> = shown(command).map(Command::get_name).collect();
    let names = [&topics[..], &commands[..]].concat();
    let meant = meant(word, &names);
    let meant = meant.map_or(String::new(), |meant| format!(": did you mean '{meant}'?"));
    format!(
        "'{word}' is no topic and no command{meant} (topics: {}; commands: {})",
        topics.join(", "),
        commands.join(", ")
    )
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|door| !door.is_hide_set())
}
