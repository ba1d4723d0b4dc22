//! Which Python runs the application, why, and what is said of one that cannot; and what that Python makes of signals.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::cgi::{Cgi, Output, Stdin};
use crate::support::client::{Connection, Request, fetch, record};
use crate::support::gateway::{Gateway, apps, binary, install};

const PYTHON: &str = "/usr/bin/python3";

/// A folder with an application in it, and what else is made there.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site {
            folder: TempDir::with_prefix("wsgi-gateway-test-python-").unwrap(),
        };
        fs::copy(apps().join("hello.py"), site.at("hello.py")).unwrap();
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn venv(&self, name: &str) -> PathBuf {
        let venv = self.at(name);
        fs::create_dir_all(venv.join("bin")).unwrap();
        symlink(PYTHON, venv.join("bin/python3")).unwrap();
        fs::write(venv.join("pyvenv.cfg"), "home = /usr/bin\n").unwrap();
        venv
    }

    /// A program in place of Python.
    fn program(&self, name: &str, text: &str) -> PathBuf {
        let program = self.at(name);
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        program
    }

    fn check(&self) -> Cgi {
        Cgi::bare(self.at("hello.py"))
            .door("check")
            .cwd(self.folder.path())
    }
}

/// What `check` says in this line.
#[track_caller]
fn said<'a>(output: &'a str, line: &str) -> &'a str {
    let line = format!("{line}: ");
    let found = output.lines().find_map(|text| text.strip_prefix(&line));
    found.unwrap_or_else(|| panic!("no {line:?} in {output}"))
}

#[track_caller]
fn interpreter(cgi: Cgi) -> String {
    let output = cgi.run();
    assert_eq!(output.code, 0, "{output:#?}");
    said(&output.text(), "interpreter").to_owned()
}

#[track_caller]
fn refused(cgi: Cgi, words: &[&str]) -> Output {
    let output = cgi.run();
    assert_eq!(output.code, 3, "{output:#?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word}: {output:#?}");
    }
    output
}

/// It runs where there is no library of Python's, as in Debian's own image.
#[test]
fn the_program_needs_no_library_of_python_s() {
    let output = Command::new("ldd").arg(binary()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("libc.so") && !text.contains("python"),
        "{text}"
    );
}

/// From the last resort to what is said in so many words.
#[test]
fn the_nearest_python_is_chosen_and_said_to_be() {
    let site = Site::new();
    let is = |found: String, place: &Path, reason: &str| {
        assert_eq!(found, format!("{} ({reason})", place.display()));
    };
    let usual = Path::new(PYTHON);
    is(
        interpreter(site.check()),
        usual,
        "there is no python3 in PATH",
    );
    let own = site.venv("own");
    install(&own.join("bin/wsgi-gateway"));
    let in_path = || site.check().env("PATH", "/nowhere:.:/usr/bin");
    is(interpreter(in_path()), usual, "the first python3 in PATH");
    let by_own = || {
        Cgi::bare("")
            .program(own.join("bin/wsgi-gateway"))
            .words(&["check", "hello.py"])
            .cwd(site.folder.path())
            .env("PATH", "/usr/bin")
    };
    let python = |venv: &Path| venv.join("bin/python3");
    is(
        interpreter(by_own()),
        &python(&own),
        "the environment of this program",
    );
    for name in ["venv", ".venv"] {
        let beside = site.venv(name);
        is(
            interpreter(by_own()),
            &python(&beside),
            "the environment beside the application",
        );
    }
    fs::write(site.at("pyvenv.cfg"), "home = /usr/bin\n").unwrap();
    fs::create_dir_all(site.at("bin")).unwrap();
    symlink(PYTHON, site.at("bin/python3")).unwrap();
    let around = || site.check().env("PATH", "/usr/bin");
    let reason = "the application lies in this environment";
    is(interpreter(around()), &site.at("bin/python3"), reason);
    let by_variable = || around().env("VIRTUAL_ENV", &own);
    is(interpreter(by_variable()), &python(&own), "VIRTUAL_ENV");
    let beside = site.at("venv");
    let by_option = || by_variable().option("--venv").option(&beside);
    is(interpreter(by_option()), &python(&beside), "--venv");
    let by_name = || by_variable().option("--python").option("python3");
    is(interpreter(by_name()), usual, "--python");
    let output = by_option().option("--python=python3").run();
    assert_eq!(output.code, 2, "{output:#?}");
}

