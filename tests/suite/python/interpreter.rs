//! The Python inside: which one it is, where it finds its modules whatever the environment, and what it says
//! when an application cannot be loaded.

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

mod environment {
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
}

mod virtual_environment {
    use super::*;

    #[test]
    fn by_option_in_every_environment() {
        let venv = venv();
        for path in [None, Some("/usr/bin:/bin"), Some("/nowhere")] {
            let mut cgi = interpreter().option("--venv").option(&venv);
            if let Some(path) = path {
                cgi = cgi.env("PATH", path);
            }
            let facts = facts(cgi);
            assert_eq!(fact(&facts, "prefix"), venv.to_str().unwrap());
            assert_ne!(fact(&facts, "base_prefix"), fact(&facts, "prefix"));
            assert!(
                fact(&facts, "executable").starts_with(venv.join("bin/python").to_str().unwrap()),
                "{facts}"
            );
        }
        let request = imports("flask");
        let cgi = Cgi::new("interpreter:application", &request)
            .option("--venv")
            .option(&venv);
        assert!(imported(cgi).starts_with(venv.to_str().unwrap()));
        let gateway = Gateway::builder("interpreter:application")
            .arg("--venv")
            .arg(&venv)
            .clean_environment()
            .start();
        let found = fetch(gateway.socket(), &request).expect(200).text();
        assert!(found.starts_with(venv.to_str().unwrap()), "{found}");
    }

    #[test]
    fn by_a_relative_option() {
        let folder = TempDir::new().unwrap();
        make_venv(&folder.path().join("env"), &python_version());
        let cgi = Cgi::new("interpreter:application", &imports("only_in_this_venv"))
            .option("--venv=env")
            .option("--pythonpath")
            .option(apps())
            .cwd(folder.path());
        let found = imported(cgi);
        let expected = folder.path().join("env/lib");
        assert!(found.starts_with(expected.to_str().unwrap()), "{found}");
    }

    #[test]
    fn by_virtual_env() {
        let folder = TempDir::new().unwrap();
        let env = folder.path().join("env");
        make_venv(&env, &python_version());
        let found = imported(
            Cgi::new("interpreter:application", &imports("only_in_this_venv"))
                .env("VIRTUAL_ENV", &env),
        );
        assert!(found.starts_with(env.to_str().unwrap()), "{found}");
        // The option is the operator's last word.
        let other = folder.path().join("other");
        make_venv(&other, &python_version());
        let found = imported(
            Cgi::new("interpreter:application", &imports("only_in_this_venv"))
                .env("VIRTUAL_ENV", &env)
                .option("--venv")
                .option(&other),
        );
        assert!(found.starts_with(other.to_str().unwrap()), "{found}");
    }

