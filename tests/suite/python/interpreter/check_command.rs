//! `check`.

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
