//! Which virtual environment is used.

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
        Cgi::new("interpreter:application", &imports("only_in_this_venv")).env("VIRTUAL_ENV", &env),
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