    /// The pyvenv.cfg beside the application's file or in a folder above it.
    #[test]
    fn found_around_the_application() {
        let folder = TempDir::new().unwrap();
        let env = folder.path().join("env");
        make_venv(&env, &python_version());
        let code = fs::read_to_string(apps().join("interpreter.py")).unwrap();
        for inside in ["", "site", "site/deeper"] {
            let place = env.join(inside);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("application.py"), &code).unwrap();
            fs::copy(apps().join("by_name.py"), place.join("by_name.py")).unwrap();
            let file = place.join("application.py");
            let found = imported(Cgi::new(&file, &imports("only_in_this_venv")));
            assert!(
                found.starts_with(env.to_str().unwrap()),
                "{inside}: {found}"
            );
            // And by module name, from that folder.
            let found = imported(
                Cgi::new("application", &imports("only_in_this_venv"))
                    .option("--chdir")
                    .option(&place),
            );
            assert!(
                found.starts_with(env.to_str().unwrap()),
                "{inside}: {found}"
            );
        }
    }

    /// A folder of CGI programs is often one of links: the environment lies around the file that such a link leads to, or
    /// else around the link.
    #[test]
    fn found_around_the_file_behind_a_link() {
        let folder = TempDir::new().unwrap();
        let env = folder.path().join("srv/env");
        make_venv(&env, &python_version());
        fs::create_dir(folder.path().join("cgi-bin")).unwrap();
        for name in ["interpreter.py", "by_name.py"] {
            fs::copy(apps().join(name), env.join(name)).unwrap();
        }
        let link = folder.path().join("cgi-bin/app.cgi");
        symlink("../srv/env/interpreter.py", &link).unwrap();
        let found = imported(Cgi::new(&link, &imports("only_in_this_venv")));
        assert!(found.starts_with(env.to_str().unwrap()), "{found}");
        let gateway = Gateway::builder(link.to_str().unwrap()).start();
        let found = fetch(gateway.socket(), &imports("only_in_this_venv"));
        assert!(found.expect(200).text().starts_with(env.to_str().unwrap()));
        let link = env.join("linked.py");
        symlink(apps().join("interpreter.py"), &link).unwrap();
        let found = imported(Cgi::new(&link, &imports("only_in_this_venv")));
        assert!(found.starts_with(env.to_str().unwrap()), "{found}");
    }

    #[test]
    fn that_does_not_exist() {
        let folder = TempDir::new().unwrap();
        let nowhere = folder.path().join("nowhere");
        let output = check_with("hello", &["--venv", nowhere.to_str().unwrap()]);
        fails_with(&output, &[nowhere.to_str().unwrap(), "venv"]);
        // A folder, but not of a virtual environment.
        let output = check_with("hello", &["--venv", folder.path().to_str().unwrap()]);
        fails_with(&output, &[folder.path().to_str().unwrap(), "pyvenv.cfg"]);
    }

    /// pyvenv.cfg of another minor version: its site-packages cannot be used.
    #[test]
    fn of_another_python_version() {
        let folder = TempDir::new().unwrap();
        let env = folder.path().join("env");
        make_venv(&env, "3.4");
        let output = check_with("hello", &["--venv", env.to_str().unwrap()]);
        fails_with(&output, &[env.to_str().unwrap(), "3.4", &python_version()]);
    }

    #[test]
    fn of_another_python_version_written_by_virtualenv() {
        let folder = TempDir::new().unwrap();
        let env = folder.path().join("env");
        make_venv(&env, &python_version());
        let configuration = fs::read_to_string(env.join("pyvenv.cfg")).unwrap();
        let lines: Vec<&str> = configuration
            .lines()
            .filter(|line| !line.starts_with("version ="))
            .chain(["version_info = 3.4.10.final.0", "implementation = CPython"])
            .collect();
        fs::write(env.join("pyvenv.cfg"), lines.join("\n")).unwrap();
        let output = check_with("hello", &["--venv", env.to_str().unwrap()]);
        fails_with(&output, &["3.4", &python_version()]);
    }
}

mod paths {
    use super::*;

    fn body(cgi: Cgi) -> String {
        let output = cgi.run();
        assert_eq!(output.code, 0, "{output:#?}");
        String::from_utf8(output.response().body).unwrap()
    }

    #[test]
    fn modules_are_found_in_the_working_directory() {
        assert_eq!(body(Cgi::bare("hello:app")), "this is app\n");
        assert_eq!(
            body(Cgi::bare("package.site:application")),
            "hello from a package"
        );
    }

    #[test]
    fn chdir_comes_before_the_import() {
        let facts = facts(interpreter().cwd("/").option("--chdir").option(apps()));
        assert_eq!(fact(&facts, "cwd"), apps().to_str().unwrap());
        let output = Cgi::bare("hello")
            .option("--chdir")
            .option("/nowhere")
            .run();
        assert_ne!(output.code, 0);
        assert!(output.stderr.contains("/nowhere"), "{output:#?}");
    }

    #[test]
    fn chdir_is_the_base_of_relative_names() {
        let cgi = Cgi::bare("scripts/plain.wsgi:second")
            .cwd("/")
            .option("--chdir")
            .option(apps());
        assert_eq!(body(cgi), "second");
    }

