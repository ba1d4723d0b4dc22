//! Keeps "one word a thing" in `src/`: no two types of one name, and one file for all that a type does.

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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let Some((found, name)) = declared(line) else {
                continue;
            };
            if found == keyword {
                let mut place = path.strip_prefix(&root).unwrap().display().to_string();
                if keyword == "type" {
                    place = format!("{place}:{}", number + 1);
                }
                places.entry(name.to_owned()).or_default().insert(place);
            }
        }
    }
    assert!(places.len() > 50, "the sources were not read");
    places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name}: {places:?}"))
        .collect()
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
