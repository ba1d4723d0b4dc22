//! One program, installed as packages have it with a core for each of two versions of Python, and applications that it serves by
//! the one and by the other.
//!
//! The core for the second Python is made by scripts/test, where the machine has such a Python, and the tests say that they are
//! skipped where it has none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use tempfile::TempDir;

use crate::servers::skip;
use crate::support::cgi::{Cgi, Output};
use crate::support::client::{Request, fetch};
use crate::support::doors::{Door, Doors};
use crate::support::gateway::{Gateway, apps, binary, python};
use crate::support::home::Home;

/// An interpreter, and its version as `3.9`.
struct Interpreter {
    path: PathBuf,
    version: String,
}

impl Interpreter {
    fn at(path: &Path) -> Interpreter {
        let output = Command::new(path)
            .args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
            .output()
            .unwrap();
        let version = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        assert!(version.starts_with("3."), "{path:?}: {version}");
        let path = path.to_owned();
        Interpreter { path, version }
    }

    fn option(&self) -> [&str; 2] {
        ["--python", self.path.to_str().unwrap()]
    }
}

/// `bin/wsgi-gateway` and `lib/wsgi-gateway/` in a folder.
struct Installation {
    folder: TempDir,
    first: Interpreter,
    second: Interpreter,
}

impl Installation {
    /// `None` after saying that the test is skipped.
    fn make() -> Option<Installation> {
        let (second, core) = second()?;
        let installation = Installation {
            folder: TempDir::with_prefix("wsgi-gateway-test-versions-").unwrap(),
            first: Interpreter::at(&python()),
            second: Interpreter::at(&second),
        };
        for name in ["bin", "lib/wsgi-gateway"] {
            fs::create_dir_all(installation.at(name)).unwrap();
        }
        let program = installation.program();
        fs::hard_link(binary(), &program)
            .or_else(|_| fs::copy(binary(), &program).map(drop))
            .unwrap();
        let of_first = binary().with_file_name("deps/libwsgi_gateway_core.so");
        for (interpreter, core) in [
            (&installation.first, &of_first),
            (&installation.second, &core),
        ] {
            let name = format!("core-cp{}.so", interpreter.version.replace('.', ""));
            let place = installation.at("lib/wsgi-gateway").join(name);
            std::os::unix::fs::symlink(core, place).unwrap();
        }
        Some(installation)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.at("bin/wsgi-gateway")
    }

    /// What it says of this application and its Python.
    fn check(&self, app: impl AsRef<Path>, options: &[&str]) -> Output {
        Cgi::bare(app.as_ref())
            .door("check")
            .installed(self.program())
            .options(options)
            .run()
    }
}

/// The second Python and the core for it, as scripts/test has left them.
fn second() -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = root.join("target/second");
    // Written last, so that it is as old as what lies beside it.
    let Ok(python) = fs::read_to_string(made.join("python")) else {
        return skip("scripts/test, which makes a core for a second Python, has not run");
    };
    let python = python.trim_end();
    if python.is_empty() {
        eprintln!("skipped: no second Python on this machine");
        return None;
    }
    let core = made.join("debug/libwsgi_gateway_core.so");
    assert!(core.is_file(), "there is {python}, but no {core:?}");
    if changed(&root.join("src")) > changed(&made.join("python")) {
        return skip("the core for a second Python is older than its sources: run scripts/test");
    }
    Some((python.into(), core))
}

/// When this file, or the last of what is in this folder, was changed.
fn changed(path: &Path) -> SystemTime {
    let own = fs::metadata(path).unwrap().modified().unwrap();
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    let inside = inside.map(|entry| changed(&entry.path()));
    inside.fold(own, SystemTime::max)
}

/// The application says what it has to by all doors, and by this Python.
fn serves(installation: &Installation, interpreter: &Interpreter) {
    let (program, options) = (installation.program(), interpreter.option());
    let doors = Doors::open_installed(&program, "versions.py", &options, &[]);
    let content = "x".repeat(100_000);
    for (path, status, body) in [
        ("/hello", 200, &*interpreter.version),
        ("/generator", 200, "0 1 2 "),
        ("/file", 200, &content),
        ("/replaced", 503, "instead"),
    ] {
        for answer in doors.get(path) {
            answer.is(status, body);
        }
    }
    for answer in doors.ask(&Request::post("/body", b"a line\nand the rest")) {
        answer.is(200, "a line\n|and the rest");
    }
    for answer in doors.get("/late") {
        answer.is_cut_after(200, "begun");
        answer.logged("ValueError: it was too late");
    }
    for answer in doors.get("/raises") {
        answer.is_error_page();
        answer.logged("ValueError: the word that only the log has");
    }
    doors.close();
}

