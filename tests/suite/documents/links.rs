//! Whether the links of a document lead somewhere: files and headings of the repository, and of what is elsewhere only the hosts that are
//! known here, because a test has no network.

use std::path::{Component, Path, PathBuf};

use super::blocks::Document;

/// Whose pages the documents link to.
const HOSTS: [&str; 5] = [
    "peps.python.org",
    "www.rfc-editor.org",
    "fastcgi-archives.github.io",
    "localhost",
    "127.0.0.1",
];

/// What is wrong with a document's links.
pub(super) fn broken(document: &Document) -> Vec<String> {
    let mut found = Vec::new();
    for (line, target) in &document.links {
        if let Some(what) = wrong(document, target) {
            found.push(format!(
                "{}:{line}: {target}: {what}",
                document.path.display()
            ));
        }
    }
    found
}

fn wrong(document: &Document, target: &str) -> Option<&'static str> {
    if let Some((_, rest)) = target.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return (!HOSTS.contains(&host))
            .then_some("a host that tests/suite/documents/links.rs does not know");
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => document.path.clone(),
        file => plain(&document.path.with_file_name(file)),
    };
    if !super::root().join(&path).exists() {
        return Some("there is no such file");
    }
    if anchor.is_empty() {
        return None;
    }
    let anchors = anchors(&Document::read(&path).headings);
    (!anchors.iter().any(|name| name == anchor)).then_some("there is no such heading")
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// The names that GitHub gives to headings: lower case, hyphens for spaces, without other signs; a number where one comes again.
fn anchors(headings: &[String]) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for heading in headings {
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let name: String = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let again = (1..).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.clone()).chain(again);
        let free = names.find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}
