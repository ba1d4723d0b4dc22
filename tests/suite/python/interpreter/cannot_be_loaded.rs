//! What is said of an application that cannot be loaded.

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
