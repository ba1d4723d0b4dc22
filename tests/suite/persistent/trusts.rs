//! Whom a relay trusts, and what one caller leaves to another.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::support::client::{Connection, Request};
use crate::support::gateway::{apps, binary, install};
use crate::support::home::{APP, Home};

/// The user of no other test.
const OTHER: u32 = 65_531;

/// A request by a shell that has set something before; as another user where it is said.
fn by_shell(home: &Path, before: &str, path: &str) -> Output {
    let line = format!("{before}; exec \"$0\" cgi --persistent {APP}");
    Command::new("/bin/sh")
        .args(["-c", &line])
        .arg(binary())
        .current_dir(apps())
        .env_clear()
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("XDG_RUNTIME_DIR", home)
        .env("REQUEST_METHOD", "GET")
        .env("PATH_INFO", path)
        .env("SERVER_NAME", "localhost")
        .env("SERVER_PORT", "80")
        .output()
        .unwrap()
}

#[track_caller]
fn body(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{output:?}"));
    assert!(head.starts_with("Status: 200 "), "{output:?}");
    body.to_owned()
}

/// What a process has and a request has not is that of its caller: another caller has another process.
#[test]
fn nothing_of_the_first_caller_s_process_is_another_s() {
    let home = Home::new();
    let ask = |before: &str| body(&by_shell(home.path(), before, "/around"));
    let folder = TempDir::new().unwrap();
    let plain = ask(":");
    assert_eq!(ask(":"), plain);
    let mask = ask("umask 077");
    assert!(mask.contains(" 77 "), "{mask}");
    let limit = ask("ulimit -n 100");
    assert!(limit.contains(" 100 "), "{limit}");
    let elsewhere = by_shell(
        home.path(),
        &format!("export PYTHONPATH=$PWD; cd {}", folder.path().display()),
        "/around",
    );
    let elsewhere = body(&elsewhere);
    assert!(
        elsewhere.contains(folder.path().canonicalize().unwrap().to_str().unwrap()),
        "{elsewhere}"
    );
    assert_eq!(ask(":"), plain);
    home.end();
}

/// Limits of a process's own are borne: with few processes and little memory it is served all the same.
#[test]
fn few_processes_and_little_memory_are_enough() {
    let home = Home::new();
    for before in [
        "ulimit -v 1048576",
        "ulimit -n 32",
        "ulimit -n 12",
        "ulimit -t 5",
    ] {
        let output = by_shell(home.path(), before, "/length");
        assert_eq!(body(&output), "0", "{before}");
    }
    home.end();
}

#[test]
fn a_directory_that_others_may_use_is_not_used() {
    let home = Home::new();
    fs::create_dir(home.files()).unwrap();
    for mode in [0o755, 0o770, 0o701] {
        fs::set_permissions(home.files(), Permissions::from_mode(mode)).unwrap();
        let temporary = TempDir::new().unwrap();
        let line = format!("export TMPDIR={}", temporary.path().display());
        assert_eq!(body(&by_shell(home.path(), &line, "/length")), "0");
        assert!(home.named("").is_empty());
        // The next best is.
        let next = temporary.path().join(format!("wsgi-gateway-{}", geteuid()));
        assert!(fs::read_dir(&next).unwrap().count() > 0);
        let ended = Command::new(binary())
            .args(["stop", APP])
            .env_clear()
            .env("TMPDIR", temporary.path())
            .output()
            .unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }
    fs::set_permissions(home.files(), Permissions::from_mode(0o700)).unwrap();
    home.end();
}

