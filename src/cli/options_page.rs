//! The options as the topic `options` has them: by what they are needed for, each with its default and its meaning, as clap knows
//! them. What stands above them in the topic's file is written by hand.

use clap::{Arg, Command};

use super::help::{GROUPS, group};
use super::settings::is_switch;
use crate::help::Topic;

/// The topic's file as it is to be.
pub(super) fn made(command: &Command) -> String {
    let tables = tables(command);
    // The first heading is where they begin.
    let first = tables.lines().next().unwrap_or_default();
    let topic = Topic::named("options").map_or("", Topic::markdown);
    let by_hand = topic.split(first).next().unwrap_or_default();
    format!("{by_hand}{tables}")
}

/// A table for each need, and one for what each of the other commands has for itself.
fn tables(command: &Command) -> String {
    let doors = ["fastcgi", "cgi"].map(|name| command.find_subcommand(name));
    let options = || doors.iter().flatten().flat_map(|door| door.get_arguments());
    let mut tables = Vec::new();
    for (heading, keys) in GROUPS {
        let named = |key: &&str| options().find(|option| option.get_long() == Some(*key));
        tables.push(table(heading, keys.iter().filter_map(named)));
    }
    for door in command.get_subcommands().filter(|door| !door.is_hide_set()) {
        let own = door.get_arguments().filter(|option| {
            option.get_long().is_some_and(|long| long != "help") && group(option).is_none()
        });
        let own: Vec<&Arg> = own.collect();
        if !own.is_empty() {
            let heading = format!("Of `{}` alone", door.get_name());
            tables.push(table(&heading, own.into_iter()));
        }
    }
    tables.join("\n")
}

fn table<'a>(heading: &str, options: impl Iterator<Item = &'a Arg>) -> String {
    let rows = options.map(|option| {
        let (default, meaning) = told(option);
        let name = name(option).replace('|', "\\|");
        format!("| {name} | {default} | {} |\n", meaning.replace('|', "\\|"))
    });
    let rows: String = rows.collect();
    format!("## {heading}\n\n| option | default | |\n|---|---|---|\n{rows}")
}

/// `-w`, `--workers MAX`.
fn name(option: &Arg) -> String {
    let short = option.get_short().map(|letter| format!("`-{letter}`, "));
    let long = option.get_long().unwrap_or_default();
    let takes_value = option.get_action().takes_values() && !is_switch(option);
    let values = option.get_value_names().filter(|_| takes_value);
    let value = values.and_then(|names| names.first());
    let value = value.map_or(String::new(), |value| format!(" {value}"));
    format!("{}`--{long}{value}`", short.unwrap_or_default())
}

/// The default, and what the option means without that.
fn told(option: &Arg) -> (String, String) {
    let help = option.get_long_help().or(option.get_help());
    let help = help.map_or(String::new(), ToString::to_string);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut meaning = help.trim_end_matches('.').to_owned();
    let mut default = option
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    if is_switch(option) || !option.get_action().takes_values() {
        default = "off".to_owned();
    }
    // Where no single value says it, the text ends with it.
    if let Some((before, last)) = help.trim_end_matches('.').rsplit_once(" [default: ") {
        meaning = before.trim_end_matches('.').to_owned();
        default = last.trim_end_matches(']').to_owned();
    }
    (default, meaning)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::made;
    use crate::cli::{Cli, help};
    use crate::help::Topic;

    #[test]
    fn the_topic_is_what_the_program_makes() {
        let made = made(&help::whole(&Cli::command()));
        let topic = Topic::named("options").unwrap().markdown();
        let differs = topic
            .lines()
            .zip(made.lines())
            .find(|(one, other)| one != other);
        assert!(
            topic == made,
            "'wsgi-gateway manual target/manual' makes the options.md that src/help is to have: {differs:?}"
        );
        for row in [
            "| `-b`, `--bind ADDR` | standard input, if it is a listening socket | unix:/path",
            "| `--threads N` | 1 | Application threads |",
            "| `--preload` | off | ",
            "## Of `get` alone",
        ] {
            assert!(topic.contains(row), "{row}");
        }
    }
}
