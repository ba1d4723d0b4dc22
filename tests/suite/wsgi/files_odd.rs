//! `wsgi.file_wrapper` with files whose size is not what they hold: what `read()` would give is what arrives, and a cut is told.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::client::{Connection, Request, STDOUT};
use crate::support::doors::Doors;
use crate::support::gateway::Gateway;

const APP: &str = "lengths_odd:application";

fn with(name: &str, file: &Path) -> Request {
    Request::get(&format!("/{name}?{}", file.display()))
}

fn file(folder: &TempDir, size: usize) -> PathBuf {
    let path = folder.path().join("file");
    fs::write(&path, b"0123456789".repeat(size / 10)).unwrap();
    path
}

/// Files of the kernel: of a page's size (sysfs) or of none (/proc).
#[test]
fn a_file_of_the_kernel_arrives_as_it_is_read() {
    let doors = Doors::open(APP);
    let mut sent = 0;
    for path in [
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/mm/transparent_hugepage/defrag",
        "/sys/devices/system/cpu/online",
        "/sys/kernel/uevent_seqnum",
        "/proc/version",
        "/proc/filesystems",
    ] {
        let Ok(content) = fs::read(path) else {
            continue;
        };
        for name in ["file", "file_unbuffered"] {
            for answer in doors.ask(&with(name, Path::new(path))) {
                assert!(
                    answer.complete && answer.body == content,
                    "{path}: {answer:#?}"
                );
            }
        }
        sent += 1;
    }
    assert!(sent >= 2, "there are neither /proc nor /sys");
    let log = doors.close();
    assert!(!log.contains("error"), "{log}");
}

/// Who announces the size of such a file announces what does not come.
#[test]
fn a_size_that_is_too_large_is_told() {
    let path = Path::new("/sys/devices/system/cpu/online");
    let Ok(content) = fs::read_to_string(path) else {
        return;
    };
    let doors = Doors::open(APP);
    for answer in doors.ask(&with("file_with_size", path)) {
        answer.is_cut_after(200, &content).logged("Content-Length");
    }
}

#[test]
fn a_file_that_grows_or_shrinks_is_sent_to_its_end() {
    let doors = Doors::open(APP);
    let folder = TempDir::new().unwrap();
    for (name, length) in [("grows", 200_000), ("shrinks", 70_000), ("vanishes", 0)] {
        for door in 0..2 {
            let path = file(&folder, 150_000);
            let request = with(name, &path);
            let answer = if door == 0 {
                doors.fastcgi(&request)
            } else {
                doors.cgi(&request)
            };
            assert!(answer.complete, "{answer:#?}");
            assert!(
                answer.body == fs::read(&path).unwrap(),
                "{name}: {}",
                answer.body.len()
            );
            assert_eq!(answer.body.len(), length, "{name}");
        }
    }
    let path = file(&folder, 1000);
    for answer in doors.ask(&with("beyond_the_end", &path)) {
        answer.is(200, "");
    }
    let log = doors.close();
    assert!(!log.contains("error"), "{log}");
}

#[test]
fn a_file_that_changes_is_held_against_its_content_length() {
    let doors = Doors::open(APP);
    let folder = TempDir::new().unwrap();
    for door in 0..2 {
        let ask = |request: &Request| {
            if door == 0 {
                doors.fastcgi(request)
            } else {
                doors.cgi(request)
            }
        };
        let answer = ask(&with("grows_with_size", &file(&folder, 150_000)));
        assert!(
            answer.complete && answer.body.len() == 150_000,
            "{answer:#?}"
        );
        let answer = ask(&with("shrinks_with_size", &file(&folder, 150_000)));
        assert!(
            !answer.complete && answer.body.len() == 70_000,
            "{answer:#?}"
        );
        answer.logged("Content-Length");
        // Nothing has left.
        let answer = ask(&with("vanishes_with_size", &file(&folder, 150_000)));
        answer.is_error_page().logged("Content-Length");
    }
}

/// The file loses its end while the client takes its time: never half of a record, and never in silence.
#[test]
fn a_file_that_shrinks_while_it_is_sent() {
    let gateway = Gateway::start(APP, &[]);
    let folder = TempDir::new().unwrap();
    for (name, size) in [("file", 20_000_000), ("file_with_size", 20_000_000)] {
        let path = file(&folder, size);
        let mut connection = Connection::open(gateway.socket());
        connection.write(&with(name, &path).keep().bytes());
        assert_eq!(connection.read_record().unwrap().kind, STDOUT);
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        // A cut inside a record, where the kernel was about to fill one, is a cut all the same.
        let rest = connection.read_to_eof_or_end();
        assert!(rest < size, "{rest} bytes came of a file that is gone");
        if name == "file_with_size" {
            gateway.wait_for_log("file_with_size");
        }
    }
    let mut connection = Connection::open(gateway.socket());
    let next = connection.request(&Request::get("/exact").keep());
    assert_eq!(next.expect(200).text(), "abc");
}
