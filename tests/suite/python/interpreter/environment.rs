//! What the environment decides of Python, and what not.

use super::*;

/// A web server gives next to nothing, and must get the same Python.
#[test]
fn decides_neither_the_standard_library_nor_site_packages() {
    let usual = facts(interpreter().env("PATH", "/usr/bin"));
    for cgi in [
        interpreter(),
        interpreter().env("PATH", "/usr/bin:/bin"),
        interpreter().env("PATH", "/nowhere"),
        interpreter().env("PATH", ""),
        interpreter().env("PYTHONHOME", "").env("HOME", "/nowhere"),
    ] {
        let facts = facts(cgi);
        for name in ["version", "prefix", "base_prefix", "executable", "site"] {
            assert_eq!(fact(&facts, name), fact(&usual, name), "{name}");
        }
    }
}

#[test]
fn decides_nothing_about_text() {
    for cgi in [
        interpreter(),
        interpreter().env("LANG", "C"),
        interpreter().env("LC_ALL", "C"),
        interpreter().env("LC_ALL", "POSIX"),
        interpreter().env("LANG", "de_DE.ISO-8859-1"),
    ] {
        let facts = facts(cgi);
        assert_eq!(fact(&facts, "utf8_mode"), "1", "{facts}");
        for name in ["filesystem", "preferred", "open", "stdout", "stderr"] {
            assert_eq!(
                fact(&facts, name).to_lowercase(),
                "utf-8",
                "{name}: {facts}"
            );
        }
    }
}

/// A query's words are nobody's arguments: libraries that read sys.argv would take them for theirs.
#[test]
fn argv_holds_no_words_of_a_query() {
    let facts = facts(
        interpreter()
            .env("REQUEST_METHOD", "GET")
            .words(&["-c", "import os"]),
    );
    let argv = fact(&facts, "argv");
    assert!(!argv.contains("import os"), "{argv}");
}

/// multiprocessing and subprocess start sys.executable: it must be a Python, not the gateway.
#[test]
fn executable_is_a_python_that_runs() {
    let venv = venv();
    for cgi in [
        Cgi::bare("interpreter:spawns").empty_environment(),
        Cgi::bare("interpreter:spawns")
            .empty_environment()
            .option("--venv")
            .option(&venv),
    ] {
        let output = cgi.run();
        assert_eq!(output.code, 0, "{output:#?}");
        let text = String::from_utf8(output.response().body).unwrap();
        let version = python_version().replace('.', ", ");
        assert!(text.starts_with(&format!("({version})")), "{text}");
    }
}

#[test]
fn threads_of_the_application_run() {
    let output = Cgi::bare("interpreter:threads").run();
    assert_eq!(output.response().body, b"from a thread", "{output:#?}");
    let gateway = Gateway::start("interpreter:application", &[]);
    let response = fetch(gateway.socket(), &Request::get("/threads"));
    assert_eq!(response.expect(200).text(), "from a thread");
}
