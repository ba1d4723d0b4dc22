//! Reads `tests/captures/`: what web servers were seen to send, and what the application must see of it.
//!
//! One file a set-up. `# ` says what it is; `door` and `mount` how the gateway stands behind it and where the application
//! lies; `needs-mount` why the variables do not tell that. Then the requests, each by its request line; the lines below
//! it, which begin with a space, are the variables as sent: all of them for the first request, what differs from the first
//! one for the others (`!NAME`: not sent, or sent otherwise). A line with `: ` is a variable that the application must see
//! otherwise than sent (`!NAME`: not at all). The last line is the verdict, which follows from the URL that was asked for:
//!
//! - `-> PATH`: PATH_INFO is this and SCRIPT_NAME is the mount, with and without `--mount`
//! - `mount -> PATH`: the same, with `--mount` only
//! - `mount 404`: with `--mount` the application does not see the request
//! - `lost WHY`: the web server has lost it
//!
//! and a line with `? ` above it says why `--mount` is needed, where it is for single requests.
//!
//! Bytes that are no printable ASCII are `\xNN`. Variables that say nothing about a request's place (the addresses, the
//! document root, PATH_TRANSLATED ...) were left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::client::Pair;

/// One web server, configured in one way.
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) is_cgi: bool,
    pub(crate) mount: String,
    pub(crate) needs_mount: bool,
    pub(crate) requests: Vec<Captured>,
}

/// One request.
pub(crate) struct Captured {
    /// Where it stands: for messages.
    pub(crate) place: String,
    pub(crate) sent: Vec<Pair>,
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) verdict: Verdict,
}

/// What must become of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Always(Vec<u8>),
    WithMount(Vec<u8>),
    OutsideMount,
    Lost,
}

pub(crate) type Environ = BTreeMap<Vec<u8>, Vec<u8>>;

impl Captured {
    /// The variables that the application must see when PATH_INFO is this.
    pub(crate) fn environ(&self, mount: &str, path_info: &[u8]) -> Environ {
        let mut environ: Environ = self.sent.iter().cloned().collect();
        for (name, value) in &self.changes {
            match value {
                Some(value) => drop(environ.insert(name.clone(), value.clone())),
                None => drop(environ.remove(name)),
            }
        }
        environ
            .entry(b"wsgi.url_scheme".to_vec())
            .or_insert_with(|| b"http".to_vec());
        environ.insert(b"SCRIPT_NAME".to_vec(), prefix(mount).into());
        environ.insert(b"PATH_INFO".to_vec(), path_info.to_vec());
        environ
    }
}

/// SCRIPT_NAME of an application that is mounted there.
pub(crate) fn prefix(mount: &str) -> &str {
    mount.trim_end_matches('/')
}

/// All of them.
pub(crate) fn setups() -> Vec<Setup> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let setups: Vec<Setup> = files.iter().map(|file| read(file)).collect();
    assert!(setups.len() >= 120, "{} set-ups", setups.len());
    setups
}

fn read(file: &Path) -> Setup {
    let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut setup = Setup {
        name: name.clone(),
        is_cgi: false,
        mount: String::new(),
        needs_mount: false,
        requests: Vec::new(),
    };
    let mut differs: Vec<String> = Vec::new();
    let mut changes = Vec::new();
    let mut place = String::new();
    for (number, line) in fs::read_to_string(file).unwrap().lines().enumerate() {
        let word = line.split(' ').next().unwrap();
        let rest = line.strip_prefix(word).unwrap().trim_start();
        match word {
            "#" => {}
            "" => differs.push(line[1..].to_owned()),
            "?" => {}
            ":" => changes.push(change(rest)),
            "door" => setup.is_cgi = rest == "cgi",
            "mount" if setup.mount.is_empty() => setup.mount = rest.to_owned(),
            "needs-mount" => setup.needs_mount = true,
            "->" | "mount" | "lost" => {
                let first = setup.requests.first().map(|first| &first.sent[..]);
                let sent = apply(first.unwrap_or_default(), &differs);
                setup.requests.push(Captured {
                    place: place.clone(),
                    sent,
                    changes: std::mem::take(&mut changes),
                    verdict: verdict(line),
                });
                differs.clear();
            }
            _ => place = format!("tests/captures/{name}.txt:{}: {line}", number + 1),
        }
    }
    assert!(!setup.requests.is_empty() && differs.is_empty(), "{name}");
    setup
}

fn verdict(line: &str) -> Verdict {
    match line.split_once("->") {
        Some(("", path)) => Verdict::Always(bytes(path.trim_start())),
        Some(("mount ", path)) => Verdict::WithMount(bytes(path.trim_start())),
        _ if line == "mount 404" => Verdict::OutsideMount,
        _ => Verdict::Lost,
    }
}

fn change(line: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    match line.strip_prefix('!') {
        Some(name) => (bytes(name), None),
        None => {
            let (name, value) = line.split_once('=').unwrap();
            (bytes(name), Some(bytes(value)))
        }
    }
}

fn apply(first: &[Pair], differs: &[String]) -> Vec<Pair> {
    let mut sent = first.to_vec();
    // Those of the first request, each with its value there: what follows under such a name takes its place.
    let mut places: Vec<Vec<u8>> = first.iter().map(|pair| pair.0.clone()).collect();
    for line in differs {
        let (name, value) = change(line);
        let Some(value) = value else {
            sent.retain(|pair| pair.0 != name);
            places.retain(|place| *place != name);
            continue;
        };
        if places.contains(&name) {
            let pair = sent.iter_mut().find(|pair| pair.0 == name).unwrap();
            pair.1 = value;
        } else {
            sent.push((name, value));
        }
    }
    sent
}

/// What a line's text stands for.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend(rest[..at].bytes());
        if let Some(digits) = rest[at + 1..].strip_prefix('x') {
            bytes.push(u8::from_str_radix(&digits[..2], 16).unwrap());
            rest = &digits[2..];
        } else {
            bytes.push(b'\\');
            rest = &rest[at + 2..];
        }
    }
    bytes.extend(rest.bytes());
    bytes
}
