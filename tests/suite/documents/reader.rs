//! The reader who types a document: writes its blocks as one script of a shell, has that run in a copy of the machine (`machine.sh`), and
//! looks at what each block has printed.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::blocks::{Document, Run, Step};
use crate::servers::{program, skip};
use crate::support::gateway::{binary, python, venv};

/// The seconds that a document may take before it is taken for stuck.
const DEADLINE: &str = "120";

/// The exit code of timeout(1) then.
const LATE: i32 = 128 + 9;

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
        "unshare", "curl", "busybox", "nginx", "apache2", "lighttpd", "caddy", "haproxy",
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
    // Many topics have only words.
    if !document
        .steps
        .iter()
        .any(|(_, step)| matches!(step, Step::Run(_)))
    {
        return Ok(());
    }
    let folder = TempDir::with_prefix("wsgi-gateway-documents-").unwrap();
    let steps = folder.path().join("steps");
    fs::create_dir_all(&steps).unwrap();
    write_steps(document, &steps);
    // The documents that do not tell how the gateway is installed are read by those who have it.
    let is_installed = document.path != Path::new("README.md");
    let name = document.path.display();
    match machine(folder.path(), is_installed) {
        End::Done => {}
        End::Refused(why) => {
            let _: Option<()> = skip(&format!("no copy of the machine to be had: {why}"));
            return Ok(());
        }
        End::Failed(why) => {
            let read = |name: &str| fs::read_to_string(steps.join(name)).unwrap_or_default();
            let at = read("at").trim().to_owned();
            let printed = printed(&steps, &at);
            let why = [&why, read("why").trim()].concat();
            return Err(format!("{printed}{name}:{at}: {why}"));
        }
    }
    let steps = document.steps.iter().filter_map(|(number, step)| {
        let Step::Run(run) = step else { return None };
        let what = missing(&steps, *number, run)?;
        Some(format!("{name}:{number}: {what}"))
    });
    let found: Vec<String> = steps.collect();
    match found.is_empty() {
        true => Ok(()),
        false => Err(found.join("\n")),
    }
}

/// Writes what `shell.sh` is to do, block by block, and what the blocks have.
fn write_steps(document: &Document, steps: &Path) {
    let put = |name: String, text: &str| fs::write(steps.join(name), text).unwrap();
    let mut script = format!(
        "DOCUMENT={}\n. /documents/shell.sh\n",
        document.path.display()
    );
    for (number, step) in &document.steps {
        match step {
            Step::EndSession => script += "end_session\n",
            Step::Write(file) => {
                let Some((path, mode)) = &file.path else {
                    continue;
                };
                if is_there(file.needs.as_deref()) {
                    put(format!("{number}.file"), &file.text);
                    let how = if file.appends { "append" } else { "put" };
                    writeln!(script, "{how} {number} '{path}' {mode}").unwrap();
                }
            }
            Step::Run(run) if is_there(run.needs.as_deref()) => {
                put(format!("{number}.sh"), &strict(&run.commands));
                put(
                    format!("{number}.words"),
                    run.stays.as_deref().unwrap_or_default(),
                );
                let how = match (&run.stays, &run.fails) {
                    (Some(_), _) => "stay",
                    (None, Some(_)) => "fail",
                    (None, None) => "run",
                };
                writeln!(script, "{how} {number}").unwrap();
            }
            Step::Run(_) => {}
        }
    }
    script += "echo done >/documents/done\n";
    put("all.sh".to_owned(), &script);
}

/// The commands, such that each that fails ends the shell: of `a && b` it forgives the first.
fn strict(commands: &str) -> String {
    let lines = commands.lines().map(|line| match line.contains("||") {
        true => line.to_owned(),
        false => line.replace(" && ", "\n"),
    });
    lines.map(|line| line + "\n").collect()
}

/// Whether there is the program that a block needs: one that not every Debian has, so that its absence is no failure in CI either.
fn is_there(needed: Option<&str>) -> bool {
    let Some(name) = needed else { return true };
    let found = ["/usr/bin", "/usr/sbin"]
        .iter()
        .any(|folder| Path::new(folder).join(name).is_file());
    if !found {
        eprintln!("left out: no {name} on this machine");
    }
    found
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

/// How the machine has ended.
enum End {
    /// All has been typed.
    Done,
    /// Something failed, or took too long.
    Failed(String),
    /// There was none, and why.
    Refused(String),
}

/// Runs the script of `folder` in a machine of its own, until it ends or is late.
fn machine(folder: &Path, is_installed: bool) -> End {
    let here = super::root().join("tests/suite/documents");
    let core = binary().with_file_name("deps/libwsgi_gateway_core.so");
    let log = File::create(folder.join("log")).unwrap();
    let variables: [(&str, PathBuf); 7] = [
        ("FOLDER", folder.to_owned()),
        ("SOURCES", super::root().to_owned()),
        ("PROGRAM", binary()),
        ("CORE", core),
        ("PYTHON", python()),
        ("SITE_PACKAGES_OF", venv()),
        ("INSTALLED", if is_installed { "yes" } else { "" }.into()),
    ];
    // With unshare goes all that runs in there, also where this process does not live to see it.
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", DEADLINE, "unshare", "--kill-child"]);
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
        "/bin/bash",
    ]);
    command.arg(here.join("machine.sh")).envs(variables);
    let output = log.try_clone().unwrap();
    let status = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(log)
        .status()
        .unwrap();
    if status.code().is_none_or(|code| code == LATE) {
        return End::Failed(format!("has not ended after {DEADLINE} s"));
    }
    let log = fs::read_to_string(folder.join("log")).unwrap();
    // unshare itself ends with 1 where the system does not let it.
    if status.code() == Some(NO_MACHINE) || log.contains("unshare failed") {
        return End::Refused(log.trim().to_owned());
    }
    match folder.join("steps/done").exists() {
        true => End::Done,
        false => End::Failed(log),
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
