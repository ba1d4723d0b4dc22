//! Two hosts behind one web server, started with the files of `conf/larger`: under load one is drained and one is killed, and both come
//! back. Each host is a gateway on a TCP port of loopback.

use std::collections::BTreeMap;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Conf, Server, haproxy, program, server_user};
use crate::support::gateway::{Fifo, Gateway, free_port};
use crate::support::http::Client;
use crate::support::wait;

#[test]
fn nginx_loses_no_request_of_a_drained_host() {
    if program("nginx").is_some() {
        a_site_of_two_hosts(nginx);
    }
}

#[test]
fn haproxy_loses_no_request_of_a_drained_host() {
    if program("haproxy").is_some() {
        a_site_of_two_hosts(haproxy);
    }
}

/// As many clients ask at once; a request of each is the most that may be in work on a host.
const CLIENTS: usize = 8;

fn a_site_of_two_hosts(start: fn([SocketAddr; 2]) -> Server) {
    let addresses = [free_port("127.0.0.1:0"), free_port("127.0.0.1:0")];
    let one = host("one", addresses[0]);
    let server = start(addresses);

    // A request that host one is at while everything else happens.
    let fifo = Fifo::new(one.folder(), "fifo");
    let mut waiting = Client::open(server.address());
    waiting.begin("GET", &format!("/wait?{}", fifo.path()), &[], 0);
    let entered = fifo.entered();

    let mut two = Some(host("two", addresses[1]));
    let load = Load::new(server.address());
    thread::scope(|scope| {
        let load = &load;
        let _stop = StopAtEnd(load);
        for number in 0..CLIENTS {
            scope.spawn(move || load.run(number));
        }
        // A host that was not there when it all began is found.
        load.wait_for_more("two", 50);
        load.wait_for_more("one", 50);

        // Drained: it finishes what it has, and what comes goes to the other.
        one.signal(Signal::SIGTERM);
        one.wait_for_log("told to end");
        load.wait_for_more("two", 200);
        drop(entered);
        let page = waiting.page("GET");
        assert_eq!((page.status, page.text().as_str()), (200, "one, 0 bytes"));
        assert_eq!(one.wait().code, 0);
        load.wait_for_more("two", 200);
        assert_eq!(load.failed(), [""; 0], "a host was drained");

        // Back again.
        let one = host("one", addresses[0]);
        load.wait_for_more("one", 50);
        load.wait_for_more("two", 50);
        assert_eq!(load.failed(), [""; 0], "a host has come back");

        // Killed: what it had in work may be lost, and nothing else.
        two.take().unwrap().signal(Signal::SIGKILL);
        load.wait_for_more("one", 200);
        let failed = load.failed();
        assert!(failed.len() <= CLIENTS, "{failed:?}");
        load.wait_for_more("one", 200);
        assert_eq!(load.failed().len(), failed.len(), "{:?}", load.failed());
        drop(one);
    });
}

/// A gateway that listens there.
fn host(name: &str, address: SocketAddr) -> Gateway {
    Gateway::builder("several_hosts")
        .bind_address(address)
        .env("TEST_HOST", name)
        .args(["--workers", "2", "--threads", "2", "--allow", "127.0.0.1"])
        .start()
}

/// nginx in front of these hosts.
pub(super) fn nginx(hosts: [SocketAddr; 2]) -> Server {
    let program = program("nginx").expect("asked for before");
    Server::start(1, |start| {
        let mut conf = filled_in(Conf::read("larger/nginx.conf"), hosts)
            .put("127.0.0.1:8080", start.address().to_string());
        if server_user().is_none() {
            conf = conf.without(&["user www-data;"]);
        }
        let conf = start.folder.write("nginx.conf", conf.text());
        let mut nginx = Command::new(&program);
        nginx.args(["-e", "stderr", "-g", "daemon off;", "-p"]);
        nginx.arg(start.folder.path()).arg("-c").arg(conf);
        nginx
    })
}

/// HAProxy in front of these hosts.
pub(super) fn haproxy(hosts: [SocketAddr; 2]) -> Server {
    let program = program("haproxy").expect("asked for before");
    Server::start(1, |start| {
        let conf = filled_in(Conf::read("larger/haproxy.cfg"), hosts)
            .put("127.0.0.1:8080", start.address().to_string());
        let conf = haproxy::as_server_user(conf);
        let conf = start.folder.write("haproxy.cfg", conf.text());
        let mut haproxy = Command::new(&program);
        haproxy.arg("-db").arg("-f").arg(conf);
        haproxy
    })
}

fn filled_in(conf: Conf, hosts: [SocketAddr; 2]) -> Conf {
    // The comments have the first address, too.
    conf.put_all("10.0.0.11:9000", hosts[0].to_string())
        .put_all("10.0.0.12:9000", hosts[1].to_string())
}

/// Clients that ask without end, one request at a time each, every other one a POST, and account for every answer.
struct Load {
    address: SocketAddr,
    stop: AtomicBool,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    /// How often each host has answered.
    served: BTreeMap<String, usize>,
    /// What came in place of an answer.
    failed: Vec<String>,
}

impl Load {
    fn new(address: SocketAddr) -> Load {
        Load {
            address,
            stop: AtomicBool::new(false),
            tally: Mutex::default(),
        }
    }

    /// One client.
    fn run(&self, number: usize) {
        let mut kept = None;
        for request in number.. {
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            let mut client = kept.take().unwrap_or_else(|| Client::open(self.address));
            let (method, body) = if request % 2 == 0 {
                ("GET", &b""[..])
            } else {
                ("POST", &[b'x'; 1000][..])
            };
            client.begin(method, "/page", &[], body.len());
            client.write(body);
            let page = client.final_page(method);
            let text = page
                .as_ref()
                .map(|page| (page.status, page.whole, page.text()));
            let mut tally = self.tally.lock().unwrap();
            let ending = format!(", {} bytes", body.len());
            match &text {
                Some((200, true, text)) if text.ends_with(&ending) => {
                    let host = text.trim_end_matches(&ending).to_owned();
                    *tally.served.entry(host).or_default() += 1;
                    let ends = page.and_then(|page| page.field("Connection").map(str::to_owned));
                    kept = (ends.as_deref() != Some("close")).then_some(client);
                }
                _ => tally.failed.push(format!("{method}: {text:?}")),
            }
            drop(tally);
            // It is not the rate that matters.
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn served(&self, host: &str) -> usize {
        let tally = self.tally.lock().unwrap();
        tally.served.get(host).copied().unwrap_or_default()
    }

    fn failed(&self) -> Vec<String> {
        self.tally.lock().unwrap().failed.clone()
    }

    /// Waits until this host has answered so many more requests.
    fn wait_for_more(&self, host: &str, count: usize) {
        let wanted = self.served(host) + count;
        let otherwise = || format!("host {host} is not asked; {:?}", self.failed());
        wait::until(|| self.served(host) >= wanted, otherwise);
    }
}

struct StopAtEnd<'a>(&'a Load);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
    }
}
