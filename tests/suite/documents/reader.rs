//! The reader who types a document: writes its blocks as one script of a shell, has that run in a copy of the machine (`machine.sh`), and
//! looks at what each block has printed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::blocks::{Document, Run, Step};
use crate::support::gateway::{binary, python, venv};
use crate::servers::{program, skip};

/// What a document may take before it is taken for stuck.
const DEADLINE: Duration = Duration::from_secs(120);

/// The exit code of `machine.sh` where there are no namespaces to be had.
const NO_MACHINE: i32 = 77;

/// Types these documents, each in a machine of its own.
pub(super) fn reads(paths: &[PathBuf]) {
    let documents: Vec<Document> = paths.iter().map(|path| Document::read(path)).collect();
    let wrong: Vec<&str> = documents
        .iter()
        .flat_map(|document| &document.wrong)
        .map(|wrong| &**wrong)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let parts: Vec<String> = documents.iter().flat_map(strangers).collect();
    assert!(parts.is_empty(), "{}", parts.join("\n"));
    if !geteuid().is_root() {
        let _: Option<()> = skip("only root can make a copy of the machine");
        return;
    }
    // So that one name tells whether all that the documents use is there, and tests without a web server are told of as others are.
    for name in [
        "unshare", "busybox", "nginx", "apache2", "lighttpd", "caddy", "haproxy",
    ] {
        if program(name).is_none() {
            return;
        }
    }
    let failures: Vec<String> = documents
        .iter()
        .filter_map(|document| type_all(document).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// The blocks that are said to be a part of a file and are not.
fn strangers(document: &Document) -> Vec<String> {
    let mut found = Vec::new();
    for (line, step) in &document.steps {
        let Step::Write(file) = step else { continue };
        let Some(name) = &file.part_of else { continue };
        let whole = super::text(Path::new(name));
        // Lines that stand there as comments are there, too: the file tells the reader to take them.
        let bare = |line: &str| line.trim().trim_start_matches('#').trim().to_owned();
        let mut lines = whole.lines().map(bare);
        let stranger = file
            .text
            .lines()
            .map(bare)
            .filter(|line| !line.is_empty())
            .find(|wanted| !lines.any(|line| line == *wanted));
        if let Some(stranger) = stranger {
            found.push(format!(
                "{}:{line}: {stranger:?} is not in {name}, or not in this order",
                document.path.display()
            ));
        }
    }
    found
}

/// Types one document; what went wrong.
fn type_all(document: &Document) -> Result<(), String> {
    let folder = TempDir::with_prefix("wsgi-gateway-documents-").unwrap();
    let steps = folder.path().join("steps");
    fs::create_dir_all(&steps).unwrap();
    let name = document.path.display();
    let mut script = format!("DOCUMENT={name}\n. /documents/shell.sh\n");
    for (number, step) in &document.steps {
        match step {
            Step::EndSession => writeln!(script, "end_session").unwrap(),
            Step::Write(file) => {
                let Some((path, mode)) = &file.path else {
                    continue;
                };
                if !is_there(file.needs.as_deref()) {
                    continue;
                }
                fs::write(steps.join(format!("{number}.file")), &file.text).unwrap();
                let how = if file.appends { "append" } else { "put" };
                writeln!(script, "{how} {number} '{path}' {mode}").unwrap();
            }
            Step::Run(run) => {
                if !is_there(run.needs.as_deref()) {
                    continue;
                }
                fs::write(steps.join(format!("{number}.sh")), strict(&run.commands)).unwrap();
                match (&run.stays, &run.fails) {
                    (Some(words), _) => writeln!(script, "stay {number} '{words}'").unwrap(),
                    (None, Some(_)) => writeln!(script, "fail {number}").unwrap(),
                    (None, None) => writeln!(script, "run {number}").unwrap(),
                }
            }
        }
    }
    script += "echo done >/documents/done\n";
    fs::write(steps.join("all.sh"), script).unwrap();
    // The documents that do not tell how the gateway is installed are read by those who have it.
    let installed = if document.path == Path::new("README.md") {
        "no"
    } else {
        "yes"
    };
    machine(folder.path(), installed)?;
    if steps.join("skipped").exists() {
        let why = fs::read_to_string(steps.join("skipped")).unwrap();
        let _: Option<()> = skip(&why);
        return Ok(());
    }
    let mut found: Vec<String> = Vec::new();
    if !steps.join("done").exists() {
        let at = fs::read_to_string(steps.join("at")).unwrap_or_default();
        let why = fs::read_to_string(steps.join("why")).unwrap_or_default();
        let printed = printed(&steps, at.trim());
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        found.push(format!(
            "{name}:{}: {}\n{printed}{log}",
            at.trim(),
            why.trim()
        ));
    }
    for (number, step) in &document.steps {
        if let Step::Run(run) = step {
            if let Some(what) = missing(&steps, *number, run) {
                found.push(format!("{name}:{number}: {what}"));
            }
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(found.join("\n"))
    }
}

/// The commands, such that each that fails ends the shell: of `a && b` it forgives the first.
fn strict(commands: &str) -> String {
    let lines = commands.lines().map(|line| match line.contains("||") {
        true => line.to_owned(),
        false => line.replace(" && ", "\n"),
    });
    lines.map(|line| line + "\n").collect()
}

fn is_there(needed: Option<&str>) -> bool {
    needed.is_none_or(|name| program(name).is_some())
}

fn printed(steps: &Path, number: &str) -> String {
    let bytes = fs::read(steps.join(format!("{number}.out"))).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a block that was run should have printed or done and has not.
fn missing(steps: &Path, number: usize, run: &Run) -> Option<String> {
    if !steps.join(format!("{number}.out")).exists() {
        return None;
    }
    let printed = printed(steps, &number.to_string());
    if let Some((wanted, words)) = &run.fails {
        let code = fs::read_to_string(steps.join(format!("{number}.code"))).unwrap_or_default();
        let code: i32 = code.trim().parse().unwrap_or(0);
        if code == 0 || wanted.is_some_and(|wanted| wanted != code) {
            return Some(format!("exit code {code}\n{printed}"));
        }
        if !printed.contains(words) {
            return Some(format!("does not print {words:?}:\n{printed}"));
        }
    }
    if let Some(words) = run.prints.iter().find(|words| !printed.contains(*words)) {
        return Some(format!("does not print {words:?}:\n{printed}"));
    }
    let mut lines = printed.lines().map(str::trim_end);
    let missing = run
        .lines
        .iter()
        .filter(|line| *line != "...")
        .find(|wanted| !lines.any(|line| is_like(line, wanted)));
    missing
        .map(|line| format!("does not print the line {line:?}, or not in this order:\n{printed}"))
}

/// Whether a line is what the document shows, in which `...` stands for anything.
fn is_like(line: &str, shown: &str) -> bool {
    let mut parts = shown.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = true;
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
        || open
            && (shown.ends_with("...")
                || line.ends_with(shown.rsplit("...").next().unwrap_or_default()))
}

/// Runs the script of `folder` in a machine of its own, until it ends or is late.
fn machine(folder: &Path, installed: &str) -> Result<(), String> {
    let here = super::root().join("tests/suite/documents");
    let core = binary().with_file_name("deps/libwsgi_gateway_core.so");
    let log = File::create(folder.join("log")).unwrap();
    let variables: BTreeMap<&str, PathBuf> = BTreeMap::from([
        ("FOLDER", folder.to_owned()),
        ("SOURCES", super::root().to_owned()),
        ("PROGRAM", binary()),
        ("CORE", core),
        ("PYTHON", python()),
        ("SITE_PACKAGES_OF", venv()),
        ("INSTALLED", installed.into()),
    ]);
    let mut child = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "/bin/bash",
        ])
        .arg(here.join("machine.sh"))
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            // unshare itself ends with 1 where the system does not let it.
            let refused = log.contains("unshare failed") || status.code() == Some(NO_MACHINE);
            if refused {
                let why = format!("no copy of the machine to be had: {}", log.trim());
                fs::write(folder.join("steps/skipped"), why).unwrap();
            }
            return Ok(());
        }
        if Instant::now() > deadline {
            // With it goes all that runs in there.
            child.kill().unwrap();
            child.wait().unwrap();
            fs::write(folder.join("steps/why"), "takes for ever").unwrap();
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn shown_lines_are_compared() {
    for (line, shown, same) in [
        ("Hello", "Hello", true),
        ("Hello, you", "Hello", false),
        ("a 12 b", "a ... b", true),
        ("a 12 b c", "a ... b", false),
        ("a 12", "a ...", true),
        ("b a 12", "a ...", false),
        ("x y z", "...y...", true),
    ] {
        assert_eq!(is_like(line, shown), same, "{line:?} {shown:?}");
    }
}