/// Another user's directory, link or socket under the right name costs the speed and nothing else.
#[test]
fn what_another_user_has_put_there_is_not_used() {
    if !geteuid().is_root() {
        return eprintln!("skipped: only root can be two users");
    }
    let (temporary, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::set_permissions(temporary.path(), Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(target.path(), Permissions::from_mode(0o777)).unwrap();
    let program = TempDir::new().unwrap();
    fs::set_permissions(program.path(), Permissions::from_mode(0o755)).unwrap();
    install(&program.path().join("wsgi-gateway"));
    let name = temporary.path().join(format!("wsgi-gateway-{OTHER}"));
    let put = |what: &str| {
        let _ = fs::remove_dir_all(&name);
        let _ = fs::remove_file(&name);
        match what {
            "directory" => fs::create_dir(&name).unwrap(),
            "link" => symlink(target.path(), &name).unwrap(),
            "socket" => drop(UnixListener::bind(&name).unwrap()),
            _ => fs::write(&name, "").unwrap(),
        }
    };
    let app = program.path().join("app.py");
    fs::write(
        &app,
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [str(environ['wsgi.run_once']).encode()]\n",
    )
    .unwrap();
    for what in ["directory", "link", "socket", "file"] {
        put(what);
        // Its home is nowhere.
        let line = format!(
            "exec setpriv --reuid {OTHER} --regid {OTHER} --clear-groups {} cgi --persistent {}",
            program.path().join("wsgi-gateway").display(),
            app.display()
        );
        let output = Command::new("/bin/sh")
            .args(["-c", &line])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TMPDIR", temporary.path())
            .env("REQUEST_METHOD", "GET")
            .output()
            .unwrap();
        assert_eq!(body(&output), "True", "{what}: {output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            told.contains("answered without --persistent"),
            "{what}: {told}"
        );
        assert!(told.contains(name.to_str().unwrap()), "{what}: {told}");
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0, "{what}");
    }
}

/// Something else in the directory is left alone, and does no harm.
#[test]
fn strange_files_in_the_directory_do_no_harm() {
    let home = Home::new();
    assert_eq!(body(&by_shell(home.path(), ":", "/length")), "0");
    let row = home.only();
    let zeros = format!("{:032}-{:016}", 0, 0);
    for name in ["notes", "a-b.account.txt"] {
        fs::write(home.files().join(name), "mine").unwrap();
    }
    fs::write(home.files().join(format!("{zeros}.account")), "nonsense").unwrap();
    fs::create_dir(home.files().join("x-y.account")).unwrap();
    assert_eq!(home.only().pid, row.pid);
    assert_eq!(body(&by_shell(home.path(), ":", "/length")), "0");
    assert_eq!(fs::read(home.files().join("notes")).unwrap(), b"mine");
    fs::remove_dir(home.files().join("x-y.account")).unwrap();
    home.end();
}

/// A socket that nobody answers on is replaced.
#[test]
fn what_a_dead_responder_has_left_is_replaced() {
    let home = Home::new();
    assert_eq!(body(&by_shell(home.path(), ":", "/length")), "0");
    let row = home.only();
    let workers = crate::support::process_table::children(row.pid);
    for pid in workers.into_iter().chain([row.pid]) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    assert_eq!(body(&by_shell(home.path(), ":", "/length")), "0");
    assert_ne!(home.only().pid, row.pid);
    home.end();
}

/// One script, two users: each has a responder of his own, and nobody else's programs are answered by it, not even root's.
#[test]
fn each_user_has_a_responder_of_his_own() {
    if !geteuid().is_root() {
        return eprintln!("skipped: only root can be two users");
    }
    let (temporary, program) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::set_permissions(temporary.path(), Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(program.path(), Permissions::from_mode(0o755)).unwrap();
    let gateway = program.path().join("wsgi-gateway");
    install(&gateway);
    let app = program.path().join("app.py");
    fs::write(
        &app,
        "import os\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
         return [b'%d %d' % (os.getuid(), os.getppid())]\n",
    )
    .unwrap();
    let run = |user: u32, words: &str| {
        let line = format!(
            "exec setpriv --reuid {user} --regid {user} --clear-groups {} {words}",
            gateway.display()
        );
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &line])
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        command
            .env("TMPDIR", temporary.path())
            .env("REQUEST_METHOD", "GET");
        command.output().unwrap()
    };
    let ask = format!("cgi --persistent {}", app.display());
    let users = [OTHER, OTHER - 1];
    let answers = users.map(|user| body(&run(user, &ask)));
    for (user, answer) in users.iter().zip(&answers) {
        assert!(answer.starts_with(&format!("{user} ")), "{answers:?}");
    }
    assert_ne!(answers[0].split(' ').nth(1), answers[1].split(' ').nth(1));
    let files = temporary.path().join(format!("wsgi-gateway-{OTHER}"));
    let socket = fs::read_dir(&files)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let socket = socket
        .filter(|path| path.extension().is_some_and(|it| it == "sock"))
        .last()
        .unwrap();
    let mut connection = Connection::open(&socket);
    connection.write(&Request::get("/").bytes());
    assert!(connection.read_record().is_none());
    // And is answered to who may.
    assert_eq!(body(&run(OTHER, &ask)), answers[0]);
    for user in users {
        let ended = run(user, "stop --all");
        assert!(ended.status.success(), "{ended:?}");
    }
}
