//! Files that a master that runs as root has in folders of other users, who may put anything there at any moment.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::client::{Request, fetch};
use crate::support::gateway::{Fifo, Gateway};

/// A folder of another user, and a file of root's beside it.
struct Foreign {
    folder: TempDir,
}

const TEXT: &str = "of root\n";

impl Foreign {
    /// Nothing where this user could make no such folder.
    fn new() -> Option<Foreign> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: this user is not root");
            return None;
        }
        let folder = TempDir::with_prefix("wsgi-gateway-test-foreign-").unwrap();
        let foreign = Foreign { folder };
        fs::write(foreign.victim(), TEXT).unwrap();
        fs::create_dir(foreign.at("")).unwrap();
        chown(foreign.at(""), Some(nobody()), None).unwrap();
        Some(foreign)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("folder").join(name)
    }

    fn victim(&self) -> PathBuf {
        self.folder.path().join("victim")
    }

    #[track_caller]
    fn expect_unharmed(&self) {
        let victim = self.victim();
        assert_eq!(fs::metadata(&victim).unwrap().uid(), 0);
        assert_eq!(fs::read_to_string(&victim).unwrap(), TEXT);
    }
}

fn nobody() -> u32 {
    let user = nix::unistd::User::from_name("nobody").unwrap();
    user.unwrap().uid.as_raw()
}

/// Puts a link in a socket's place as soon as there is one, until `end`; whether it came to that.
fn replace_by_link(socket: &Path, victim: &Path, end: &AtomicBool) -> bool {
    let link = socket.with_extension("link");
    symlink(victim, &link).unwrap();
    while !end.load(Ordering::Relaxed) {
        let found = fs::symlink_metadata(socket);
        if found.is_ok_and(|found| found.file_type().is_socket()) {
            return fs::rename(&link, socket).is_ok();
        }
    }
    fs::remove_file(link).unwrap();
    false
}

#[test]
fn a_link_in_the_place_of_a_socket_gives_nothing_away() {
    let Some(foreign) = Foreign::new() else {
        return;
    };
    let socket = foreign.at("gateway.sock");
    let address = format!("unix:{}", socket.display());
    // Who is quicker is chance.
    for _ in 0..12 {
        let end = AtomicBool::new(false);
        thread::scope(|scope| {
            let thief = scope.spawn(|| replace_by_link(&socket, &foreign.victim(), &end));
            let gateway = Gateway::builder("hello")
                .bind(&address)
                .args(["--socket-user", "nobody"])
                .begin();
            gateway.wait_for("a start or an end", || {
                let log = gateway.log();
                (log.contains("ready on ") || log.contains(" error: ")).then_some(())
            });
            end.store(true, Ordering::Relaxed);
            thief.join().unwrap();
        });
        foreign.expect_unharmed();
        let _ = fs::remove_file(&socket);
    }
}

/// The name is looked up first: nothing is left behind.
#[test]
fn a_socket_for_a_user_that_does_not_exist_is_not_made() {
    let builder = Gateway::builder("hello").args(["--socket-user", "no-such-user"]);
    let folder = builder.folder();
    let socket = builder.socket_path();
    // Made by somebody else meanwhile, and not ours to remove.
    let stale = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    drop(stale);
    let exit = builder.run();
    assert_ne!(exit.code, 0);
    assert!(socket.exists(), "{}", exit.log);
    drop(folder);
}

#[test]
fn a_log_file_is_no_link_of_another_user() {
    let Some(foreign) = Foreign::new() else {
        return;
    };
    symlink(foreign.victim(), foreign.at("link")).unwrap();
    symlink(foreign.folder.path(), foreign.at("on_its_way")).unwrap();
    fs::hard_link(foreign.victim(), foreign.at("twin")).unwrap();
    for name in ["link", "on_its_way/victim", "twin"] {
        let path = foreign.at(name);
        let exit = Gateway::builder("hello").arg("--log-file").arg(&path).run();
        assert_eq!(exit.code, 2, "{name}: {}", exit.log);
        assert!(exit.log.contains(path.to_str().unwrap()), "{}", exit.log);
        assert!(exit.log.contains("other users"), "{}", exit.log);
        foreign.expect_unharmed();
    }
    // A file of its own is as good as elsewhere, and so is a link of root's in a folder of root's.
    let link = foreign.folder.path().join("link");
    symlink("folder/own", &link).unwrap();
    let gateway = Gateway::builder("hello")
        .arg("--log-file")
        .arg(&link)
        .start();
    gateway.wait_for("the log", || {
        let text = fs::read_to_string(foreign.at("own")).ok()?;
        text.contains("ready on ").then_some(())
    });
    // When it is to be opened anew, there is a link.
    fs::rename(foreign.at("own"), foreign.at("old")).unwrap();
    symlink(foreign.victim(), foreign.at("own")).unwrap();
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for("a word about it", || {
        let text = fs::read_to_string(foreign.at("old")).ok()?;
        text.contains("cannot be opened anew").then_some(())
    });
    foreign.expect_unharmed();
}

#[test]
fn a_pid_file_is_no_link_of_another_user() {
    let Some(foreign) = Foreign::new() else {
        return;
    };
    let path = foreign.at("pid");
    // Would be read for ever.
    symlink("/dev/zero", &path).unwrap();
    let gateway = Gateway::builder("hello").arg("--pid").arg(&path).start();
    // The socket is there before the file.
    gateway.wait_for_log("ready on");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(gateway.terminate().code, 0);
    assert!(!path.exists());
    symlink(foreign.folder.path(), foreign.at("on_its_way")).unwrap();
    let path = foreign.at("on_its_way/victim");
    let exit = Gateway::builder("hello").arg("--pid").arg(&path).run();
    assert_eq!(exit.code, 2, "{}", exit.log);
    foreign.expect_unharmed();
}

/// Opening one would wait until somebody has the other end.
#[test]
fn a_fifo_holds_nothing_up() {
    let builder = || Gateway::builder("household.py");
    let folder = TempDir::new().unwrap();
    let fifo = Fifo::new(folder.path(), "fifo");
    for option in ["--log-file", "--pid"] {
        let exit = builder().arg(option).arg(fifo.path()).run();
        assert_ne!(exit.code, 0, "{option}");
        assert!(exit.log.contains(fifo.path()), "{}", exit.log);
    }
    // With a reader it is as good as a file, also when he does not read for a while.
    let mut reader = fs::File::options();
    let mut reader = reader.read(true).write(true).open(fifo.path()).unwrap();
    let gateway = builder().arg("--log-file").arg(fifo.path()).start();
    let page = format!("/writes?{}", "x".repeat(900));
    for _ in 0..100 {
        fetch(gateway.socket(), &Request::get(&page)).expect(200);
    }
    gateway.wait_for_line(&["fifo", "cannot be written"]);
    let mut text = [0; 4096];
    reader.read_exact(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("ready on "), "{text}");
    assert_eq!(gateway.terminate().code, 0);
}

/// What is no file may be anything, `/dev/null` for one.
#[test]
fn what_is_no_file_stays_in_the_place_of_a_pid_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pid");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let exit = Gateway::builder("hello").arg("--pid").arg(&path).run();
    assert_eq!(exit.code, 2, "{}", exit.log);
    assert!(path.exists());
}
