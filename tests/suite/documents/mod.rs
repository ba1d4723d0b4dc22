//! Types what README.md, conf/README.md and src/help/*.md tell a reader to type, and follows their links: a command, a
//! file or a configuration that does not work where the document says it does is a test that fails.
//!
//! # How a document is written
//!
//! Every block of code has a language behind its three backquotes, which says what becomes of it; HTML comments on the
//! lines directly above a block, which nobody sees who reads the page, say the rest. A block about which there is nothing
//! to check is a failure, and so is a comment that is not one of these:
//!
//! | block | what becomes of it |
//! |---|---|
//! | `sh` | is run, all of it; a command that fails is a failure |
//! | `text` behind an `sh` block | is what that has printed: lines in this order, others may stand between; `...` is anything |
//! | any other, such as `nginx`, `toml`, `python` | its comment says where it belongs |
//!
//! | comment | for | |
//! |---|---|---|
//! | `<!-- file: /srv/shop/app.cgi 755 -->` | any other | is written there, with the folders above it; the mode may be left out (644) |
//! | `<!-- add to: /etc/haproxy/haproxy.cfg -->` | any other | is put at the end of that file |
//! | `<!-- part of: conf/nginx.conf -->` | any other | its lines are in that file of the repository, in this order, comments there and what is indented aside; may stand with one of the two above |
//! | `<!-- stays: ready -->` | `sh` | it goes on beside what follows, as in a terminal of its own; waits until it has printed this |
//! | `<!-- prints: Hello -->` | `sh` | its output has this; may be repeated, also on one line |
//! | `<!-- fails: No module named -->` | `sh` | it ends with an error, and its output has this; `fails 3:` says the exit code |
//! | `<!-- needs: h2o -->` | any | where there is no such program, which not every Debian has, the block is left out, and the test says so |
//! | `<!-- only to be read: a drawing -->` | `text` | there is nothing to run or to compare, and this is why |
//! | `<!-- end of session -->` | by itself | all that runs is ended, and the next block begins in the first folder; files stay |
//!
//! # Where it is run
//!
//! As root, for real, with the real paths and port 80, in a copy of the machine that is gone afterwards: namespaces of
//! its own for mounts, processes and network (no network at all), and over the machine's files a layer in memory that
//! takes what is written. It is one shell a document, as of one reader who types all of it in order. It begins in
//! `/root`, with conf/README.md in `/usr/src/wsgi-gateway/conf` (the sources are in `/usr/src/wsgi-gateway`); there are
//!
//! - the web servers, as Debian configures them, none of them running (`systemctl reload` starts one, too);
//! - for README.md, which tells how it is installed, the packages that `scripts/package` makes, in `/root`; else the
//!   gateway itself as README.md has it installed by hand, in `/usr/local`.
//!
//! Some programs are stood in for, because there is no network, no systemd, or no time (`stand-ins/`, each says what it
//! does and leaves out): apt, pip, systemctl, service and journalctl, Apache's a2enmod and its kin, git, cargo and the
//! project's own scripts. A stand-in knows only what the documents are to say, and fails at anything else.
//!
//! Where there are no such namespaces to be had, as for another user than root, the test says that it is skipped; in CI
//! it fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::gateway::binary;

mod blocks;
mod links;
mod reader;

use blocks::Document;

/// The longest that README.md may be: it is read before anything is decided.
const README_LINES: usize = 200;

/// Options of other programs that the documents speak of: systemctl's, docker's and those of `scripts/bench`.
const OTHERS: [&str; 5] = ["--now", "--cpus", "--quick", "--rounds", "--scale"];

#[test]
fn what_readme_says_can_be_typed() {
    reader::reads(&[PathBuf::from("README.md")]);
}

#[test]
fn what_the_readme_of_conf_says_can_be_typed() {
    reader::reads(&[PathBuf::from("conf/README.md")]);
}

#[test]
fn what_the_topics_say_can_be_typed() {
    reader::reads(&topics());
}

#[test]
fn readme_is_short() {
    let lines = text(Path::new("README.md")).lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines");
}

