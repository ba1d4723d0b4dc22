//! One surface of options: the command line, the environment and the file of `--config`, which of them beats which, what
//! is said of a mistake in each, and `check`, which tells where every setting comes from.

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
    for (key, kind) in options {
        if key == "config" || key == "all" {
            continue;
        }
        let value = match (key.as_str(), kind.as_str()) {
            ("python", _) => "/usr/bin/python3".to_owned(),
            ("venv", _) => venv().to_str().unwrap().to_owned(),
            (_, "ADDR" | "ADDR,...") if key == "allow" => "127.0.0.1,::1".to_owned(),
            (_, "ADDR") => "tcp:127.0.0.1:9009".to_owned(),
            (_, "USER" | "GROUP" | "NAME") => "root".to_owned(),
            (_, "MODE") => "0640".to_owned(),
            ("max-open-files", _) => "3000".to_owned(),
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
        let needs: &[&str] = match key.as_str() {
            "max-requests-jitter" => &["--max-requests", "9"],
            _ => &[],
        };
        let name = variable(&key);
        let output = check("hello").options(needs).env(&name, &value).run();
        let by = format!("environment variable {name}");
        assert_setting(&output, &key, &value, &by);
        assert_eq!(output.stderr, "", "{key}");

        let site = Site::new(&format!("{key} = '{value}'"));
        let output = check("hello").options(needs);
        let output = output.option("--config").option(site.file()).run();
        assert_setting(&output, &key, &value, &format!("file {}", site.name()));

        let output = check("hello").options(needs).env(&name, "");
        assert_ne!(settings(&output.run())[&key].1, by, "{key}");
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
fn a_mistake_in_the_file_is_told_with_its_place_and_the_way_out() {
    for (text, words) in [
        (
            "wrokers = 3",
            &["line 1", "'wrokers'", "did you mean 'workers'?"][..],
        ),
        (
            "\n\nmax_body = 3",
            &["line 3", "'max_body'", "did you mean 'max-body'?"],
        ),
        ("zzzz = 1", &["'zzzz'", "--help"]),
        ("# one\nthreads = ", &["line 2", "is not TOML"]),
        (
            "threads = 1\nthreads = 2",
            &["line 2", "is not TOML", "duplicate key"],
        ),
        ("[fastcgi]\nthreads = 1", &["line 1", "'fastcgi'", "top"]),
        (
            "app = 'hello'\nmax-body = '10x'",
            &["line 2", "max-body", "'10x'", "64K", "leave the line out"],
        ),
        ("workers = 0", &["workers", "'0'", "from 1 to 1000"]),
        ("workers = 'many'", &["workers", "'many'", "from 1 to 1000"]),
        ("threads = 2.5", &["threads", "'2.5'", "from 1 to 512"]),
        ("max-requests-jitter = -1", &["'-1'", "no number from 0 to"]),
        (
            "max-requests = 0",
            &["max-requests", "'0'", "leave the option out"],
        ),
        ("idle-timeout = '10x'", &["idle-timeout", "'10x'", "10s"]),
        ("threads = [1, 2]", &["threads", "one value"]),
        ("venv = true", &["venv", "'true'"]),
        ("venv = ''", &["venv", "empty"]),
        ("debug = 'maybe'", &["debug", "'maybe'", "yes"]),
        ("log-level = 'loud'", &["log-level", "'loud'", "debug"]),
        ("app = 1979-05-27", &["app", "string"]),
        ("config = 'other.toml'", &["another file"]),
        ("mount = 'shop'", &["mount", "'shop'", "/shop"]),
        (
            "max-requests-jitter = 3",
            &["max-requests-jitter 3 (file", "--max-requests too"],
        ),
        (
            "workers = 2\nmin-workers = 3",
            &["--min-workers 3 (file", "--workers 2 (file"],
        ),
        ("bind = 'nowhere'", &["--bind (file", "'nowhere'"]),
    ] {
        let site = Site::new(text);
        for door in ["check", "fastcgi"] {
            let output = Cgi::bare("hello").door(door);
            let output = match door {
                "fastcgi" if !text.starts_with("bind") => output.env("WSGI_GATEWAY_BIND", "fd:9"),
                _ => output,
            };
            let output = output.options(["--config", &site.name()]).run();
            is_refused(&output, words);
            assert!(output.stderr.contains(&site.name()), "{output:#?}");
        }
    }
    let output = check("hello").options(["--config", "/nowhere.toml"]).run();
    is_refused(&output, &["/nowhere.toml", "--config", "No such file"]);
    let output = check("hello").env("WSGI_GATEWAY_CONFIG", "/").run();
    is_refused(&output, &["the file / of --config", "directory"]);
}

#[test]
fn a_mistake_in_the_environment_is_told_with_the_variable() {
    for (name, value, words) in [
        ("WORKERS", "0", &["'0'", "from 1 to 1000", "unset it"][..]),
        ("MAX_BODY", "10x", &["'10x'", "64K"]),
        ("DEBUG", "maybe", &["'maybe'", "yes"]),
        ("HEADER_TIMEOUT", "10x", &["'10x'", "10s"]),
        ("MAX_REQUESTS_JITTER", "3", &["--max-requests too"]),
    ] {
        let name = format!("WSGI_GATEWAY_{name}");
        let output = check("hello").env(&name, value).run();
        is_refused(&output, words);
        assert!(output.stderr.contains(&name), "{output:#?}");
    }
    for word in ["1", "true", "YES", "on", "0", "false", "no", "Off"] {
        let output = check("hello").env("WSGI_GATEWAY_PRELOAD", word).run();
        assert_eq!(settings(&output)["preload"].0, word);
    }
}

/// Wherever it is said, it is SCRIPT_NAME, and not beside what says otherwise.
#[test]
fn a_script_name_is_said_in_any_of_the_places() {
    let site = Site::new("script-name = '/s'");
    let config = site.name();
    let environ = |builder: Builder, request: Request| {
        let gateway = builder.start();
        let text = fetch(gateway.socket(), &request).expect(200).text();
        let find = |name| text.lines().find_map(|line| line.strip_prefix(name));
        (
            find("SCRIPT_NAME=").unwrap().to_owned(),
            find("PATH_INFO=").unwrap().to_owned(),
        )
    };
    let builder = || Gateway::builder("fcgi_environ");
    for builder in [
        builder().args(["--script-name", "/s"]),
        builder().env("WSGI_GATEWAY_SCRIPT_NAME", "/s/"),
        builder().args(["--config", &config]),
    ] {
        let get = Request::get("/env?x").param("SCRIPT_NAME", "/other");
        let (script_name, path_info) = environ(builder, get);
        assert_eq!((&*script_name, &*path_info), ("/s", "/env"));
    }
    // Named by the web server alone, behind a proxy that has taken it away.
    let get = Request::get("/env").param("SCRIPT_NAME", "/s");
    let (script_name, path_info) = environ(builder(), get);
    assert_eq!((&*script_name, &*path_info), ("/s", "/env"));
    let options = ["--config", &config, "--mount", "/a"];
    let output = check("hello").options(options).run();
    is_refused(&output, &["--mount", "--script-name (file", "alone"]);
}

/// What only the kernel, the system's users or the files can tell is wrong says where it was told, too.
#[test]
fn a_mistake_that_is_found_later_is_told_with_its_origin() {
    let site = Site::new("");
    let name = site.name();
    for (key, value, code, words) in [
        ("bind", "nowhere", 2, &["'nowhere'", "unix:"][..]),
        ("allow", "300.0.0.1", 2, &["'300.0.0.1'", "192.0.2.1"]),
        ("allow", ",", 2, &["names nobody", "leave it out"]),
        (
            "user",
            "no-such-user",
            2,
            &["'no-such-user'", "leave it out"],
        ),
        (
            "group",
            "no-such-group",
            2,
            &["'no-such-group'", "leave it out"],
        ),
        (
            "socket-user",
            "no-such-user",
            2,
            &["'no-such-user'", "leave it out"],
        ),
        (
            "socket-group",
            "no-such-group",
            2,
            &["'no-such-group'", "leave it out"],
        ),
        ("pid", "/nowhere/a.pid", 2, &["/nowhere/a.pid"]),
        ("log-file", "/nowhere/a.log", 2, &["/nowhere/a.log"]),
        ("chdir", "/nowhere", 2, &["/nowhere"]),
        ("venv", "/nowhere", 3, &["/nowhere"]),
    ] {
        let (option, variable) = (format!("--{key}"), variable(key));
        let start = || {
            let socket = site.path().join("a.sock").to_str().unwrap().to_owned();
            let door = Cgi::bare("hello").door("fastcgi");
            match key {
                "bind" => door,
                _ => door.env("WSGI_GATEWAY_BIND", socket),
            }
        };
        std::fs::write(site.file(), format!("{key} = '{value}'")).unwrap();
        // The folder of --chdir is where the file is looked for.
        let config = ["--config", &name];
        for (told, origin) in [
            (start().options([&option, value]), "command line".to_owned()),
            (
                start().env(&variable, value),
                format!("environment variable {variable}"),
            ),
            (start().options(config), format!("file {name}")),
        ] {
            let output = told.run();
            assert_eq!(output.code, code, "{output:#?}");
            let errors: Vec<&str> = output
                .stderr
                .lines()
                .filter(|line| line.contains("error: ") && !line.contains(") ended: exit code"))
                .collect();
            assert_eq!(errors.len(), 1, "{output:#?}");
            let origin = format!("{option} ({origin})");
            for word in words.iter().chain([&origin.as_str()]) {
                assert!(errors[0].contains(word), "no {word}: {output:#?}");
            }
        }
    }
}

#[test]
fn a_variable_of_no_option_is_a_warning_that_names_the_nearest() {
    for (name, words) in [
        (
            "WSGI_GATEWAY_WORKER",
            &["did you mean WSGI_GATEWAY_WORKERS?"][..],
        ),
        (
            "WSGI_GATEWAY_max_body",
            &["did you mean WSGI_GATEWAY_MAX_BODY?"],
        ),
        ("WSGI_GATEWAY_HELP", &[]),
        ("WSGI_GATEWAY_ZZZZ", &[]),
    ] {
        let output = check("hello").env(name, "3").run();
        assert_eq!(output.code, 0, "{output:#?}");
        let stderr = &output.stderr;
        assert_eq!(stderr.lines().count(), 1, "{output:#?}");
        for word in [&["warn", name], words].concat() {
            assert!(stderr.contains(word), "no '{word}': {output:#?}");
        }
    }
    let output = check("hello").env("WSGI_GATEWAY_ZZZZ", "").run();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
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

/// What is wrong is for who asks, and not for the log of the service, which may not be there yet.
#[test]
fn check_says_what_is_wrong_where_it_was_asked() {
    let site = Site::new("log-file = 'site.log'");
    let output = check("no_such_module");
    let output = output.options(["--config", &site.name()]).cwd(site.path());
    let output = output.run();
    assert_eq!(output.code, 3, "{output:#?}");
    assert!(output.stderr.contains("no_such_module"), "{output:#?}");
    assert!(!site.path().join("site.log").exists());
}

/// As its help says of every path.
#[test]
fn the_log_file_is_seen_from_the_folder_of_chdir() {
    let site = Site::new("");
    let output = Cgi::bare("no_such_module").door("fastcgi").cwd("/");
    let output = output.env("WSGI_GATEWAY_BIND", site.path().join("a.sock"));
    let output = output.env("WSGI_GATEWAY_CHDIR", site.path());
    let output = output.options(["--log-file", "site.log"]).run();
    assert_eq!(output.code, 3, "{output:#?}");
    let log = std::fs::read_to_string(site.path().join("site.log")).unwrap();
    assert!(log.contains("no_such_module"), "{log}");
    assert!(output.stderr.is_empty(), "{output:#?}");
}

#[test]
fn one_file_is_for_all_doors() {
    let site = Site::new("app = 'hello:application'\nworkers = 3\nmin-workers = 1\nbind = '/x'");
    let output = Cgi::bare("").options(["--config", &site.name()]).run();
    assert_eq!(output.response().body, b"Hello, world\n");
    let output = Cgi::bare("")
        .env("WSGI_GATEWAY_CONFIG", site.file())
        .env("WSGI_GATEWAY_THREADS", "3");
    assert_eq!(output.run().response().body, b"Hello, world\n");
}

#[test]
fn a_file_may_be_the_whole_command_of_a_responder() {
    let builder = Gateway::builder("");
    let socket = builder.socket_path();
    let text = format!("bind = 'unix:{}'\napp = 'fcgi_unread'\n", socket.display());
    let site = Site::new(&(text + "max-body = 10\nworkers = 1\nsocket-mode = 0o600"));
    let gateway = builder
        .shell("exec \"$1\" fastcgi")
        .env("WSGI_GATEWAY_CONFIG", site.file())
        .env("WSGI_GATEWAY_MAX_BODY", "5")
        .start();
    let mut connection = Connection::open(gateway.socket());
    let response = connection.request(&Request::get("/here"));
    assert_eq!(response.expect(200).text(), "/here");
    let mut connection = Connection::open(gateway.socket());
    connection
        .request(&Request::post("/", b"123456"))
        .expect(413);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_variable_may_be_the_whole_command_on_a_socket_of_the_web_server_s() {
    let builder = Gateway::builder("");
    let socket = builder.socket_path();
    let listener = UnixListener::bind(&socket).unwrap();
    let gateway = builder
        .auto_door()
        .shell("exec \"$1\"")
        .stdin(OwnedFd::from(listener))
        .env("WSGI_GATEWAY_APP", "fcgi_unread")
        .start();
    let response = Connection::open(gateway.socket()).request(&Request::get("/here"));
    assert_eq!(response.expect(200).text(), "/here");
}

/// RFC 3875 section 4.4: words of the query on the command line, where there is no APP in front of them.
#[test]
fn a_request_chooses_neither_an_option_nor_the_application() {
    let request = |query: &str| Request::get(&format!("/?{query}"));
    for (query, words) in [
        ("-h", &["-h"][..]),
        ("--version", &["--version"]),
        ("hello:app", &["hello:app"]),
        ("--debug+hello:app", &["--debug", "hello:app"]),
        (
            "--venv%3D/nowhere+hello:app",
            &["--venv=/nowhere", "hello:app"],
        ),
        (
            "--pythonpath+/tmp+%7Eevil",
            &["--pythonpath", "/tmp", "\\~evil"],
        ),
        ("--config%3D/nowhere", &["--config=/nowhere"]),
        ("--+hello:app", &["--", "hello:app"]),
        ("--debug+hello:app", &["--debug hello:app"]),
    ] {
        let site = Site::new("app = 'hello:application'");
        let by_variable = |cgi: Cgi| cgi.env("WSGI_GATEWAY_APP", "hello:application");
        let by_named_file = |cgi: Cgi| cgi.env("WSGI_GATEWAY_CONFIG", site.file());
        let by_file = |cgi: Cgi| cgi.options(["--config", &site.name()]);
        for told in [
            &by_variable as &dyn Fn(Cgi) -> Cgi,
            &by_named_file,
            &by_file,
        ] {
            for auto in [true, false] {
                let cgi = told(Cgi::new("", &request(query)).words(words));
                let output = if auto { cgi.auto_door() } else { cgi }.run();
                assert_eq!(output.code, 0, "{words:?}: {output:#?}");
                assert_eq!(output.response().body, b"Hello, world\n", "{words:?}");
            }
        }
    }
    // What the operator says still counts, whatever the query is.
    let cgi = Cgi::new("hello:app", &request("word")).words(&["word"]);
    let output = cgi.env("WSGI_GATEWAY_APP", "hello:application").run();
    assert_eq!(output.response().body, b"this is app\n");
}
