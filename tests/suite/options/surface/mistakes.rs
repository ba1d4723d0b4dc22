//! What is said of a mistake, in each of the places.

use super::*;

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
