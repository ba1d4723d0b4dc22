//! Keeps the floors of `src/`: who may import whom, and which crate belongs to which floor.
//!
//! It reads the sources as text, so it sees every module of every build (tests included), and it
//! follows re-exports, so a name that travels through another floor still counts as what it is.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use crate::sources::imports::{Mention, Source, read};

/// A floor, the floors that it may import, and those of the crates in `OWNED` that it may import.
/// `lib` and `main` are the two crate roots.
const FLOORS: [(&str, &[&str], &[&str]); 21] = [
    ("main", &["cli", "config", "exit", "serve"], &["anyhow"]),
    ("lib", &[], &[]),
    ("cli", &["config", "gateway", "help"], &["clap"]),
    (
        "serve",
        &[
            "config",
            "cgi",
            "control",
            "exit",
            "explain",
            "fastcgi",
            "gateway",
            "logging",
            "persistent",
            "process",
            "top",
            "webserver",
            "worker",
        ],
        &["anyhow"],
    ),
    (
        "persistent",
        &["config", "cgi", "fastcgi", "gateway", "process"],
        &["nix"],
    ),
    (
        "core",
        &[
            "config", "cgi", "entry", "exit", "fastcgi", "gateway", "logging", "process", "worker",
            "wsgi",
        ],
        &[],
    ),
    (
        "entry",
        &[
            "config", "cgi", "exit", "fastcgi", "gateway", "logging", "process", "worker", "wsgi",
        ],
        &["anyhow", "pyo3"],
    ),
    ("wsgi", &["config", "exit", "gateway"], &["pyo3"]),
    (
        "worker",
        &[
            "config", "exit", "explain", "fastcgi", "gateway", "logging", "process",
        ],
        // The latter to read what its access log writes, in tests.
        &["anyhow", "serde"],
    ),
    ("top", &["control", "process"], &["crossterm"]),
    (
        "control",
        &["fastcgi", "gateway", "process"],
        &["nix", "serde"],
    ),
    ("logging", &["config", "gateway", "process"], &[]),
    ("cgi", &["gateway"], &["nix"]),
    ("explain", &["gateway"], &[]),
    ("help", &[], &[]),
    ("webserver", &["config", "gateway"], &[]),
    ("fastcgi", &["gateway"], &["nix"]),
    ("process", &["gateway"], &["nix", "serde"]),
    ("config", &["gateway"], &["serde"]),
    ("exit", &[], &[]),
    ("gateway", &[], &[]),
];

/// The crates that only some floors may know.
const OWNED: [&str; 6] = ["anyhow", "clap", "crossterm", "nix", "pyo3", "serde"];

/// The floor that makes do with the standard library, and with what derives the sentences of its errors.
const STD_ONLY: &str = "gateway";
const DERIVES: &str = "thiserror";

#[test]
fn every_import_of_src_points_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    let manifest = |at: &str| fs::read_to_string(root.join(at)).unwrap();
    let report = check(
        &files,
        &[
            dependencies(&manifest("Cargo.toml")),
            dependencies(&manifest("src/python/Cargo.toml")),
        ]
        .concat(),
    );
    assert!(
        report.wrong.is_empty(),
        "imports that do not point down:\n{}",
        report.wrong.join("\n")
    );
    // Without these the house cannot work: a reader that misses them has gone blind.
    for needed in [
        "main -> serve",
        "entry -> wsgi",
        "worker -> fastcgi",
        "wsgi -> pyo3",
    ] {
        assert!(report.seen.contains(needed), "{needed} was not seen");
    }
}