/// It is told by all doors, with Python's own words for it.
fn fails_to_import(installation: &Installation, interpreter: &Interpreter, home: &Home) {
    let (program, app) = (installation.program(), "broken_at_import.py");
    let reason = "RuntimeError: the import itself failed";
    let options = interpreter.option();
    let check = installation.check(app, &options);
    assert_eq!(check.code, 3, "{check:#?}");
    let exit = Gateway::builder(app).program(&program).args(options).run();
    assert_eq!(exit.code, 3, "{}", exit.log);
    let request = Request::get("/");
    let [once, kept] = [Cgi::new(app, &request), home.request(app, &request)].map(|cgi| {
        let output = cgi.installed(&program).options(options).run();
        let status = output.response().status;
        assert_eq!((output.code, status), (3, 500), "{output:#?}");
        output.stderr
    });
    for told in [check.stderr, exit.log, once, kept] {
        assert!(told.contains(reason), "{told}");
        assert!(told.contains("broken_at_import.py\", line 3"), "{told}");
    }
}

#[test]
fn the_first_is_served_by_an_installed_program() {
    if let Some(installation) = Installation::make() {
        serves(&installation, &installation.first);
    }
}

#[test]
fn the_second_is_served_by_the_same_program() {
    if let Some(installation) = Installation::make() {
        serves(&installation, &installation.second);
    }
}

#[test]
fn what_cannot_be_imported_is_told_by_each() {
    if let Some(installation) = Installation::make() {
        let home = Home::new();
        for interpreter in [&installation.first, &installation.second] {
            fails_to_import(&installation, interpreter, &home);
        }
    }
}

/// The workers that a template forks, and their threads, are of the second Python, too.
#[test]
fn the_second_forks_and_reloads() {
    let Some(installation) = Installation::make() else {
        return;
    };
    let gateway = Gateway::builder("versions.py")
        .program(installation.program())
        .args(installation.second.option())
        .args(["--preload", "--workers", "2", "--threads", "2"])
        .start();
    let hello = || fetch(gateway.socket(), &Request::get("/hello")).expect(200);
    assert_eq!(hello().text(), installation.second.version);
    let old = gateway.workers();
    assert!(gateway.reload(), "{}", gateway.log());
    gateway.wait_for("the old workers are gone", || {
        let workers = gateway.workers();
        (!workers.iter().any(|worker| old.contains(worker))).then_some(())
    });
    assert_eq!(hello().text(), installation.second.version);
    assert_eq!(gateway.terminate().code, 0);
}

/// And it says so where there is no core for the one, whatever there is for the other.
#[test]
fn check_says_which_of_them_it_is() {
    let Some(installation) = Installation::make() else {
        return;
    };
    for interpreter in [&installation.first, &installation.second] {
        let output = installation.check("versions.py", &interpreter.option());
        assert_eq!(output.code, 0, "{output:#?}");
        let text = output.text();
        let (path, version) = (interpreter.path.display(), &interpreter.version);
        for line in [
            format!("interpreter: {path} (--python)\n"),
            format!("python: {version}."),
        ] {
            assert!(text.contains(&line), "no {line:?} in {text}");
        }
    }
    let (first, second) = (&installation.first, &installation.second);
    let name = format!("core-cp{}.so", second.version.replace('.', ""));
    fs::remove_file(installation.at("lib/wsgi-gateway").join(name)).unwrap();
    let output = installation.check("versions.py", &second.option());
    assert_eq!(output.code, 3, "{output:#?}");
    for words in [
        format!("Python {} of", second.version),
        format!("has no core here: there is that of {}", first.version),
    ] {
        assert!(output.stderr.contains(&words), "{words}: {output:#?}");
    }
}

/// As a site has it that was made with another Python than the machine's: nobody says which.
#[test]
fn a_virtual_environment_of_the_second_is_found_beside_the_application() {
    let Some(installation) = Installation::make() else {
        return;
    };
    let site = TempDir::with_prefix("wsgi-gateway-test-site-").unwrap();
    let app = site.path().join("versions.py");
    fs::copy(apps().join("versions.py"), &app).unwrap();
    let venv = site.path().join(".venv");
    make_environment(&venv, &installation.second);
    let text = installation.check(&app, &[]).text();
    let python = venv.join("bin/python3");
    for line in [
        format!(
            "interpreter: {} (the environment beside the application)\n",
            python.display()
        ),
        format!("prefix: {}\n", venv.display()),
    ] {
        assert!(text.contains(&line), "no {line:?} in {text}");
    }
    let doors = Doors::open_installed(&installation.program(), app.to_str().unwrap(), &[], &[]);
    for door in Door::ALL {
        let answer = doors.through(door, &Request::get("/hello"));
        answer.is(200, &installation.second.version);
    }
    // Made anew with another Python, it is that one which a reload takes.
    make_environment(&venv, &installation.first);
    assert!(doors.gateway().reload(), "{}", doors.gateway().log());
    doors.gateway().wait_for("the first Python serves", || {
        let answer = doors.fastcgi(&Request::get("/hello"));
        (answer.has_status(200).text() == installation.first.version).then_some(())
    });
    doors.close();
}

fn make_environment(venv: &Path, interpreter: &Interpreter) {
    let made = Command::new(&interpreter.path)
        .args(["-m", "venv", "--clear", "--without-pip"])
        .arg(venv)
        .status()
        .unwrap();
    assert!(made.success());
}
