//! What is shown of the command line: in a few lines, by the ten options that people use, or whole, in groups by need.

use clap::{Arg, Command};

/// What is said where nothing was asked.
pub(super) const BARE: &str = "\
Puts a Python web application (WSGI) behind any web server that speaks FastCGI or CGI.

  wsgi-gateway fastcgi --bind ADDR APP   serve FastCGI until told to stop
  wsgi-gateway cgi APP                   answer one request of CGI
  wsgi-gateway check APP                 say what would be served, or why it cannot be
  wsgi-gateway explain                   say what the web server sends, and what is wrong with that
  wsgi-gateway APP                       serve as the web server that starts it wants

APP is package.module:attribute, package.module, package.module:factory() or a file;
ADDR is /run/shop.sock, 127.0.0.1:9000, :9000 or systemd.

'wsgi-gateway fastcgi -h' has the options that people use, 'wsgi-gateway help' lists all else.
";

/// The ten that people use.
const USED: [&str; 10] = [
    "bind",
    "socket-group",
    "workers",
    "threads",
    "venv",
    "chdir",
    "user",
    "request-timeout",
    "log-file",
    "config",
];

/// Options by what they are needed for, in the order in which they are shown. What is in none stands with what clap has itself.
pub(super) const GROUPS: [(&str, &[&str]); 8] = [
    (
        "Where it listens",
        &[
            "bind",
            "socket-mode",
            "socket-user",
            "socket-group",
            "backlog",
            "allow",
        ],
    ),
    (
        "The application and its Python",
        &[
            "venv",
            "python",
            "chdir",
            "pythonpath",
            "mount",
            "script-name",
            "config",
        ],
    ),
    (
        "Processes",
        &[
            "workers",
            "min-workers",
            "idle-timeout",
            "threads",
            "preload",
            "persistent",
            "reload",
            "startup-timeout",
            "graceful-timeout",
            "max-requests",
            "max-requests-jitter",
            "max-lifetime",
            "max-rss",
            "pid",
        ],
    ),
    (
        "Rights",
        &[
            "user",
            "group",
            "umask",
            "no-new-privileges",
            "max-open-files",
        ],
    ),
    (
        "Limits of requests",
        &[
            "request-timeout",
            "kill-after",
            "header-timeout",
            "io-timeout",
            "idle-connection-timeout",
            "buffer",
            "max-params",
            "max-body",
            "max-unsent",
            "max-connections",
        ],
    ),
    (
        "Log",
        &[
            "log-level",
            "log-file",
            "log-format",
            "worker-output",
            "access-log",
            "access-log-format",
            "access-log-skip",
        ],
    ),
    (
        "To look at it from outside",
        &["name", "control", "control-group", "metrics"],
    ),
    (
        "To find what is wrong",
        &["explain", "debug", "slow-log", "slow-log-file"],
    ),
];

/// The command as `--help` and the manual show it.
pub(super) fn whole(command: &Command) -> Command {
    let heading = |option: &Arg| {
        let group = group(option)?;
        Some(GROUPS.get(group)?.0)
    };
    let grouped = |option: &Arg| match heading(option) {
        Some(heading) => option.clone().help_heading(heading),
        None => option.clone(),
    };
    let place = |option: &Arg| {
        let group = group(option)?;
        let key = option.get_long()?;
        Some((
            group,
            GROUPS.get(group)?.1.iter().position(|known| *known == key),
        ))
    };
    remade(command, &|options| {
        let mut options: Vec<&Arg> = options.iter().collect();
        options.sort_by_key(|option| place(option));
        options.into_iter().map(grouped).collect()
    })
}

/// The command as `-h` shows it.
pub(super) fn short(command: &Command) -> Command {
    let place = |option: &Arg| {
        let key = option.get_long()?;
        USED.iter().position(|used| *used == key)
    };
    remade(command, &|options| {
        let mut options: Vec<&Arg> = options.iter().collect();
        options.sort_by_key(|option| place(option));
        let hidden = |option: &Arg| {
            let is_hidden = group(option).is_some() && place(option).is_none();
            option.clone().hide_short_help(is_hidden)
        };
        options.into_iter().map(hidden).collect()
    })
}

pub(super) fn group(option: &Arg) -> Option<usize> {
    let key = option.get_long()?;
    GROUPS.iter().position(|(_, keys)| keys.contains(&key))
}

