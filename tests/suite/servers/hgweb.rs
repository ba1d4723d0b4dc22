//! Mercurial's hgweb behind every web server, at the root and under a prefix. The client is `hg` itself, which sends its arguments
//! in headers or in bodies, bundles of megabytes, and believes no answer that is a byte short.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::sites::{self, Site, Way};
use crate::support::gateway::venv;
use crate::support::http::{Client, Page};

/// A file in the repository whose name is a trouble in a URL.
const NAME: &str = "100% #1?.txt";
/// So many bytes that do not compress, so many are pushed: above 128 KiB (mod_fcgid), 1 MB (nginx) and every buffer.
const LARGE: usize = 3_000_000;

#[test]
fn clone_and_push_work_behind_nginx() {
    clone_and_push_work(sites::behind_nginx);
}

#[test]
fn clone_and_push_work_behind_mod_cgid() {
    // One of the two: hgweb is imported for each request, and what differs between them is in front of no door.
    clone_and_push_work_at(IN_BODIES, sites::behind_mod_cgid);
}

#[test]
fn clone_and_push_work_behind_mod_fcgid() {
    clone_and_push_work(sites::behind_mod_fcgid);
}

#[test]
fn clone_and_push_work_behind_mod_proxy_fcgi() {
    clone_and_push_work(sites::behind_mod_proxy_fcgi);
}

#[test]
fn clone_and_push_work_behind_lighttpd() {
    clone_and_push_work(sites::behind_lighttpd);
}

/// Where the repositories are, and whether hg's arguments come in bodies: else in headers.
const IN_HEADERS: (&str, bool) = ("", false);
const IN_BODIES: (&str, bool) = ("/app", true);

fn clone_and_push_work(behind: Way) {
    clone_and_push_work_at(IN_HEADERS, behind);
    clone_and_push_work_at(IN_BODIES, behind);
}

fn clone_and_push_work_at((prefix, arguments_in_bodies): (&str, bool), behind: Way) {
    let site = Site::new(
        &["hgweb_site.py"],
        "os.environ[\"HGWEB_FOLDER\"] = FOLDER",
        "hgweb_site",
    );
    make_repositories(&site.data(), arguments_in_bodies);
    site.give_away();
    let Some(served) = behind(&site, prefix) else {
        return;
    };
    let mine = TempDir::new().unwrap();
    use_mercurial(served.address(), prefix, mine.path());
}

/// An empty repository `first` that anybody may push to, and `closed` that nobody may.
fn make_repositories(folder: &Path, arguments_in_bodies: bool) {
    fs::write(
        folder.join("hgweb.config"),
        format!(
            "[paths]\n/ = {}/repositories/*\n[web]\nallow-push = *\npush_ssl = no\nallow-archive = gz\n\
             [experimental]\nhttppostargs = {arguments_in_bodies}\n",
            folder.display()
        ),
    )
    .unwrap();
    for name in ["first", "closed"] {
        let repository = folder.join("repositories").join(name);
        fs::create_dir_all(&repository).unwrap();
        hg(&repository, &["init"]);
    }
    let closed = folder.join("repositories/closed/.hg/hgrc");
    fs::write(closed, "[web]\ndeny_push = *\n").unwrap();
}

/// Clones, pushes and clones again.
fn use_mercurial(address: SocketAddr, prefix: &str, folder: &Path) {
    let site = format!("http://{address}{prefix}");
    let first = format!("{site}/first");
    let [mine, yours] = ["mine", "yours"].map(|name| folder.join(name));
    hg(folder, &["clone", &first, "mine"]);
    let large = noise(LARGE);
    fs::write(mine.join("large"), &large).unwrap();
    fs::write(mine.join(NAME), "Hello\n").unwrap();
    hg(&mine, &["commit", "--addremove", "-m", "One"]);
    hg(&mine, &["push"]);

    hg(folder, &["clone", &first, "yours"]);
    assert!(fs::read(yours.join("large")).unwrap() == large);
    assert_eq!(fs::read_to_string(yours.join(NAME)).unwrap(), "Hello\n");

    // The refusal comes while the client is still sending the bundle.
    let refused = run(&mine, &["push", &format!("{site}/closed")]);
    assert_eq!(refused.status.code(), Some(255));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("authorization failed"), "{said}");

    pages(address, prefix, &large);
}

/// What somebody at a browser gets.
fn pages(address: SocketAddr, prefix: &str, large: &[u8]) {
    let text = get(address, &format!("{prefix}/first/")).text();
    for link in ["first/rev/", "first/static/style-paper.css\""] {
        let link = format!("href=\"{prefix}/{link}");
        assert!(text.contains(&link), "no {link} in {text}");
    }
    let text = get(address, &format!("{prefix}/first/file/tip")).text();
    let link = text
        .split('"')
        .find(|word| word.starts_with(prefix) && word.ends_with("%25%20%231%3F.txt"))
        .unwrap_or_else(|| panic!("no link to {NAME} in {text}"));
    let page = get(address, &link.replacen("/file/", "/raw-file/", 1));
    assert_eq!(page.text(), "Hello\n");
    let page = get(address, &format!("{prefix}/first/raw-file/tip/large"));
    assert!(page.body == large);
    let page = get(address, &format!("{prefix}/first/archive/tip.tar.gz"));
    assert!(page.body.starts_with(&[0x1f, 0x8b]) && page.body.len() > large.len());
}

fn get(address: SocketAddr, target: &str) -> Page {
    let mut client = Client::open(address);
    let host = format!("Host: {address}");
    client.begin("GET", target, &[&host, "Connection: close"], 0);
    let page = client.page("GET");
    assert_eq!((page.status, page.whole), (200, true), "{target}");
    page
}

/// `hg` that must succeed.
fn hg(folder: &Path, words: &[&str]) {
    let output = run(folder, words);
    assert!(output.status.success(), "hg {words:?}: {output:#?}");
}

/// `hg` with no configuration but what it is told here.
fn run(folder: &Path, words: &[&str]) -> Output {
    Command::new(venv().join("bin/hg"))
        .args(["--noninteractive", "--config", "ui.username=me"])
        .args(words)
        .current_dir(folder)
        .env("HGRCPATH", "")
        .env("HGENCODING", "UTF-8")
        .env("NO_PROXY", "*")
        .output()
        .unwrap()
}

/// Bytes that no compression makes fewer, the same each time (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}
