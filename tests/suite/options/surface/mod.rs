//! One surface of options: the command line, the environment and the file of `--config`, which of them beats which, what
//! is said of a mistake in each, and `check`, which tells where every setting comes from.

mod doors;
mod mistakes;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::cgi::{Cgi, Output};
use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Builder, Gateway, apps, venv};

/// A folder with a file of options in it.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(text: &str) -> Site {
        let folder = TempDir::with_prefix("wsgi-gateway-options-").unwrap();
        std::fs::write(folder.path().join("site.toml"), text).unwrap();
        Site { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("site.toml")
    }

    fn name(&self) -> String {
        self.file().to_str().unwrap().to_owned()
    }
}

fn check(app: &str) -> Cgi {
    Cgi::bare(app).door("check").option("--all")
}

/// What `check` says of each setting: its value and where it was told.
#[track_caller]
fn settings(output: &Output) -> BTreeMap<String, (String, String)> {
    assert_eq!(output.code, 0, "{output:#?}");
    let text = output.text();
    let (_, table) = text.split_once("\nsettings:\n").unwrap();
    let columns = |line: &str| -> Vec<String> {
        let columns = line.split("  ").map(str::trim);
        columns
            .filter(|column| !column.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let rows = table.lines().map(|line| match &columns(line)[..] {
        [key, value, origin] => (key.clone(), (value.clone(), origin.clone())),
        other => panic!("no three columns: {other:?}"),
    });
    rows.collect()
}

#[track_caller]
fn assert_setting(output: &Output, key: &str, value: &str, origin: &str) {
    let settings = settings(output);
    let expected = (value.to_owned(), origin.to_owned());
    assert_eq!(settings.get(key), Some(&expected), "{key} in {output:#?}");
}

/// Exit code 2, nothing on stdout, one line on stderr that has all the words.
#[track_caller]
fn is_refused(output: &Output, words: &[&str]) {
    assert_eq!(output.code, 2, "{output:#?}");
    assert!(output.stdout.is_empty(), "{output:#?}");
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "{output:#?}");
    for word in words {
        assert!(output.stderr.contains(word), "no '{word}': {output:#?}");
    }
}

/// The long options that a help has, with what it calls their values.
fn options_of(help: &str) -> BTreeMap<String, String> {
    // Exactly so far in: a line of text may begin with an option's name too.
    let options = help.lines().filter_map(|line| {
        let line = line.strip_prefix("  ")?;
        let is_short = line.starts_with('-') && line.get(2..4) == Some(", ");
        let long = if is_short {
            &line[4..]
        } else {
            line.strip_prefix("    ")?
        };
        long.strip_prefix("--")
            .filter(|name| !name.starts_with("help") && !name.starts_with("version"))
    });
    options
        .map(|option| {
            let name = option.split([' ', '[', '=']).next().unwrap();
            let value = option
                .split_once('<')
                .and_then(|(_, rest)| rest.split_once('>'));
            let value = value.map_or("", |(value, _)| value);
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

fn help(words: &[&str]) -> BTreeMap<String, String> {
    let output = Cgi::bare("")
        .program(crate::support::gateway::binary())
        .words(words);
    let output = output.run();
    assert_eq!(output.code, 0, "{output:#?}");
    let options = options_of(&output.text());
    assert!(options.contains_key("config"), "{output:#?}");
    options
}

fn variable(key: &str) -> String {
    format!("WSGI_GATEWAY_{}", key.to_uppercase().replace('-', "_"))
}

#[test]
fn every_option_of_every_door_is_also_a_variable_and_a_key() {
    let options = help(&["check", "--help"]);
    assert!(
        options.len() > 30,
        "the help was not understood: {options:?}"
    );
    for door in [&["--help"][..], &["cgi", "--help"], &["fastcgi", "--help"]] {
        for (option, _) in help(door) {
            assert!(options.contains_key(&option), "check has no --{option}");
        }
    }
    let folder = Site::new("");
    let inside = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // As many at a time as go together: an interpreter is started for each time.
    let mut groups: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for (key, kind) in options {
        if key == "config" || key == "all" {
            continue;
        }
        let group = match key.as_str() {
            "script-name" | "venv" => "that contradict others",
            _ => "all others",
        };
        let value = match (key.as_str(), kind.as_str()) {
            ("python", _) => "/usr/bin/python3".to_owned(),
            ("venv", _) => venv().to_str().unwrap().to_owned(),
            (_, "ADDR" | "ADDR,...") if key == "allow" => "127.0.0.1,::1".to_owned(),
            (_, "ADDR") => "tcp:127.0.0.1:9009".to_owned(),
            (_, "USER" | "GROUP" | "NAME") => "root".to_owned(),
            (_, "MODE") => "0640".to_owned(),
            ("max-open-files", _) => "3000".to_owned(),
            // More than its jitter.
            ("max-requests", _) => "9".to_owned(),
            (_, "N" | "MAX" | "MIN") => "1".to_owned(),
            (_, "TIME") => "7s".to_owned(),
            (_, "SIZE") => "70K".to_owned(),
            (_, "LEVEL") => "warn".to_owned(),
            (_, "FORMAT") => "json".to_owned(),
            (_, "FORM") => "raw".to_owned(),
            (_, "PATH|off") => "off".to_owned(),
            (_, "PREFIX") => "/shop".to_owned(),
            (_, "DIR") => ".".to_owned(),
            (_, "FILE" | "FILE|-|syslog:") => inside(&key),
            (_, "PATH") => "/ping".to_owned(),
            (_, "YES|NO") => "yes".to_owned(),
            _ => panic!("--{key} <{kind}>: say here what a good value is"),
        };
        groups.entry(group).or_default().insert(key, value);
    }
    for group in groups.into_values() {
        let by = |key: &str| format!("environment variable {}", variable(key));
        let (mut told, mut empty, mut file) = (check("hello"), check("hello"), String::new());
        for (key, value) in &group {
            told = told.env(variable(key), value);
            empty = empty.env(variable(key), "");
            file += &format!("{key} = '{value}'\n");
        }
        let output = told.run();
        assert_eq!(output.stderr, "");
        let site = Site::new(&file);
        let of_file = check("hello").option("--config").option(site.file()).run();
        let unset = settings(&empty.run());
        for (key, value) in &group {
            assert_setting(&output, key, value, &by(key));
            assert_setting(&of_file, key, value, &format!("file {}", site.name()));
            assert_ne!(unset[key].1, by(key), "{key}");
        }
    }
}

#[test]
fn the_command_line_beats_the_environment_and_that_the_file() {
    let site = Site::new("threads = 2\nbind = ['unix:@a', 'unix:@b']\ndebug = true\nbacklog = 7");
    let name = site.name();
    let file = format!("file {name}");
    let all = || check("hello").options(["--config", &name]);

    let output = all().run();
    assert_setting(&output, "threads", "2", &file);
    assert_setting(&output, "bind", "unix:@a unix:@b", &file);
    assert_setting(&output, "debug", "true", &file);
    assert_setting(&output, "buffer", "64K", "default");
    assert_setting(&output, "config", &name, "command line");

    let with = || {
        all()
            .env("WSGI_GATEWAY_THREADS", "3")
            .env("WSGI_GATEWAY_BIND", "unix:@c, tcp:localhost:9009")
            .env("WSGI_GATEWAY_DEBUG", "off")
    };
    let output = with().run();
    let by = |key: &str| format!("environment variable {}", variable(key));
    assert_setting(&output, "threads", "3", &by("threads"));
    assert_setting(&output, "bind", "unix:@c tcp:localhost:9009", &by("bind"));
    assert_setting(&output, "debug", "off", &by("debug"));
    assert_setting(&output, "backlog", "7", &file);

    let words = [
        "--threads",
        "4",
        "--bind",
        "unix:@d",
        "--bind=unix:@e",
        "--debug",
    ];
    let output = with().options(words).run();
    assert_setting(&output, "threads", "4", "command line");
    assert_setting(&output, "bind", "unix:@d unix:@e", "command line");
    assert_setting(&output, "debug", "yes", "command line");
    let output = all().option("--debug=no").run();
    assert_setting(&output, "debug", "no", "command line");
}

#[test]
fn the_application_may_be_told_by_variable_and_by_file() {
    let site = Site::new("app = 'hello:app'");
    let file = format!("file {}", site.name());
    let output = check("").options(["--config", &site.name()]).run();
    assert_setting(&output, "app", "hello:app", &file);
    assert!(output.text().contains("application: hello:app\n"));
    let output = check("").env("WSGI_GATEWAY_APP", "hello:app").run();
    let by = "environment variable WSGI_GATEWAY_APP";
    assert_setting(&output, "app", "hello:app", by);
    let output = check("hello:application");
    let output = output.env("WSGI_GATEWAY_APP", "hello:app").run();
    assert_setting(&output, "app", "hello:application", "command line");
}

#[test]
fn a_file_is_found_by_variable_and_from_the_folder_of_chdir() {
    let site = Site::new("threads = 5");
    let output = check("hello").env("WSGI_GATEWAY_CONFIG", site.file()).run();
    assert_setting(&output, "threads", "5", &format!("file {}", site.name()));
    let other = Site::new("threads = 6");
    let output = check("hello").env("WSGI_GATEWAY_CONFIG", site.file());
    let output = output.options(["--config", &other.name()]).run();
    assert_setting(&output, "threads", "6", &format!("file {}", other.name()));

    std::fs::copy(apps().join("hello.py"), site.path().join("hello.py")).unwrap();
    let output = check("hello")
        .option("--chdir")
        .option(site.path())
        .options(["--config", "site.toml"])
        .cwd("/")
        .run();
    assert_setting(&output, "threads", "5", &format!("file {}", site.name()));
}

#[test]
fn a_relative_path_of_the_file_is_seen_from_the_working_directory() {
    let site = Site::new("pythonpath = ['lib', 'more']\napp = 'only_here:application'");
    let elsewhere = Site::new("");
    let lib = elsewhere.path().join("lib");
    std::fs::create_dir(&lib).unwrap();
    std::fs::copy(apps().join("hello.py"), lib.join("only_here.py")).unwrap();
    let output = check("").options(["--config", &site.name()]);
    let output = output.cwd(elsewhere.path()).run();
    assert_setting(
        &output,
        "pythonpath",
        "lib more",
        &format!("file {}", site.name()),
    );
}

#[test]
fn values_of_toml_are_those_of_the_command_line() {
    for (line, key, value) in [
        ("threads = 3", "threads", "3"),
        ("threads = 0x10", "threads", "16"),
        ("max-connections = 1_000", "max-connections", "1000"),
        ("max-body = 1048576", "max-body", "1048576"),
        ("max-body = '10M'", "max-body", "10M"),
        ("socket-mode = 600", "socket-mode", "600"),
        ("socket-mode = 0o600", "socket-mode", "600"),
        ("umask = '0027'", "umask", "0027"),
        ("preload = false", "preload", "false"),
        ("preload = 'on'", "preload", "on"),
        ("header-timeout = '1.5s'", "header-timeout", "1.5s"),
        ("bind = 'systemd'", "bind", "systemd"),
        (
            "bind = []",
            "bind",
            "standard input, if it is a listening socket",
        ),
        ("# nothing", "threads", "1"),
    ] {
        let site = Site::new(line);
        let output = check("hello").options(["--config", &site.name()]).run();
        assert_eq!(settings(&output)[key].0, value, "{line}");
    }
}

#[test]
fn help_is_the_same_whatever_is_set() {
    let plain = Cgi::bare("--help").door("fastcgi").run();
    assert_eq!(plain.code, 0, "{plain:#?}");
    for (name, value) in [
        ("THREADS", "7"),
        ("THREADS", "none"),
        ("APP", "hello"),
        ("CONFIG", "/no"),
    ] {
        let output = Cgi::bare("--help").door("fastcgi");
        let output = output.env(format!("WSGI_GATEWAY_{name}"), value).run();
        assert_eq!(output.text(), plain.text(), "{name}");
    }
}

#[test]
fn check_takes_what_fastcgi_takes_and_shows_every_setting() {
    let words = ["--bind", "unix:@a", "--workers", "3", "--mount", "/"];
    let output = check("hello").options(words).run();
    let settings = settings(&output);
    for key in help(&["fastcgi", "--help"]).into_keys() {
        assert!(settings.contains_key(&key), "no {key}: {output:#?}");
    }
    assert_setting(&output, "workers", "3", "command line");
    assert_setting(
        &output,
        "min-workers",
        "3 (as many as --workers)",
        "default",
    );
    assert_setting(&output, "user", "not set", "default");
    // Below what it says of Python, in columns.
    let text = output.text();
    assert!(
        text.starts_with("ok: hello would be served, by Python 3."),
        "{text}"
    );
    let table: Vec<&str> = text
        .lines()
        .skip_while(|line| *line != "settings:")
        .collect();
    assert!(table[1].starts_with("  app "), "{text}");
    let column = table[1].find("hello").unwrap();
    for line in &table[1..] {
        assert!(!line[column..].starts_with(' '), "{line}");
        assert_eq!(&line[column - 2..column], "  ", "{line}");
    }
}