/// The same with its options, and those of its commands, in another order.
fn remade(command: &Command, arrange: &dyn Fn(&[Arg]) -> Vec<Arg>) -> Command {
    let options: Vec<Arg> = command.get_arguments().cloned().collect();
    let arranged = arrange(&options).into_iter().enumerate();
    let arranged = arranged.map(|(place, option)| option.display_order(place));
    let name = command.get_name().to_owned();
    let typed = match name.as_str() {
        "wsgi-gateway" => name.clone(),
        door => format!("wsgi-gateway {door}"),
    };
    let has_more = options.iter().any(|option| group(option).is_some());
    let rest = match has_more {
        true => format!("These are the options that most need: '{typed} --help' has all."),
        false => String::new(),
    };
    let commands = command.get_subcommands().map(|door| remade(door, arrange));
    let mut made = Command::new(name)
        .version(command.get_version().map(str::to_owned).unwrap_or_default())
        .disable_version_flag(command.get_version().is_none())
        .args_conflicts_with_subcommands(command.is_args_conflicts_with_subcommands_set())
        .hide(command.is_hide_set())
        .max_term_width(100)
        .args(arranged)
        .subcommands(commands)
        .after_help(rest)
        .after_long_help(more(command.get_name()));
    if let Some(about) = command.get_about() {
        made = made.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        made = made.long_about(about.clone());
    }
    made
}

/// Where more is told of a command, or of the whole: the topics.
fn more(command: &str) -> String {
    let topics: &[&str] = match command {
        "wsgi-gateway" => {
            return "'wsgi-gateway help' lists what else there is to read.".to_owned();
        }
        "fastcgi" => &["processes", "operations"],
        "cgi" => &["cgi-scripts"],
        "check" | "get" | "try" => &["applications"],
        "conf" => &["prefixes"],
        "explain" => &["troubleshooting"],
        "ps" | "status" | "top" | "reload" | "stacks" | "resize" | "reopen" | "stop" => {
            &["operations"]
        }
        _ => return String::new(),
    };
    format!(
        "More: 'wsgi-gateway help {}'",
        topics.join("', 'wsgi-gateway help ")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::{BARE, GROUPS, USED, more, short, whole};
    use crate::cli::Cli;
    use crate::help::Topic;

    #[test]
    fn every_option_is_in_one_group_and_exists() {
        let command = Cli::command();
        let doors = ["fastcgi", "cgi"].map(|door| command.find_subcommand(door).unwrap());
        let options = doors.iter().flat_map(|door| door.get_arguments());
        let options: BTreeSet<&str> = options.filter_map(clap::Arg::get_long).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, keys)| *keys).copied().collect();
        for key in grouped.iter().chain(&USED) {
            assert!(options.contains(key), "no --{key}");
        }
        let once: BTreeSet<&str> = grouped.iter().copied().collect();
        assert_eq!(once.len(), grouped.len());
        for option in &options {
            assert!(
                once.contains(option),
                "--{option} is in no group: say what it is needed for"
            );
        }
    }

    #[test]
    fn little_is_shown_where_little_is_asked() {
        assert_eq!(BARE.lines().count(), 12);
        assert!(BARE.lines().all(|line| line.len() <= 100));
        let door =
            |mut command: clap::Command| command.find_subcommand_mut("fastcgi").unwrap().clone();
        let help = door(short(&Cli::command())).render_help().to_string();
        let options: Vec<&str> = help
            .lines()
            .filter(|line| line.starts_with("  -") || line.starts_with("      --"))
            .collect();
        // With -h itself.
        assert_eq!(options.len(), USED.len() + 1, "{help}");
        assert!(
            help.contains("'wsgi-gateway fastcgi --help' has all"),
            "{help}"
        );
        let help = door(whole(&Cli::command())).render_long_help().to_string();
        let places = GROUPS
            .iter()
            .map(|(heading, _)| help.find(&format!("\n{heading}:\n")).unwrap());
        assert!(places.is_sorted(), "{help}");
        assert!(!help.contains("has all"), "{help}");
        assert!(help.ends_with("'wsgi-gateway help operations'\n"), "{help}");
        for door in Cli::command().get_subcommands() {
            let more = more(door.get_name());
            let named = more.split("help ").skip(1);
            for topic in named.map(|rest| rest.split('\'').next().unwrap()) {
                assert!(Topic::named(topic).is_some(), "{more}");
            }
        }
    }
}