#[test]
fn lines_are_not_too_long_to_be_read_in_a_terminal() {
    // Rows of tables and single links are as long as they must be.
    let mut found = Vec::new();
    for path in [PathBuf::from("README.md"), PathBuf::from("conf/README.md")] {
        let text = text(&path);
        let long = text.lines().enumerate().filter(|(_, line)| {
            line.chars().count() > 140 && !line.starts_with('|') && !line.starts_with("![")
        });
        found.extend(
            long.map(|(number, line)| format!("{}:{}: {line}", path.display(), number + 1)),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn links_lead_somewhere() {
    let paths = [
        topics(),
        vec![PathBuf::from("README.md"), PathBuf::from("conf/README.md")],
    ]
    .concat();
    let documents = paths.iter().map(|path| Document::read(path));
    let found: Vec<String> = documents
        .flat_map(|document| links::broken(&document))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn links_lead_somewhere_in_the_packages() {
    let folder = TempDir::with_prefix("wsgi-gateway-documents-").unwrap();
    let script = text(Path::new("scripts/package"));
    let links = script.lines().find(|line| line.starts_with("links='"));
    // As scripts/package has it: conf/ is "examples", src/help/ "help".
    let commands = format!(
        "{}\ncp README.md CHANGELOG.md LICENSE-* scripts/benchmark/chart.svg \"$1\"; cp -R conf \"$1/examples\"; mkdir \"$1/help\"
        cp src/help/*.md \"$1/help\"; cd \"$1\"; sed -i \"$links\" *.md examples/*.md help/*.md",
        links.expect("the line in scripts/package")
    );
    let mut sh = Command::new("sh");
    sh.args(["-ec", &commands, "sh"]).arg(folder.path());
    assert!(sh.current_dir(root()).status().unwrap().success());
    let topics = topics()
        .into_iter()
        .map(|path| Path::new("help").join(path.file_name().unwrap()));
    let paths = topics.chain(["README.md", "examples/README.md"].map(PathBuf::from));
    let documents = paths.map(|path| Document::read(&folder.path().join(path)));
    let found: Vec<String> = documents
        .flat_map(|document| links::broken(&document))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn options_that_are_spoken_of_are_there() {
    // What is not in a block is not run, but for that it needs a name that is right.
    let help = |words: &[&str]| {
        let output = Command::new(binary()).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let own = help(&["--help"]);
    let commands = own.lines().skip_while(|line| *line != "Commands:");
    let commands = commands.skip(1).take_while(|line| !line.is_empty());
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let all: Vec<String> = names
        .filter(|name| !name.is_empty() && *name != "help")
        .map(|name| help(&[name, "--help"]))
        .chain([own.clone()])
        .collect();
    let all = all.concat();
    let known: BTreeSet<&str> = options(&all).collect();
    assert!(known.contains("--bind") && known.contains("--static"));
    let paths = topics()
        .into_iter()
        .chain(["README.md", "conf/README.md"].map(PathBuf::from));
    let mut found = Vec::new();
    // The topic about other programs' options has a test of its own.
    for path in paths.filter(|path| !path.ends_with("coming.md")) {
        for (number, code) in Document::read(&path).codes {
            let strange =
                options(&code).find(|option| !known.contains(option) && !OTHERS.contains(option));
            found.extend(strange.map(|option| format!("{}:{number}: {option}", path.display())));
        }
    }
    assert!(
        found.is_empty(),
        "there is no such option:\n{}",
        found.join("\n")
    );
}

/// The words of a text that are options.
fn options(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.len() > 3 && word.starts_with("--"))
}

#[test]
fn every_comment_above_blocks_is_understood_or_refused() {
    blocks::check_examples();
}

/// The topics of `wsgi-gateway help`.
fn topics() -> Vec<PathBuf> {
    let folder = root().join("src/help");
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut paths: Vec<PathBuf> = names
        .map(|name| Path::new("src/help").join(name))
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    paths.sort();
    paths
}

/// The repository's root, from which the documents' names are seen.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
fn text(path: &Path) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