#[test]
fn what_is_no_python_for_it_is_told_in_a_sentence() {
    let site = Site::new();
    let by = |python: &Path| site.check().option("--python").option(python);
    refused(
        by(&site.at("nothing")),
        &["nothing", "--python", "is not there"],
    );
    refused(
        by(&site.at("hello.py")),
        &["hello.py", "may not execute it"],
    );
    let bad = site.program("bad", "#!/nowhere/python3\n");
    refused(by(&bad), &["bad", "its first line"]);
    let ends = site.program("ends", "#!/bin/sh\necho its own words >&2\nexit 5\n");
    refused(
        by(&ends),
        &["its own words", "ended with exit code 5 before"],
    );
    let ends = site.program("quiet", "#!/bin/sh\nexit 0\n");
    refused(by(&ends), &["ended with exit code 0 before"]);
    refused(
        site.check()
            .option("--python=python3.x")
            .env("PATH", "/bin"),
        &["python3.x", "PATH (/bin)"],
    );
    let closes = site.program("closes", "#!/bin/bash\nfor fd in {3..63}; do eval \"exec $fd>&-\"; done\nexec /usr/bin/python3 \"$@\"\n");
    refused(by(&closes), &["closes descriptors"]);
    // Through a wrapper that does no harm it is that Python.
    let wraps = site.program(
        "wraps",
        "#!/bin/sh\nWRAPPED=yes exec /usr/bin/python3 \"$@\"\n",
    );
    let output = by(&wraps).run();
    assert_eq!(output.code, 0, "{output:#?}");
}

/// The master tells it as `check` does, and does not take a program that only ends for an application that fails.
#[test]
fn a_python_that_ends_before_it_has_loaded_the_core_is_told_of_by_the_master() {
    let site = Site::new();
    let bind = format!("unix:{}", site.at("socket").display());
    let run = |words: &[&str]| {
        let bare = Cgi::bare("").program(binary());
        bare.words(words).cwd(site.folder.path())
    };
    for (code, preload) in [(0, None), (5, None), (0, Some("--preload"))] {
        let ends = format!("#!/bin/sh\necho its own words >&2\nexit {code}\n");
        let ends = site.program("ends", &ends);
        let words = [
            "fastcgi",
            "--workers=2",
            "--bind",
            &bind,
            "--python",
            ends.to_str().unwrap(),
        ];
        let words: Vec<&str> = words
            .into_iter()
            .chain(preload)
            .chain(["hello.py"])
            .collect();
        let started = run(&words);
        let ended = format!("cannot start: Python has ended with exit code {code} before");
        let output = refused(started, &["its own words", &ended]);
        assert_eq!(
            output.stderr.matches("its own words").count(),
            1,
            "{output:#?}"
        );
    }
    // An application that does the same is another matter.
    fs::write(site.at("ends.py"), "import os\nos._exit(5)\n").unwrap();
    let words = ["fastcgi", "--workers=1", "--bind", &bind, "ends.py"];
    let output = run(&words).run();
    assert_eq!(output.code, 3, "{output:#?}");
    assert!(!output.stderr.contains("core"), "{output:#?}");
}

/// Where nobody waits for the process, the browser gets a page all the same, and the log the reason.
#[test]
fn a_core_that_is_not_there_or_does_not_fit_is_told_through_every_door() {
    let site = Site::new();
    let program = site.at("bin/wsgi-gateway");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::copy(binary(), &program).unwrap();
    let run = |words: &[&str]| {
        Cgi::bare("")
            .program(&program)
            .words(words)
            .cwd(site.folder.path())
    };
    refused(
        run(&["check", "hello.py"]),
        &["Python 3.", "has no core here: there is none"],
    );
    let core = site.at("lib/wsgi-gateway");
    fs::create_dir_all(&core).unwrap();
    fs::write(core.join("core-cp29.so"), "").unwrap();
    let output = run(&["cgi", "hello.py"]).env("REQUEST_METHOD", "GET").run();
    assert_eq!(
        (output.code, output.response().status),
        (3, 500),
        "{output:#?}"
    );
    assert!(
        output.stderr.contains("there is that of 2.9"),
        "{output:#?}"
    );
    put_foreign_cores(&site);
    refused(
        run(&["check", "hello.py"]),
        &["is of another build", "core-cp3"],
    );
    let socket = site.at("socket");
    let bind = format!("unix:{}", socket.display());
    let started = run(&["fastcgi", "--workers=1", "--bind", &bind, "hello.py"]);
    let output = refused(started, &["worker 1: the core", "is of another build"]);
    assert!(!output.stderr.contains("Traceback"), "{output:#?}");
}

/// Of another package than the master's, a core is not taken, and what serves goes on.
#[test]
fn a_core_that_was_replaced_by_another_build_is_refused_by_a_reload() {
    let site = Site::new();
    let program = site.at("bin/wsgi-gateway");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    install(&program);
    let gateway = Gateway::builder("hello.py").program(&program).start();
    let hello = || fetch(gateway.socket(), &Request::get("/")).expect(200);
    hello();
    let workers = gateway.workers();
    fs::remove_dir_all(site.at("bin/deps")).unwrap();
    put_foreign_cores(&site);
    assert!(!gateway.reload(), "{}", gateway.log());
    gateway.wait_for_line(&["worker 2: the core", "is of another build"]);
    hello();
    assert_eq!(gateway.workers(), workers, "{}", gateway.log());
}

