//! `check` looks as the gateway will: as its user, at its sockets and their folders, and says first what is the matter.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use tempfile::TempDir;

use crate::support::cgi::{Cgi, Output};
use crate::support::gateway::{Gateway, apps};

fn check(app: impl AsRef<Path>, options: &[&str]) -> Output {
    let cgi = Cgi::bare(app.as_ref()).door("check").options(options);
    cgi.run()
}

/// One sentence, which has all the words, and nothing that looks as if all were well.
#[track_caller]
fn is_refused(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, code, "{output:#?}");
    assert!(!output.text().contains("ok: "), "{output:#?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:#?}");
    for word in words {
        assert!(output.stderr.contains(word), "no '{word}': {output:#?}");
    }
}

fn folder() -> TempDir {
    let folder = TempDir::with_prefix("wsgi-gateway-test-check-").unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn check_says_first_whether_all_is_well_and_then_what_was_told() {
    let output = check("hello", &[]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let text = output.text();
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("ok: hello would be served, by Python 3."),
        "{text}"
    );
    let told = text.split_once("\nsettings:\n").unwrap().1;
    let rows: Vec<&str> = told.lines().map(str::trim).collect();
    assert_eq!(rows, ["app  hello  command line"]);
    let output = check("hello", &["--threads", "2", "--workers=3"]);
    let text = output.text();
    assert_eq!(
        text.split_once("\nsettings:\n").unwrap().1.lines().count(),
        3
    );
    // The values, and not the rules by which they came.
    let cpus = std::thread::available_parallelism().unwrap();
    for (options, rows) in [
        (
            &["--all"][..],
            [
                format!("workers {cpus} (the number of CPUs) default"),
                format!("min-workers {cpus} (as many as --workers) default"),
                "idle-timeout 10s default".to_owned(),
                "max-rss no limit default".to_owned(),
            ],
        ),
        (
            &["--all", "--persistent"],
            [
                "workers 2 (with --persistent) default".to_owned(),
                "min-workers 1 (with --persistent) default".to_owned(),
                "idle-timeout 300s default".to_owned(),
                "max-rss 256M default".to_owned(),
            ],
        ),
    ] {
        let text = check("hello", options).text();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(words).collect();
        for row in rows {
            assert!(lines.contains(&row), "{row}: {text}");
        }
    }
}

#[test]
fn check_looks_at_the_sockets() {
    let folder = folder();
    let at = |name: &str| format!("unix:{}", folder.path().join(name).display());
    fs::write(folder.path().join("file"), "").unwrap();
    let long = at(&"x".repeat(200));
    let (missing, file, socket) = (at("none/a.sock"), at("file"), at("a.sock"));
    for (options, code, words) in [
        (
            &["--bind", &missing][..],
            2,
            &["none/a.sock", "is not there: make it"][..],
        ),
        (&["--bind", &file], 2, &["something else than a socket"]),
        (&["--bind", &long], 2, &["at most 107 bytes"]),
        (&["--bind", "tcp:192.0.2.1:9009"], 1, &["192.0.2.1:9009"]),
        (
            &["--bind", &socket, "--socket-group", "no-such-group"],
            2,
            &["no group 'no-such-group'", "--socket-group"],
        ),
        (
            &[
                "--bind",
                &socket,
                "--socket-group",
                "root",
                "--socket-mode",
                "0600",
            ],
            2,
            &["--socket-mode", "0600", "--socket-group"],
        ),
    ] {
        if words.contains(&"0600") && !nix::unistd::geteuid().is_root() {
            continue;
        }
        is_refused(&check("hello", options), code, words);
    }
    assert_eq!(check("hello", &["--bind", &socket]).code, 0);
    assert!(!folder.path().join("a.sock").exists());
    // The gateway that it is about may be there already.
    let gateway = Gateway::start("hello", &[]);
    let own = format!("unix:{}", gateway.socket().display());
    assert_eq!(check("hello", &["--bind", &own]).code, 0);
}

#[test]
fn check_sees_that_a_folder_is_closed_to_the_web_server() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not root: nobody can give a socket to another group");
    }
    let folder = folder();
    let inner = folder.path().join("run");
    fs::create_dir(&inner).unwrap();
    let socket = format!("unix:{}", inner.join("a.sock").display());
    let ask = |mode: u32, group: u32, owner: &[&str]| {
        fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
        chown(&inner, Some(0), Some(group)).unwrap();
        check("hello", &[&["--bind", &socket], owner].concat())
    };
    let group = ["--socket-group", "daemon"];
    let daemon = nix::unistd::Group::from_name("daemon").unwrap().unwrap();
    let daemon = daemon.gid.as_raw();
    for output in [
        ask(0o700, 0, &group),
        ask(0o750, 0, &group),
        ask(0o700, daemon, &group),
    ] {
        let folder = format!("the folder {} is closed", inner.display());
        is_refused(&output, 1, &[&folder, "group 'daemon' of --socket-group"]);
    }
    for output in [
        ask(0o711, 0, &group),
        ask(0o750, daemon, &group),
        // Of whom nothing is known.
        ask(0o700, 0, &[]),
    ] {
        assert_eq!(output.code, 0, "{output:#?}");
    }
    let output = ask(0o750, 0, &["--socket-user", "nobody"]);
    is_refused(
        &output,
        1,
        &["closed to the user 'nobody' of --socket-user"],
    );
}

/// What is closed for the workers is closed for it, root's process as it is.
#[test]
fn check_looks_as_the_user_of_the_workers() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not root: nobody can become another user");
    }
    let folder = folder();
    // Whose tree this is, the user of the workers need not be let in there.
    let app = folder.path().join("site.py");
    let source = "import os\nwho = (os.getuid(), os.getgid(), os.environ['USER'])\n";
    let source = format!("{source}assert 0 not in who and who[2] == 'nobody', who\n");
    fs::write(
        &app,
        source + &fs::read_to_string(apps().join("hello.py")).unwrap(),
    )
    .unwrap();
    let options = ["--user", "nobody"];
    let checked = |options: &[&str]| {
        let cgi = Cgi::bare(&app).door("check").options(options);
        cgi.cwd(folder.path()).run()
    };
    let program = crate::support::gateway::binary();
    let core = program.with_file_name("deps/libwsgi_gateway_core.so");
    let may_look = |path: &Path| {
        let mut folders = path.ancestors().skip(1);
        folders.all(|path| fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 1 == 1))
    };
    if !may_look(&core) {
        return eprintln!("skipped: the program is in a folder that is closed for 'nobody'");
    }
    let output = checked(&options);
    assert_eq!(output.code, 0, "{output:#?}");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let output = checked(&options);
    is_refused(&output, 3, &["user 'nobody'", "may not"]);
    let output = checked(&["--user", "no-such-user"]);
    is_refused(&output, 2, &["no user 'no-such-user'"]);
}
