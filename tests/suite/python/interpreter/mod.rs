//! The Python inside: which one it is, where it finds its modules whatever the environment, and what it says
//! when an application cannot be loaded.

mod cannot_be_loaded;
mod check_command;
mod environment;
mod paths;
mod virtual_environment;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::cgi::{Cgi, Output};
use crate::support::client::{Request, fetch};
use crate::support::gateway::{Gateway, apps, binary, venv};

/// What `interpreter:facts` answers, as the process was started.
fn facts(cgi: Cgi) -> String {
    let output = cgi.run();
    assert_eq!(output.code, 0, "{output:#?}");
    String::from_utf8(output.response().body).unwrap()
}

fn fact<'a>(facts: &'a str, name: &str) -> &'a str {
    facts
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
        .unwrap()
}

fn interpreter() -> Cgi {
    Cgi::bare("interpreter:facts").empty_environment()
}

/// A virtual environment with one package in it, made by hand: what `python3 -m venv --without-pip` makes.
fn make_venv(at: &Path, version: &str) {
    let (python, home) = build_python();
    fs::create_dir_all(at.join("bin")).unwrap();
    symlink(&python, at.join("bin/python3")).unwrap();
    symlink("python3", at.join("bin/python")).unwrap();
    fs::write(
        at.join("pyvenv.cfg"),
        format!("home = {home}\ninclude-system-site-packages = false\nversion = {version}.2\n"),
    )
    .unwrap();
    let (major, minor) = version.split_once('.').unwrap();
    let packages = at.join(format!("lib/python{major}.{minor}/site-packages"));
    fs::create_dir_all(&packages).unwrap();
    fs::write(packages.join("only_in_this_venv.py"), "WORD = 'found'\n").unwrap();
}

/// The interpreter that the gateway was built with, by its own word: version, and the folder it lives in.
fn build_python() -> (PathBuf, String) {
    let facts = facts(interpreter());
    let executable = PathBuf::from(fact(&facts, "executable"));
    let home = executable.parent().unwrap().to_str().unwrap().to_owned();
    (executable, home)
}

fn python_version() -> String {
    fact(&facts(interpreter()), "version").to_owned()
}

/// Where the module of that virtual environment was found.
fn imported(cgi: Cgi) -> String {
    let output = cgi.run();
    assert_eq!(output.code, 0, "{output:#?}");
    String::from_utf8(output.response().body).unwrap()
}

fn imports(module: &str) -> Request {
    Request::get("/imports").param("QUERY_STRING", module)
}

fn check_with(app: &str, options: &[&str]) -> Output {
    Cgi::bare(app).door("check").options(options).run()
}

fn check(app: &str) -> Output {
    check_with(app, &[])
}

/// Exit code 3, nothing on stdout, and one last sentence that has all the words.
#[track_caller]
fn fails_with(output: &Output, words: &[&str]) {
    assert_eq!(output.code, 3, "{output:#?}");
    // Behind it there is at most the traceback.
    let is_error = |line: &&str| line.contains("error: ");
    let sentence = output.stderr.lines().find(is_error).unwrap_or_default();
    for word in words {
        assert!(
            sentence.contains(word),
            "{word:?} is not in the line {sentence:?} of\n{}",
            output.stderr
        );
    }
}
