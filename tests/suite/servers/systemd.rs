//! The units of `conf/systemd`: what systemd's own tools say about them, and whether the very command lines that they have do what the
//! units promise. There need be no systemd running: the tests do its part, the socket and the messages.

use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Output};

use super::{Conf, Folder, program};
use crate::support::client::{Request, fetch};
use crate::support::gateway::{DEADLINE, Gateway, apps, venv};

const SERVICE: &str = "systemd/wsgi-gateway@.service";
const SOCKET: &str = "systemd/wsgi-gateway@.socket";

#[test]
fn the_units_are_sound_and_confined() {
    let Some(program) = program("systemd-analyze") else {
        return;
    };
    let folder = Folder::new();
    // There must be a program of that name.
    let service =
        Conf::read(SERVICE).put_all("/usr/local/bin/wsgi-gateway", folder.gateway_program());
    folder.write("wsgi-gateway@.service", service.text());
    folder.write("wsgi-gateway@.socket", Conf::read(SOCKET).text());
    let units = ["wsgi-gateway@.service", "wsgi-gateway@.socket"].map(|name| folder.at(name));
    let run = |arguments: &[&str]| {
        let output = Command::new(&program).args(arguments).output().unwrap();
        said(&output)
    };
    let verified = run(&["verify", "--man=no", &units[0], &units[1]]);
    // It speaks of this machine's other units, too.
    assert!(!verified.contains("wsgi-gateway@"), "{verified}");
    // 0 is a service that can do nothing, 100 one that is not confined at all; a failure when it is above.
    let exposure = run(&[
        "security",
        "--offline=yes",
        "--threshold=25",
        "--no-pager",
        &units[0],
    ]);
    assert!(exposure.contains("exposure level"), "{exposure}");
}

#[test]
fn the_folder_of_the_sockets_is_made() {
    let Some(program) = program("systemd-tmpfiles") else {
        return;
    };
    let folder = Folder::new();
    let root = folder.writable("root");
    let line = folder.write(
        "wsgi-gateway.conf",
        Conf::read("systemd/wsgi-gateway.tmpfiles").text(),
    );
    let mut command = Command::new(program);
    command
        .arg(format!("--root={root}"))
        .arg("--create")
        .arg(line);
    said(&command.output().unwrap());
    // The folder that the socket of the other unit is in.
    let listen = setting(&Conf::read(SOCKET), "ListenStream");
    let parent = Path::new(&listen).parent().unwrap().to_owned();
    assert!(Path::new(&format!("{root}{}", parent.display())).is_dir());
}

#[test]
fn the_service_starts_reloads_and_stops_as_its_unit_says() {
    let folder = Folder::new();
    folder.write(
        "shop/wsgi.py",
        std::fs::read(apps().join("hello.py")).unwrap(),
    );
    std::os::unix::fs::symlink(venv(), folder.at("venv")).unwrap();
    let site = Conf::read("systemd/shop.toml").put_all("/srv/shop", folder.at(""));
    folder.write("etc/shop.toml", site.text());

    let unit = Conf::read(SERVICE).put_all("/etc/wsgi-gateway", folder.at("etc"));
    let start = setting(&unit, "ExecStart").replace("%i", "shop");
    let mut words = start.split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/wsgi-gateway"));
    let mut words: Vec<&str> = words.collect();
    let last = words.pop().unwrap();

    let socket = folder.at("shop.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let messages = UnixDatagram::bind(folder.at("notify")).unwrap();
    messages.set_read_timeout(Some(DEADLINE)).unwrap();
    let gateway = Gateway::builder(last)
        .auto_door()
        .args(words)
        .stdin(listener)
        .shell("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null")
        .env("NOTIFY_SOCKET", folder.at("notify"))
        .env("RUNTIME_DIRECTORY", folder.at(""))
        .env(
            "WATCHDOG_USEC",
            seconds(&unit, "WatchdogSec").to_string() + "000000",
        )
        .start();
    wait_for(&messages, "READY=1");
    let request = Request::get("/");
    assert_eq!(
        fetch(Path::new(&socket), &request).expect(200).text(),
        "Hello, world\n"
    );

    let reload = setting(&unit, "ExecReload").replace("%i", "shop");
    let mut words = reload.split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/wsgi-gateway"));
    let mut command = Command::new(crate::support::gateway::binary());
    let reloaded = command.args(words).env("RUNTIME_DIRECTORY", folder.at(""));
    said(&reloaded.output().unwrap());
    wait_for(&messages, "RELOADING=1");
    wait_for(&messages, "READY=1");
    fetch(Path::new(&socket), &request).expect(200);

    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    wait_for(&messages, "STOPPING=1");
    assert_eq!(gateway.wait().code, 0);
    assert!(Path::new(&socket).exists(), "it is systemd's");
}

#[test]
fn the_unit_gives_the_gateway_the_time_that_it_takes_itself() {
    let unit = Conf::read(SERVICE);
    let help = Command::new(crate::support::gateway::binary())
        .args(["fastcgi", "--help"])
        .output()
        .unwrap();
    let help = said(&help);
    for (option, setting) in [
        ("--startup-timeout", "TimeoutStartSec"),
        ("--graceful-timeout", "TimeoutStopSec"),
    ] {
        let said = &help[help.find(option).unwrap()..];
        let default = said.split_once("[default: ").unwrap().1.split_once("s]");
        let default: u64 = default.unwrap().0.trim().parse().unwrap();
        assert!(seconds(&unit, setting) > default, "{setting}, {option}");
    }
}

/// What a unit sets this to.
fn setting(unit: &Conf, name: &str) -> String {
    let lines = unit.text().lines();
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(values.next(), None, "a second {name}");
    value.to_owned()
}

fn seconds(unit: &Conf, name: &str) -> u64 {
    setting(unit, name).parse().unwrap()
}

/// What a program that must succeed has written.
fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Takes messages until there is one with this line.
fn wait_for(messages: &UnixDatagram, wanted: &str) {
    let mut message = [0; 4096];
    loop {
        let length = messages
            .recv(&mut message)
            .unwrap_or_else(|error| panic!("{wanted}: {error}"));
        let text = String::from_utf8_lossy(&message[..length]);
        if text.lines().any(|line| line == wanted) {
            return;
        }
    }
}
