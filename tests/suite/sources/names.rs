//! Keeps "one word a thing" in `src/`: no two types of one name, one file for all that a type does, and the nouns of the
//! specifications and of other servers' process managers, not ones of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What stands in a line of the left column is what the line says, as `keyword name`.
const LINES: [(&str, Option<(&str, &str)>); 12] = [
    ("struct A;", Some(("type", "A"))),
    ("pub struct A<'a> {", Some(("type", "A"))),
    ("pub(super) enum Ab {", Some(("type", "Ab"))),
    ("pub(in crate::b) trait A: C {", Some(("type", "A"))),
    ("type A = B;", Some(("type", "A"))),
    ("    enum A {", Some(("type", "A"))),
    // What a trait asks its types for.
    ("    type Err = String;", None),
    ("// struct A", None),
    ("let structure = A;", None),
    ("impl A {", Some(("impl", "A"))),
    ("impl<'a, T: B<'a>> A<'a, T> {", Some(("impl", "A"))),
    ("impl B for A {", None),
];

/// Words of its own that `src/` once had, and what the same thing is called.
const GONE: [(&str, &str); 16] = [
    ("baton", "leadership"),
    ("bench", "disarm"),
    ("birth", "ChildSetup"),
    ("claim", "AnswerOnce"),
    ("crew", "Service"),
    ("duty", "WorkerContext"),
    ("heir", "replacement"),
    ("minder", "Controller"),
    ("nudge", "wake"),
    ("Order", "ForkRequest"),
    ("Orders", "ForkRequests"),
    ("Place", "WorkerSlot"),
    ("Post", "WorkerArgs"),
    ("rouse", "wake_other"),
    ("seat", "ThreadSlot"),
    ("wear", "RecycleLimits"),
];

#[test]
fn words_that_were_renamed_stay_gone() {
    let gone = BTreeMap::from(GONE);
    let mut found = Vec::new();
    for (place, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric());
            let words = words.map(str::to_ascii_lowercase);
            // Those in capitals are everybody's words but for the types.
            let types = declared(line).filter(|(keyword, _)| *keyword == "type");
            let mut all = words.chain(types.map(|(_, name)| name.to_owned()));
            if let Some((old, new)) = all.find_map(|word| gone.get_key_value(word.as_str())) {
                found.push(format!("{place}:{}: {old}: say {new}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_type_name_stands_for_two_types() {
    let twice = in_several_files("type");
    assert!(
        twice.is_empty(),
        "give each a name of its own:\n{}",
        twice.join("\n")
    );
}

#[test]
fn a_type_is_implemented_in_one_file() {
    let spread = in_several_files("impl");
    assert!(
        spread.is_empty(),
        "one file for each type, or a type for each file:\n{}",
        spread.join("\n")
    );
}

#[test]
fn lines_are_understood() {
    for (line, expected) in LINES {
        assert_eq!(declared(line), expected, "{line}");
    }
}

/// The names that this keyword has in more than one place, and where.
fn in_several_files(keyword: &str) -> Vec<String> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let Some((found, name)) = declared(line) else {
                continue;
            };
            if found == keyword {
                let place = match keyword {
                    "type" => format!("{path}:{}", number + 1),
                    _ => path.clone(),
                };
                places.entry(name.to_owned()).or_default().insert(place);
            }
        }
    }
    places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name}: {places:?}"))
        .collect()
}

/// The files of `src/`, with their paths below it.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "the sources were not read");
    let named = |path: std::path::PathBuf| {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        (name, fs::read_to_string(path).unwrap())
    };
    files.into_iter().map(named).collect()
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The type that a line declares, or to which it adds.
fn declared(line: &str) -> Option<(&'static str, &str)> {
    let rest = line.trim_start();
    let rest = match rest.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => rest,
    };
    let name = |rest: &'_ str| {
        rest.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len())
    };
    for keyword in ["struct ", "enum ", "trait ", "union ", "type "] {
        if let Some(rest) = rest.strip_prefix(keyword) {
            let is_associated = keyword == "type " && line.starts_with(' ');
            return (!is_associated).then(|| ("type", &rest[..name(rest)]));
        }
    }
    let rest = rest.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        Some(rest) => {
            let mut depth = 1;
            let end = rest.find(|c| {
                depth += i32::from(c == '<') - i32::from(c == '>');
                depth == 0
            })?;
            &rest[end + 1..]
        }
        None => rest,
    };
    let rest = rest.strip_prefix(' ')?;
    (!rest.contains(" for ")).then(|| ("impl", &rest[..name(rest)]))
}