/// A file, what stands in it, and what the check must say, in a house where `wsgi` and `entry` hand on as
/// in `wrong_in`.
const BAD: &str = r##"
cgi.rs            | use crate::wsgi; | cgi -> wsgi
cgi.rs            | use crate::{gateway::Head, wsgi::call}; | cgi -> wsgi
cgi.rs            | use crate::{gateway::{self, Head}, serve::{run as go},}; | cgi -> serve
cgi.rs            | fn f() { crate::wsgi::call() } | cgi -> wsgi
cgi.rs            | fn f() { use crate::wsgi::call; call() } | cgi -> wsgi
cgi.rs            | #[cfg(test)] mod tests { use super::super::wsgi; } | cgi -> wsgi
cgi.rs            | pub(crate) use super::fastcgi::Record; | cgi -> fastcgi
cgi.rs            | use crate::*; | cgi -> every floor
cgi.rs            | use crate::serve::*; | cgi -> serve
cgi.rs            | fn f() -> ::pyo3::Python { } | cgi -> pyo3
cgi.rs            | macro_rules! m { () => { $crate::wsgi::call() } } | cgi -> wsgi
cgi.rs            | const A: &str = r#""crate"#; use crate::wsgi; | cgi -> wsgi
cgi.rs            | fn f<'a>() { let a = ['"', '\'']; crate::wsgi::call() } | cgi -> wsgi
cgi.rs            | /* /* */ " */ use crate::r#wsgi; | cgi -> wsgi
cgi.rs            | #[path = "../wsgi.rs"] mod mine; | cgi: #[path]
cgi.rs            | include!("wsgi.rs"); | cgi: include!
cgi.rs            | use crate::errand::run; | cgi -> errand
fastcgi/socket.rs | use super::super::cgi; | fastcgi -> cgi
fastcgi/socket.rs | fn f() { super::super::cgi::run() } | fastcgi -> cgi
fastcgi/socket.rs | mod a { mod b { use super::super::super::super::cgi; } } | fastcgi -> cgi
wsgi/input.rs     | use crate::process::Worker; | wsgi -> process
wsgi/input.rs     | use nix::unistd::read; | wsgi -> nix
wsgi/input.rs     | fn f() -> anyhow::Result<()> { } | wsgi -> anyhow
process.rs        | use crate::wsgi; | process -> wsgi
process.rs        | #[derive(clap::Parser)] struct Options; | process -> clap
cli.rs            | use crate::serve; | cli -> serve
cli.rs            | extern crate nix; | cli -> nix
serve.rs          | use pyo3::prelude::*; | serve -> pyo3
serve.rs          | use pyo3_ffi as python; | serve -> pyo3
gateway/head.rs   | use crate::serve; | gateway -> serve
gateway/head.rs   | use log::debug; | gateway -> log
gateway/head.rs   | fn f() { log::debug!("x") } | gateway -> log
lib.rs            | pub use wsgi::call; | lib -> wsgi
main.rs           | use wsgi_gateway::wsgi; | main -> wsgi
main.rs           | fn main() { wsgi_gateway::wsgi::call() } | main -> wsgi
main.rs           | use wsgi_gateway::entry::handed_on; | main -> wsgi
main.rs           | use wsgi_gateway::entry::{all_of_it::call_again}; | main -> wsgi
serve/start.rs    | use crate::wsgi::Python; | serve -> pyo3
serve/start.rs    | use crate::wsgi; fn f() { wsgi::Python::attach() } | serve -> pyo3
errand.rs         | fn f() {} | errand is no floor
"##;

#[test]
fn bad_imports_are_found() {
    for line in BAD.trim().lines() {
        let [file, text, expected] = columns(line);
        let wrong = wrong_in(file, text);
        assert!(
            wrong.iter().any(|line| line.contains(expected)),
            "{file}: {text}\nshould say {expected:?}, says {wrong:?}"
        );
    }
}

/// As `BAD`, and nothing is wrong.
const GOOD: &str = r##"
cgi.rs            | use crate::gateway::{Head, Variables}; use nix::unistd::dup; use std::io;
cgi.rs            | /* use /* crate::wsgi */ crate::serve; */ // use crate::wsgi;
cgi.rs            | fn f() -> &'static str { "\" use crate::wsgi;" }
cgi.rs            | const A: &[u8] = br#"" crate::wsgi::x "#; const Q: char = '"'; const R: char = '\'';
cgi.rs            | fn f<'a>(x: &'a u8) -> impl Sized + use<'a> { x.wsgi::<u8>() }
cgi.rs            | #[cfg(test)] mod tests { use super::*; use proptest::prelude::*; }
fastcgi/record.rs | use super::pairs; use super::super::gateway; use crate::fastcgi::pairs::x;
wsgi/input.rs     | use pyo3::prelude::*; use crate::gateway; fn f() { log::debug!("x") }
serve/start.rs    | use crate::{cgi, config, fastcgi, process, worker}; fn f() { worker::call() }
gateway/head.rs   | use super::Variables; use std::fmt; pub(in crate::gateway) fn f() {}
main.rs           | use wsgi_gateway::{cli, serve}; fn main() -> anyhow::Result<()> { cli::parse() }
main.rs           | #[cfg(test)] mod tests { use super::*; use crate::run; fn f() { super::run() } }
lib.rs            | pub mod serve; mod wsgi;
"##;