/// For every version, and of no build that there is.
fn put_foreign_cores(site: &Site) {
    let folder = site.at("lib/wsgi-gateway");
    fs::create_dir_all(&folder).unwrap();
    for minor in 9..20 {
        fs::write(folder.join(format!("core-cp3{minor}.so")), "").unwrap();
    }
}

/// The application finds a Python as its own, and nothing that the gateway has left behind.
#[test]
fn the_application_sees_nothing_of_how_python_was_started() {
    let site = Site::new();
    fs::write(
        site.at("look.py"),
        "import os, sys, __main__\n\
         def app(environ, start_response):\n    \
             start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
             names = [name for name in vars(__main__) if not name.startswith('__')]\n    \
             fds = [os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')]\n    \
             ours = [link for link in fds if 'settings' in link]\n    \
             return [repr((sys.argv, sys.orig_argv[1:], '' in sys.path, names, ours)).encode()]\n",
    )
    .unwrap();
    let expected = "(['look:app'], ['look:app'], False, [], [])";
    let cgi = || Cgi::new("look:app", &Request::get("/")).cwd(site.folder.path());
    let body = cgi().run().response().body;
    assert_eq!(String::from_utf8(body).unwrap(), expected);
    let gateway = Gateway::builder("look:app").cwd(site.folder.path()).start();
    let text = fetch(gateway.socket(), &Request::get("/"))
        .expect(200)
        .text();
    assert_eq!(text, expected);
}

/// What Python writes when it ends by itself is written: in files that are left open, and by functions of `atexit`.
#[test]
fn what_is_left_in_buffers_is_written_at_the_end() {
    let site = Site::new();
    fs::write(
        site.at("leaves.py"),
        "import atexit, threading\n\
         text = open('text', 'w')\n\
         data = open('data', 'wb')\n\
         late = threading.Event()\n\
         def work():\n    late.wait()\n    text.write('thread ')\n\
         atexit.register(lambda: text.write('atexit'))\n\
         def app(environ, start_response):\n    \
             threading.Thread(target=work).start()\n    \
             text.write('request '); data.write(b'data'); late.set()\n    \
             start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
             return [b'said']\n",
    )
    .unwrap();
    let cgi = Cgi::new("leaves:app", &Request::get("/")).cwd(site.folder.path());
    assert_eq!(cgi.run().response().body, b"said");
    let read = |name| fs::read_to_string(site.at(name)).unwrap();
    assert_eq!(
        (read("text"), read("data")),
        ("request thread atexit".into(), "data".into())
    );
    let gateway = Gateway::builder("leaves:app")
        .cwd(site.folder.path())
        .start();
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    assert_eq!(gateway.terminate().code, 0);
    assert_eq!(
        (read("text"), read("data")),
        ("request thread atexit".into(), "data".into())
    );
}

mod signals {
    use super::*;

    /// Python's handlers run while the gateway waits for a body, and what they raise is raised there.
    #[test]
    fn a_handler_ends_the_wait_for_a_body() {
        let request = Request::post("/alarm", b"").param("CONTENT_LENGTH", "1000");
        let gateway = Gateway::start("handlers", &["--buffer", "1"]);
        let mut connection = Connection::open(gateway.socket());
        connection.write(&request.head());
        connection.write(&record(5, 1, b"some of it", 0));
        assert_eq!(connection.response(1).expect(200).text(), "rang");
        let output = Cgi::new("handlers", &request)
            .stdin(Stdin::OpenPipe(b"some of it".to_vec()))
            .run();
        assert_eq!(output.response().body, b"rang", "{output:#?}");
    }

    /// What was there can be asked for and set back, and then SIGTERM to a worker still is the gateway's.
    #[test]
    fn the_defaults_that_a_library_puts_back_are_not_the_end_of_a_worker() {
        let gateway = Gateway::start("handlers", &[]);
        let text = fetch(gateway.socket(), &Request::get("/defaults"))
            .expect(200)
            .text();
        assert!(
            text.ends_with(" True"),
            "the main thread is another: {text}"
        );
        assert!(!text.contains("None"), "{text}");
        let worker = Pid::from_raw(i32::try_from(gateway.worker()).unwrap());
        kill(worker, Signal::SIGTERM).unwrap();
        gateway.wait_for_log("SIGTERM");
        gateway.wait_for_count("is ready", 2);
        let log = gateway.log();
        assert!(!log.contains("killed by"), "{log}");
        assert_eq!(gateway.terminate().code, 0);
    }
}

/// Python is in the workers and nowhere else, so that the program needs none.
#[test]
fn the_program_has_no_python_in_it() {
    let gateway = Gateway::start("hello.py", &[]);
    gateway.wait_until_ready(1);
    let files = |pid: u32| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let master = files(gateway.pid());
    assert!(master.contains("libc.so"), "{master}");
    for part in ["libpython", "bin/python", "wsgi_gateway_core"] {
        assert!(!master.contains(part), "{part}: {master}");
    }
    let worker = files(gateway.workers()[0]);
    assert!(worker.contains("bin/python"), "{worker}");
    assert!(worker.contains("wsgi_gateway_core"), "{worker}");
}
