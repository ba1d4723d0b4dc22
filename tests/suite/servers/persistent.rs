//! Applications that CGI programs keep alive, behind the real web servers that start these programs: what a list of requests and answers
//! does not show. The list itself goes to them in the files of these servers.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::responders::Responders;
use super::{Conf, Folder, Server, apache, lighttpd, program};
use crate::support::gateway::{Fifo, apps};
use crate::support::http::Client;
use crate::support::wait;

#[test]
fn behind_mod_cgid() {
    behind_apache("event", "cgid");
}

#[test]
fn behind_mod_cgi() {
    behind_apache("prefork", "cgi");
}

fn behind_apache(mpm: &str, module: &str) {
    let responders = Responders::new();
    let server = apache::serve(mpm, module, 1, |folder| {
        write_site(folder);
        let site = apache::cgi("").replace("/srv/app", &folder.at("kept"));
        vec![site.replace("</VirtualHost>", &responders.for_apache())]
    });
    if let Some(server) = server {
        check(server, &responders);
    }
}

#[test]
fn behind_lighttpd() {
    if program("lighttpd").is_none() {
        return;
    }
    let responders = Responders::new();
    let server = lighttpd::start(|start| {
        write_site(&start.folder);
        let logs = start.folder.writable("logs");
        // Where the test looks for it; the server's user may not write there.
        let log = start.folder.path().join("breakage.log");
        symlink(format!("{logs}/breakage.log"), log).unwrap();
        let whole = "alias.url = ( \"/\" => \"/srv/site/app.py/\" )";
        Conf::read("lighttpd-cgi.conf")
            .without(&["alias.url = ( \"/app\" => \"/srv/site/app.py\" )"])
            .with(&[whole])
            .put_all("/srv/site/app.py", start.folder.at("kept/app.cgi"))
            .put(
                "\"/app.py\" => \"/usr/local/bin/wsgi-gateway\"",
                "\"/app.cgi\" => \"\"",
            )
            .put("/var/log/lighttpd", logs)
            .with(&lighttpd::KEPT)
            // The program says that itself.
            .put(lighttpd::PERSISTENT, responders.for_lighttpd())
    });
    check(server, &responders);
}

/// conf/shared-hosting's program, and the application with what it imports.
fn write_site(folder: &Folder) {
    apache::write_programs(folder, "kept", "kept_site");
    for module in ["by_name.py", "closing.py", "streaming.py"] {
        let text = fs::read(apps().join(module)).unwrap();
        folder.write(&format!("kept/{module}"), text);
    }
}

fn check(server: Server, responders: &Responders) {
    one_process_answers(&server, responders);
    a_large_body_arrives_whole(&server);
    blocks_come_while_the_application_runs(&server);
    a_traceback_is_in_the_error_log(&server);
    large_reports_hold_nothing_up(&server);
    a_client_that_leaves_ends_the_iteration(&server);
    // It has answered all of that, and is none of the processes that a web server ends with itself.
    drop(server);
    assert_eq!(responders.count(), 1, "{}", responders.ask(&["ps"]));
}

fn one_process_answers(server: &Server, responders: &Responders) {
    let who = || get(server, "/who");
    let first = who();
    assert!(first.ends_with(" False"), "{first}");
    let said = (0..3).map(|_| who());
    assert!(
        said.clone().all(|it| it == first),
        "{first}: {:?}",
        said.collect::<Vec<_>>()
    );
    let pid = first.split(' ').next().unwrap().parse().unwrap();
    let processes = responders.processes();
    assert!(processes.contains(&pid));
    // What web servers wait for the end of, and what they rotate. The program that has passed the last request on may not have ended
    // yet.
    let of_server = open_files(server.child.id());
    let is_own =
        |file: &PathBuf| file.starts_with("/dev") || file.starts_with("anon_inode:[eventpoll]");
    wait_for("nothing of the web server's is open", || {
        let open = responders.processes().into_iter().flat_map(open_files);
        let mut held: Vec<_> = open.filter(|file| !is_own(file)).collect();
        assert!(!held.is_empty() && !of_server.is_empty());
        held.retain(|file| of_server.contains(file) || file.starts_with(server.folder.path()));
        held.is_empty()
    });
}

fn a_large_body_arrives_whole(server: &Server) {
    let body: Vec<u8> = (0..=250).cycle().take(20 * 1024 * 1024).collect();
    let page = Client::open(server.address()).fetch("POST", "/sum", &body);
    // By zlib.crc32 of Python.
    assert_eq!(page.text(), "20971520 c0a6d16c", "{}", page.status);
}

fn blocks_come_while_the_application_runs(server: &Server) {
    let fifo = Fifo::new(server.folder.path(), "fifo");
    fs::set_permissions(fifo.path(), Permissions::from_mode(0o666)).unwrap();
    let mut client = Client::open(server.address());
    client.begin("GET", &format!("/blocks?{}", fifo.path()), &[], 0);
    let mut word = fifo.entered();
    assert_eq!(client.head("GET").status, 200);
    assert_eq!(client.block().unwrap(), b"first,");
    word.write_all(b".").unwrap();
    assert_eq!(client.block().unwrap(), b"second,");
    word.write_all(b".").unwrap();
    assert_eq!(client.block().unwrap(), b"third");
    assert_eq!(client.block().unwrap(), b"");
}

fn a_traceback_is_in_the_error_log(server: &Server) {
    let page = Client::open(server.address()).fetch("GET", "/fails", b"");
    assert_eq!(page.status, 500);
    assert!(!page.text().contains("on purpose"), "{}", page.text());
    wait_for("the traceback in the error log", || {
        let log = server.log();
        log.contains("Traceback") && log.contains("RuntimeError: failed on purpose")
    });
}

fn large_reports_hold_nothing_up(server: &Server) {
    assert_eq!(get(server, "/reports"), "reported twice");
    wait_for("the reports in the error log", || {
        let log = server.log();
        ["before", "behind"]
            .iter()
            .all(|word| log.matches(word).count() >= 2_000)
    });
}

fn a_client_that_leaves_ends_the_iteration(server: &Server) {
    let mark = server.folder.writable("marks") + "/mark";
    let mut client = Client::open(server.address());
    client.begin("GET", &format!("/endless?{mark}"), &[], 0);
    assert_eq!(client.head("GET").status, 200);
    assert!(!client.block().unwrap().is_empty());
    drop(client);
    wait_for("close() is called", || {
        fs::read_to_string(&mark).is_ok_and(|text| text == "closed\n")
    });
}

/// What a process has open, pipes and sockets among it.
fn open_files(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let links = entries.flatten().map(|entry| fs::read_link(entry.path()));
    links.flatten().collect()
}

fn get(server: &Server, target: &str) -> String {
    let page = Client::open(server.address()).fetch("GET", target, b"");
    assert_eq!(page.status, 200, "{}", page.text());
    page.text()
}

/// Asks until it is so.
#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    wait::until(is_so, || format!("never: {what}"));
}