#[test]
fn good_imports_pass() {
    for line in GOOD.trim().lines() {
        let [file, text] = columns(line);
        assert_eq!(wrong_in(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}

/// What has an effect, or is one's: a descriptor, a clock, a log, a file, a process.
const EFFECTS: [&str; 11] = [
    "Instant::now",
    "SystemTime",
    "log::log!",
    "log::error!",
    "log::warn!",
    "log::info!",
    "log::debug!",
    "Fd",
    "std::fs",
    "std::env",
    "unsafe",
];

#[test]
fn the_state_of_the_master_has_no_effects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let is_pure = |path: &str| {
        let inside = path.strip_prefix("process/master/");
        inside.is_some_and(|path| {
            let is_test = path.starts_with("state/tests");
            path == "reaction.rs" || (path.starts_with("state") && !is_test)
        })
    };
    files.retain(|(path, _)| is_pure(path));
    assert!(files.len() > 5, "the sources were not read");
    for (path, text) in &files {
        for (number, line) in text.lines().enumerate() {
            let found = EFFECTS.iter().find(|effect| line.contains(**effect));
            assert_eq!(found, None, "{path}:{}: {line}", number + 1);
        }
    }
}

/// The columns of a line of `BAD` or `GOOD`.
fn columns<const N: usize>(line: &str) -> [&str; N] {
    let columns: Vec<&str> = line.split(" | ").map(str::trim).collect();
    columns.try_into().unwrap()
}

/// What the check says about a small house in which one file has this text.
fn wrong_in(file: &str, text: &str) -> Vec<String> {
    let mut files: Vec<(String, String)> = [
        ("lib.rs", "mod wsgi; mod entry;"),
        ("wsgi.rs", "pub use pyo3::Python; pub fn call() {}"),
        (
            "entry.rs",
            "pub use crate::wsgi::call as handed_on; pub mod all_of_it { pub use super::super::wsgi::*; }",
        ),
    ]
    .into_iter()
    .filter(|(name, _)| *name != file)
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .collect();
    files.push((file.to_owned(), text.to_owned()));
    check(&files, &["log".to_owned()]).wrong
}

/// What `check` has seen and what is wrong with it.
struct Report {
    /// `floor -> floor or crate`.
    seen: BTreeSet<String>,
    /// One line each.
    wrong: Vec<String>,
}

/// Checks files, given with their path below `src/`. `dependencies` are the crates of the build.
fn check(files: &[(String, String)], dependencies: &[String]) -> Report {
    let mut report = Report {
        seen: BTreeSet::new(),
        wrong: Vec::new(),
    };
    let sources: Vec<Source> = files.iter().map(|(path, text)| read(path, text)).collect();
    let mut uses = Uses::new();
    for mention in sources.iter().flat_map(|source| &source.mentions) {
        if mention.name.is_some() {
            uses.entry(&mention.module).or_default().push(mention);
        }
    }
    for source in &sources {
        let floor = source.floor.as_str();
        let Some((_, floors, crates)) = FLOORS.iter().find(|(name, ..)| *name == floor) else {
            let line = format!(
                "{}: {floor} is no floor: say in FLOORS what it may import",
                source.path
            );
            report.wrong.push(line);
            continue;
        };
        // What names its entry is made when it is built.
        let made = source.path == "core.rs";
        for trick in source
            .tricks
            .iter()
            .filter(|trick| !(made && **trick == "include!"))
        {
            report.wrong.push(format!(
                "{}: {floor}: {trick} hides what is imported",
                source.path
            ));
        }
        for mention in &source.mentions {
            let mut reached = BTreeSet::new();
            reach(
                &uses,
                mention,
                &mention.path,
                &mut BTreeSet::new(),
                &mut reached,
            );
            for target in reached {
                let (name, allowed) = match target {
                    Target::Floor(name) => {
                        let allowed = name == floor || floors.contains(&name.as_str());
                        (name, allowed)
                    }
                    Target::Crate(name) => {
                        let of =
                            |krate: &str| name == krate || name.starts_with(&format!("{krate}_"));
                        if let Some(owned) = OWNED.iter().find(|owned| of(owned)) {
                            ((*owned).to_owned(), crates.contains(owned))
                        } else if dependencies.iter().any(|dependency| of(dependency)) {
                            let allowed = floor != STD_ONLY || name == DERIVES;
                            (name, allowed)
                        } else {
                            continue;
                        }
                    }
                };
                report.seen.insert(format!("{floor} -> {name}"));
                if !allowed {
                    let (path, line) = (&source.path, mention.line);
                    let said = mention.path.join("::");
                    report
                        .wrong
                        .push(format!("{path}:{line}: {said}: {floor} -> {name}"));
                }
            }
        }
    }
    report
}

/// What a path arrives at.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Floor(String),
    Crate(String),
}

/// What `use` declares, by the module in which it stands.
type Uses<'a> = HashMap<&'a [String], Vec<&'a Mention>>;

/// Follows a path, as it stands in the module of `mention`, through the names that `use` made.
fn reach(
    uses: &Uses<'_>,
    mention: &Mention,
    path: &[String],
    followed: &mut BTreeSet<Vec<String>>,
    reached: &mut BTreeSet<Target>,
) {
    let inside = |module: &[String]| uses.get(module).map_or(&[][..], Vec::as_slice);
    let declared = |module: &[String], name: &str| {
        let mut with = inside(module).iter().copied();
        with.find(|with| with.name.as_deref() == Some(name))
            .filter(|with| !std::ptr::eq(*with, mention))
    };
    let mut base = mention.module.clone();
    let mut rest = path;
    match path[0].as_str() {
        root @ ("crate" | "wsgi_gateway") => {
            let own = root == "crate" && base.first().is_some_and(|first| first == "main");
            base.truncate(usize::from(own));
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|first| first == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        // The root's own modules, said by a root without `crate::`.
        first if base.is_empty() && FLOORS.iter().any(|(name, ..)| *name == first) => {}
        first if declared(&base, first).is_some() => {}
        first => {
            reached.insert(Target::Crate(first.to_owned()));
            return;
        }
    }
    let whole: Vec<String> = base.iter().chain(rest).cloned().collect();
    if !followed.insert(whole.clone()) {
        return;
    }
    match whole.first().map(String::as_str) {
        None => return,
        Some("*") => drop(reached.insert(Target::Floor("every floor".to_owned()))),
        Some(floor) => drop(reached.insert(Target::Floor(floor.to_owned()))),
    }
    for at in 0..whole.len() {
        let (module, tail) = (&whole[..at], &whole[at + 1..]);
        if let Some(with) = declared(module, &whole[at]) {
            let onward: Vec<String> = with.path.iter().chain(tail).cloned().collect();
            reach(uses, with, &onward, followed, reached);
        }
        for with in inside(module).iter().filter(|with| with.public) {
            if with.name.as_deref() == Some("*") && !std::ptr::eq(*with, mention) {
                let stem = &with.path[..with.path.len() - 1];
                let onward: Vec<String> = stem.iter().chain(&whole[at..]).cloned().collect();
                reach(uses, with, &onward, followed, reached);
            }
        }
    }
}

/// The crates that the build of the manifest has, as `use` names them.
fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .collect()
}

/// All `.rs` files below a folder, with their path below the first one.
fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
    fn walk(folder: &Path, below: &str, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let below = format!("{below}{name}");
            if path.is_dir() {
                walk(&path, &format!("{below}/"), files);
            } else if name.ends_with(".rs") {
                // The core is a package of its own, with floors of its own in it.
                let floor = match below.strip_prefix("python/") {
                    None => below,
                    Some("lib.rs") => "core.rs".to_owned(),
                    Some("build.rs") => continue,
                    Some(inside) => inside.to_owned(),
                };
                files.push((floor, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    walk(folder, "", files);
}
