//! What there is to read besides each command's own help: `help TOPIC`, and the pages of the manual.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::gateway::binary;

fn help(words: &[&str]) -> Output {
    Command::new(binary())
        .arg("help")
        .args(words)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The names of the topics: their files.
fn topics() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/help");
    let files = fs::read_dir(folder).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let topics = paths.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    topics
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn all_topics_and_commands_are_listed_and_told() {
    let list = text(&help(&[]));
    let line = |name: &str| format!("\n  {name:<16}");
    for name in ["fastcgi", "cgi", "status", "try"] {
        assert!(list.contains(&line(name)), "{name}: {list}");
    }
    assert!(!list.contains("manual"), "{list}");
    let topics = topics();
    assert!(topics.len() >= 10, "{topics:?}");
    for name in &topics {
        assert!(list.contains(&line(name)), "{name}: {list}");
        let page = text(&help(&[name]));
        let title = page.lines().next().unwrap();
        assert!(
            list.contains(&format!("{}{title}\n", line(name))),
            "{name}: {list}"
        );
        assert!(page.lines().count() > 10, "{name}: {page}");
    }
    let prefixes = text(&help(&["prefixes"]));
    assert!(
        prefixes.contains("(wsgi-gateway help troubleshooting)"),
        "{prefixes}"
    );
    // clap's own.
    let fastcgi = text(&help(&["fastcgi"]));
    assert!(fastcgi.contains("Usage: wsgi-gateway fastcgi"), "{fastcgi}");
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let script = "\"$0\" help options | head -n 1; echo \"${PIPESTATUS[0]}\"";
    let output = Command::new("bash")
        .args(["-c", script])
        .arg(binary())
        .output()
        .unwrap();
    assert_eq!(output.stderr, b"", "{output:?}");
    assert!(output.stdout.ends_with(b"\n0\n"), "{output:?}");
}

/// groff reads all pages of the manual without a warning.
#[test]
fn the_manual_is_sound() {
    let folder = TempDir::with_prefix("wsgi-gateway-test-manual-").unwrap();
    let written = Command::new(binary())
        .arg("manual")
        .arg(folder.path())
        .arg("2026-11-30")
        .status()
        .unwrap();
    assert!(written.success());
    let mut pages = Vec::new();
    for name in topics() {
        pages.push(format!("wsgi-gateway-{name}.7"));
    }
    for name in ["", "-fastcgi", "-cgi", "-status", "-completions"] {
        pages.push(format!("wsgi-gateway{name}.1"));
    }
    for page in &pages {
        let text = fs::read_to_string(folder.path().join(page)).unwrap();
        let lines = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
        let title = text.lines().find(|line| line.starts_with(".TH"));
        assert!(title.unwrap().contains(" 2026-11-30 "), "{page}: {title:?}");
        assert_eq!((lines(".SH NAME"), lines(".TH")), (1, 1), "{page}");
        assert!(text.contains("\n.SH \"SEE ALSO\"\n"), "{page}");
    }
    let read = Command::new("groff")
        .args(["-man", "-Tascii", "-ww", "-z"])
        .args(&pages)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output();
    // Debian has it wherever there is a `man`.
    if let Ok(read) = read {
        let said = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.success() && said.is_empty(), "{said}");
    }
}
