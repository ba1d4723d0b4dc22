//! Build script of the program: what it and the cores have in common, so that those of different builds know each other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Where the two sides' common words are: how a worker's settings, its messages to the master, its slot of the scoreboard and its lines
/// of requests look.
const CONTRACT: [&str; 8] = [
    "src/config",
    "src/process/channel.rs",
    "src/process/messages.rs",
    "src/process/service.rs",
    "src/process/scoreboard.rs",
    "src/process/counters.rs",
    "src/process/lines",
    "src/fastcgi/handoff.rs",
];

/// The core's own, of which the program knows nothing.
const CORE: &str = "src/python";

fn main() {
    let contract = digest(&CONTRACT.map(PathBuf::from));
    let build = format!(
        "{}-{}",
        env::var("CARGO_PKG_VERSION").unwrap_or_default(),
        digest(&[PathBuf::from("src")])
    );
    println!("cargo::rerun-if-changed=scripts/build.rs");
    if let Some(commit) = commit() {
        println!("cargo::rustc-env=WSGI_GATEWAY_COMMIT={commit}");
    }
    println!("cargo::metadata=CONTRACT={contract}");
    println!("cargo::rustc-env=WSGI_GATEWAY_CONTRACT={contract}");
    println!("cargo::rustc-env=WSGI_GATEWAY_BUILD={build}");
}

/// The commit that the sources are of, with a `+` where they have changed since. None in a tarball, if WSGI_GATEWAY_COMMIT does not
/// say it, nor for who develops, whose next commit would have all built anew.
fn commit() -> Option<String> {
    println!("cargo::rerun-if-env-changed=WSGI_GATEWAY_COMMIT");
    if let Ok(told) = env::var("WSGI_GATEWAY_COMMIT") {
        return Some(told).filter(|told| !told.is_empty());
    }
    if env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return None;
    }
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // Not that of a repository around these sources.
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != env::current_dir().ok()?.canonicalize().ok()? {
        return None;
    }
    println!(
        "cargo::rerun-if-changed={}",
        git(&["rev-parse", "--git-path", "logs/HEAD"])?
    );
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let has_changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if has_changed.is_empty() {
        commit
    } else {
        commit + "+"
    })
}

/// A short word for what stands in these files and folders.
fn digest(places: &[PathBuf]) -> String {
    // FNV-1a: nobody has to be kept from finding two texts of the same word.
    let mut word: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            word = (word ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for file in places.iter().flat_map(|place| files(place)) {
        println!("cargo::rerun-if-changed={}", file.display());
        add(file.as_os_str().as_encoded_bytes());
        add(&fs::read(&file).unwrap_or_default());
    }
    format!("{word:016x}")
}

fn files(place: &Path) -> Vec<PathBuf> {
    if place == Path::new(CORE) {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(place) else {
        return vec![place.to_owned()];
    };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries.iter().flat_map(|entry| files(entry)).collect()
}
