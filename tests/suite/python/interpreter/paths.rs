//! Where modules are found.

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
