//! Who may ask for what, and what strangers can do: nothing.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use super::begin;
use crate::support::client::{Request, fetch};
use crate::support::gateway::Gateway;
use crate::support::process_table::{observer, status};

/// Somebody who is neither root nor the gateway's user, and a group.
const SOMEBODY: u32 = 54_321;
const GROUP: u32 = 54_322;

#[test]
fn only_its_user_may_ask() {
    let (_gateway, control) = begin(Gateway::builder("stuck.py"));
    let folder = control.socket.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let mode = fs::metadata(&control.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for words in [&["status"][..], &["reload"], &["stop"]] {
        let said = control.run_as(SOMEBODY, SOMEBODY, words);
        assert!(
            said.code == 1 && said.stderr.contains("may not ask"),
            "{said:#?}"
        );
    }
}

#[test]
fn a_group_may_look_and_do_nothing() {
    let group = GROUP.to_string();
    let builder = Gateway::builder("stuck.py").args(["--control-group", &group]);
    let (gateway, control) = begin(builder);
    let folder = control.socket.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let said = control.run_as(SOMEBODY, GROUP, &["status"]);
    assert_eq!(said.code, 0, "{said:#?}");
    for words in [
        &["reload"][..],
        &["stop"],
        &["resize", "3"],
        &["stacks"],
        &["reopen"],
    ] {
        let said = control.run_as(SOMEBODY, GROUP, words);
        assert!(
            said.code == 1 && said.stderr.contains("only root"),
            "{said:#?}"
        );
    }
    // Nor by what a web server could be made to send.
    let request = Request::get("/status").param("HTTP_WSGI_GATEWAY_COMMAND", "stop");
    fetch(&control.socket, &request).expect(200);
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    assert!(!gateway.log().contains("reload"), "{}", gateway.log());
}

#[test]
fn the_observer_has_no_rights() {
    let (gateway, _control) = begin(Gateway::builder("stuck.py"));
    let pid = observer(gateway.pid()).unwrap();
    assert_eq!(status(pid, "NoNewPrivs").as_deref(), Some("1"));
    let uids = status(pid, "Uid").unwrap();
    assert!(uids.split_whitespace().all(|uid| uid == "65534"), "{uids}");
    // Neither the application's sockets nor anything that can be written to but its own.
    let listens = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(listens < 24, "{listens} descriptors");
}

#[test]
fn strangers_cost_the_service_nothing() {
    let (mut gateway, control) = begin(Gateway::builder("stuck.py"));
    let mut open = Vec::new();
    for number in 0..1000_usize {
        let Ok(mut stream) = UnixStream::connect(&control.socket) else {
            continue;
        };
        let bytes: &[u8] = match number % 5 {
            0 => b"",
            1 => b"GET /status HTTP/1.1\r\nHost",
            2 => &[1, 1, 0, 1, 0, 8],
            3 => &[1, 77, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0],
            _ => &[0xff; 20_000],
        };
        // It may have been closed for want of room.
        let _ = stream.set_nonblocking(true);
        let _ = stream.write(bytes);
        open.push(stream);
    }
    let said = control.run(&["status"]);
    assert_eq!(said.code, 0, "{said:#?}");
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    // A reader that takes nothing, and one that asks for more than its turn.
    let mut greedy = UnixStream::connect(&control.socket).unwrap();
    greedy
        .write_all(b"GET /status HTTP/1.1\r\n\r\nGET /status HTTP/1.1\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    greedy.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    drop(open);
    assert!(gateway.is_unharmed());
    assert!(observer(gateway.pid()).is_some());
    assert_eq!(
        gateway.log().matches("control socket").count(),
        0,
        "{}",
        gateway.log()
    );
}