    #[test]
    fn pythonpath_adds_folders_in_order() {
        let folder = TempDir::new().unwrap();
        for (name, word) in [("one", "first"), ("two", "second")] {
            let place = folder.path().join(name);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("in_the_path.py"), format!("# {word}\n")).unwrap();
        }
        let one = folder.path().join("one");
        let two = folder.path().join("two");
        for (first, second) in [(&one, &two), (&two, &one)] {
            let found = imported(
                Cgi::new("interpreter:application", &imports("in_the_path"))
                    .option("--pythonpath")
                    .option(first)
                    .option("--pythonpath")
                    .option(second),
            );
            assert!(found.starts_with(first.to_str().unwrap()), "{found}");
        }
    }

    #[test]
    fn a_file_is_loaded_beside_its_own_modules() {
        let script = apps().join("scripts/plain.wsgi");
        let text = body(Cgi::bare(&script).cwd("/"));
        assert_eq!(text, format!("neighbour {}", script.display()));
        assert_eq!(body(Cgi::bare("scripts/plain.wsgi:second")), "second");
        assert_eq!(body(Cgi::bare("scripts/no_ending")), "neighbour");
        assert_eq!(body(Cgi::bare("only_app.py")), "only app");
        assert_eq!(body(Cgi::bare("./hello.py:app")), "this is app\n");
        assert_eq!(
            body(Cgi::bare("plain.wsgi:second").cwd(apps().join("scripts"))),
            "second"
        );
    }

    /// An application's folder may hold a module that is named like one of the standard library: only its
    /// own imports may see it.
    #[test]
    fn names_with_bytes_outside_utf8_work() {
        use std::os::unix::ffi::OsStrExt;
        let folder = TempDir::new().unwrap();
        let place = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        fs::create_dir(&place).unwrap();
        fs::copy(apps().join("hello.py"), place.join("hello.py")).unwrap();
        assert_eq!(body(Cgi::bare(place.join("hello.py"))), "Hello, world\n");
        let cgi = Cgi::bare("hello").option("--chdir").option(&place);
        assert_eq!(body(cgi), "Hello, world\n");
    }

    #[test]
    fn attributes_of_attributes_and_factories_work() {
        assert_eq!(body(Cgi::bare("hello")), "Hello, world\n");
        assert_eq!(body(Cgi::bare("only_app")), "only app");
        assert_eq!(body(Cgi::bare("factory:create()")), "made by a factory");
        assert_eq!(body(Cgi::bare("factory:create_with_default()")), "default");
        assert_eq!(body(Cgi::bare("factory.py:create()")), "made by a factory");
        assert_eq!(
            body(Cgi::bare("package.site:holder.inner")),
            "hello from a package"
        );
    }
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

mod cannot_be_loaded {
    use super::*;

    #[test]
    fn module_not_found() {
        let output = check("no_such_module:application");
        fails_with(&output, &["no_such_module"]);
        assert!(
            !output.stderr.contains("Traceback"),
            "a misspelt name needs no traceback: {}",
            output.stderr
        );
        fails_with(&check("package.nothing:application"), &["package.nothing"]);
        fails_with(&check("nothing.site:application"), &["nothing"]);
    }

    /// The application was found, but something that it imports was not: another sentence.
    #[test]
    fn module_of_the_application_not_found() {
        let output = check("broken_import");
        fails_with(&output, &["broken_import"]);
        assert!(output.stderr.contains("Traceback"), "{}", output.stderr);
        assert!(
            output.stderr.contains("module_that_nobody_has_written"),
            "{}",
            output.stderr
        );
        assert!(
            output.stderr.contains("broken_import.py\", line 3"),
            "{}",
            output.stderr
        );
    }

    #[test]
    fn attribute_not_found_names_the_near_ones() {
        let output = check("near_miss:application");
        fails_with(&output, &["near_miss", "application", "aplication"]);
        let output = check("hello:aplication");
        fails_with(&output, &["hello", "aplication", "application"]);
        let output = check("near_miss.py:my_ap");
        fails_with(&output, &["near_miss", "my_ap", "my_app"]);
        fails_with(&check("package.site:holder.iner"), &["iner"]);
    }

    #[test]
    fn neither_application_nor_app() {
        fails_with(&check("near_miss"), &["near_miss", "application", "app"]);
    }

