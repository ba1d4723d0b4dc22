//! `try`: every web server with an application behind it, from one command, until that is interrupted; nothing of it stays.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use super::Folder;
use crate::support::gateway::{DEADLINE, apps, binary, path};
use crate::support::http::Client;
use crate::support::process_table::{children, is_alive, send};
use crate::support::wait;

/// One that was started. Its output is in files, which are no reason for it to wait.
struct Tried {
    child: Child,
    folder: Folder,
}

impl Tried {
    fn start(words: &[&str]) -> Tried {
        Tried::start_with(words, |_, _| {})
    }

    fn start_with(words: &[&str], prepare: impl Fn(&mut Command, &Folder)) -> Tried {
        let folder = Folder::new();
        folder.write("of the server/x y.txt", "of the server's");
        folder.writable("tmp");
        let file = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        let mut command = Command::new(binary());
        command
            .arg("try")
            .args(words)
            .arg("--workers=1")
            .current_dir(apps())
            .env("PATH", path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("TMPDIR", folder.path().join("tmp"))
            .env_remove("VIRTUAL_ENV")
            .env_remove("WSGI_GATEWAY_BUILD")
            .env_remove("WSGI_GATEWAY_CONTRACT")
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"));
        prepare(&mut command, &folder);
        let child = command.spawn().unwrap();
        Tried { child, folder }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// The URL, which is the last line.
    fn url(&mut self) -> (SocketAddr, String) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let out = self.read("out");
            if let Some(line) = out.strip_suffix('\n').and_then(|out| out.lines().last()) {
                let rest = line.strip_prefix("http://").expect("a URL");
                let (address, path) = rest.split_once('/').unwrap();
                return (
                    address.parse().unwrap(),
                    format!("/{}", path.trim_end_matches('/')),
                );
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.read("err"));
            assert!(Instant::now() < deadline, "{}", self.read("err"));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All that it has started, and what those have.
    fn family(&self) -> Vec<u32> {
        let mut found = children(self.child.id());
        let mut at = 0;
        while at < found.len() {
            let more = children(found[at]);
            found.extend(more);
            at += 1;
        }
        found
    }

    /// Ends it by a signal: its exit code, once nothing is left of it.
    fn end(mut self, signal: Signal) -> Option<i32> {
        let family = self.family();
        assert!(family.len() > 2, "{family:?}");
        send(self.child.id(), signal);
        let status = self.child.wait().unwrap();
        let are_gone = || !family.iter().any(|pid| is_alive(*pid));
        wait::until(are_gone, || {
            format!("processes are left: {}", self.read("err"))
        });
        let left: Vec<PathBuf> = fs::read_dir(self.folder.path().join("tmp"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        // Who was killed removes nothing.
        assert!(
            left.is_empty() || signal == Signal::SIGKILL,
            "left behind: {left:?}"
        );
        status.code()
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            send(self.child.id(), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// All that are installed at the same time.
#[test]
fn each_web_server_serves_until_it_is_interrupted() {
    let started: Vec<(&str, Tried)> = [
        ("nginx", "nginx"),
        ("apache", "apache2"),
        ("lighttpd", "lighttpd"),
        ("caddy", "caddy"),
        ("h2o", "h2o"),
        ("haproxy", "haproxy"),
    ]
    .into_iter()
    .filter(|(server, program)| match *server {
        "h2o" => super::h2o::h2o().is_some(),
        _ => super::program(program).is_some(),
    })
    .map(|(server, _)| {
        let tried = Tried::start_with(
            &["nginx_site", "--mount=/a%20b", "--server", server],
            |command, folder| {
                if server != "haproxy" {
                    command.arg(format!(
                        "--static=/a b/files={}",
                        folder.at("of the server")
                    ));
                }
            },
        );
        (server, tried)
    })
    .collect();
    for (at, (server, mut tried)) in started.into_iter().enumerate() {
        let (address, mount) = tried.url();
        assert_eq!(mount, "/a%20b", "{server}");
        let mut client = Client::open(address);
        client.begin(
            "GET",
            "/a%20b/variables",
            &["X-Names: SCRIPT_NAME PATH_INFO", "Connection: close"],
            0,
        );
        let page = client.page("GET");
        assert_eq!(
            page.text(),
            "SCRIPT_NAME='/a b'\nPATH_INFO='/variables'\n",
            "{server}"
        );
        if server != "haproxy" {
            let page = Client::open(address).fetch("GET", "/a%20b/files/x%20y.txt", b"");
            assert_eq!(
                (page.status, page.text()),
                (200, "of the server's".to_owned()),
                "{server}"
            );
        }
        assert!(
            tried.read("err").contains(") is ready"),
            "{}",
            tried.read("err")
        );
        let (signal, code) = match at % 3 {
            0 => (Signal::SIGINT, Some(0)),
            1 => (Signal::SIGTERM, Some(0)),
            _ => (Signal::SIGKILL, None),
        };
        assert_eq!(tried.end(signal), code, "{server}");
    }
}

/// Without --server, the first that is there. Only root can become another user.
#[test]
fn anybody_may_try_it() {
    if super::program("nginx").is_none() || !geteuid().is_root() {
        return;
    }
    let app = Folder::new();
    let (file, program) = (app.app("hello"), app.gateway_program());
    let mut tried = Tried::start_with(&[&file], |command, folder| {
        chown(folder.path().join("tmp"), Some(65_534), None).unwrap();
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let envs: Vec<_> = command
            .get_envs()
            .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
            .collect();
        let file = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        let mut other = Command::new(&program);
        other.args(words).current_dir("/").uid(65_534).gid(65_534);
        for (name, value) in envs {
            other.env(name, value.unwrap_or_default());
        }
        other
            .env_remove("VIRTUAL_ENV")
            .env_remove("WSGI_GATEWAY_BUILD")
            .env_remove("WSGI_GATEWAY_CONTRACT")
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"));
        *command = other;
    });
    let (address, _) = tried.url();
    assert!(
        tried.read("out").starts_with("nginx ("),
        "{}",
        tried.read("out")
    );
    assert_eq!(
        Client::open(address).fetch("GET", "/", b"").text(),
        "Hello, world\n"
    );
    assert_eq!(tried.end(Signal::SIGINT), Some(0));
}

#[test]
fn what_cannot_be_tried_is_told() {
    if super::program("nginx").is_none() {
        return;
    }
    for (words, code, said) in [
        (
            &["broken_import"][..],
            3,
            "No module named 'module_that_nobody_has_written'",
        ),
        (&["hello", "--bind=/run/x"], 2, "leave --bind out"),
        (
            &["hello", "--server=iis"],
            2,
            "'iis' is none of the web servers",
        ),
        (
            &["hello", "--server=haproxy", "--static=/s=/srv"],
            2,
            "HAProxy sends no files",
        ),
    ] {
        let mut tried = Tried::start(words);
        let status = tried.child.wait().unwrap();
        let err = tried.read("err");
        assert_eq!(
            (status.code(), tried.read("out")),
            (Some(code), String::new()),
            "{words:?}: {err}"
        );
        assert!(err.contains(said), "{words:?}: {err}");
    }
    // Somebody listens there already.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let mut tried = Tried::start(&["hello", "--server=lighttpd", &listen]);
    let status = tried.child.wait().unwrap();
    let mut err = String::new();
    fs::File::open(tried.folder.path().join("err"))
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(
        err.contains("lighttpd has ended with exit code") && err.contains("Address already in use"),
        "{err}"
    );
}