    #[test]
    fn not_callable() {
        fails_with(&check("near_miss:number"), &["near_miss", "number", "int"]);
        fails_with(&check("factory:gives_none()"), &["gives_none", "None"]);
        fails_with(&check("near_miss:number()"), &["number"]);
    }

    #[test]
    fn exception_at_import() {
        let output = check("broken_at_import");
        fails_with(&output, &["broken_at_import"]);
        for word in [
            "Traceback (most recent call last)",
            "broken_at_import.py\", line 3",
            "RuntimeError: the import itself failed",
        ] {
            assert!(output.stderr.contains(word), "{word}: {}", output.stderr);
        }
        let output = check("broken_syntax.py");
        fails_with(&output, &["broken_syntax"]);
        assert!(output.stderr.contains("SyntaxError"), "{}", output.stderr);
        let output = check("factory:fails()");
        fails_with(&output, &["fails"]);
        assert!(
            output
                .stderr
                .contains("RuntimeError: the factory is closed"),
            "{}",
            output.stderr
        );
        let output = check("factory:needs_more()");
        fails_with(&output, &["needs_more"]);
    }

    #[test]
    fn exit_at_import() {
        fails_with(&check("exits_at_import"), &["exits_at_import"]);
    }

    #[test]
    fn no_such_file() {
        fails_with(&check("scripts/nothing.wsgi"), &["scripts/nothing.wsgi"]);
        fails_with(&check("/nowhere/app.py:app"), &["/nowhere/app.py"]);
        fails_with(&check("scripts/"), &["scripts"]);
    }

    /// Nobody can answer a request with it, and a peer must not be kept waiting.
    #[test]
    fn ends_a_fastcgi_start() {
        for (app, word) in [
            ("no_such_module:application", "no_such_module"),
            ("near_miss:application", "aplication"),
            ("broken_at_import", "RuntimeError: the import itself failed"),
            ("exits_at_import", "exits_at_import"),
        ] {
            let exit = Gateway::builder(app).run();
            assert_eq!(exit.code, 3, "{}", exit.log);
            assert!(exit.log.contains(word), "{app}: {}", exit.log);
        }
    }

    #[test]
    fn an_application_name_that_says_nothing_is_wrong_usage() {
        for app in ["", ":application", "hello:", "a b:c", "hello:create(1)"] {
            let output = Command::new(binary())
                .args(["check", app])
                .current_dir(apps())
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .output()
                .unwrap();
            let code = output.status.code();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(code == Some(2) || code == Some(3), "{app:?}: {stderr}");
            assert!(!stderr.trim().is_empty(), "{app:?}");
            assert!(!stderr.contains("panicked"), "{app:?}: {stderr}");
        }
    }
}

mod check_command {
    use super::*;

    #[test]
    fn says_what_would_be_served_and_by_which_python() {
        let output = check("shapes:instance");
        assert_eq!(output.code, 0, "{output:#?}");
        let text = output.text();
        let file = apps().join("shapes.py");
        let facts = facts(interpreter());
        for word in [
            &python_version(),
            fact(&facts, "prefix"),
            fact(&facts, "executable"),
            file.to_str().unwrap(),
            "Callable",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn names_the_virtual_environment() {
        let venv = venv();
        let output = check_with("flask_site:app", &["--venv", venv.to_str().unwrap()]);
        assert_eq!(output.code, 0, "{output:#?}");
        assert!(
            output.text().contains(venv.to_str().unwrap()),
            "{output:#?}"
        );
        assert!(output.text().contains("Flask"), "{output:#?}");
    }

    #[test]
    fn is_not_taken_in_by_prints_of_the_application() {
        let output = check("polluting");
        assert_eq!(output.code, 0, "{output:#?}");
    }

    /// The line of the start names the same things for the operator.
    #[test]
    fn agrees_with_the_log_of_a_start() {
        let gateway = Gateway::start("shapes:instance", &[]);
        gateway.wait_for_log("ready");
        let log = gateway.log();
        for word in [&*python_version(), "python3 in PATH", "shapes"] {
            assert!(log.contains(word), "{word}: {log}");
        }
    }
}
