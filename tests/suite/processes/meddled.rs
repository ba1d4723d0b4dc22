//! Applications that close or shut down what is the gateway's: each worker that cannot go on is replaced, by one that can, and
//! none says so more than a few times.

use std::net::{self, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request};
use crate::support::gateway::{Builder, Gateway};
use crate::support::process_table::is_alive;

fn builder() -> Builder {
    Gateway::builder("meddling.py")
}

/// Where a gateway listens.
#[derive(Debug)]
enum Place {
    File(PathBuf),
    Abstract(SocketAddr),
    Tcp(net::SocketAddr),
}

impl Place {
    /// Nothing while nobody listens.
    fn connect(&self) -> Option<Connection> {
        Some(match self {
            Place::File(path) => Connection::over(UnixStream::connect(path).ok()?),
            Place::Abstract(name) => Connection::over(UnixStream::connect_addr(name).ok()?),
            Place::Tcp(address) => Connection::over_tcp(TcpStream::connect(address).ok()?),
        })
    }

    /// The answer, if there is one: who waits at a socket that is shut down is let go.
    fn ask(&self, path: &str) -> Option<String> {
        let mut connection = self.connect()?;
        connection.write_some(&Request::get(path).bytes());
        let answer = connection.response(1);
        (answer.status == 200).then(|| answer.text())
    }
}

fn start(kind: &str, word: &str) -> (Gateway, Place) {
    match kind {
        "file" => {
            let gateway = builder().start();
            let place = Place::File(gateway.socket().to_owned());
            (gateway, place)
        }
        "tcp" => {
            let gateway = builder().bind_tcp().start();
            let place = Place::Tcp(gateway.address());
            (gateway, place)
        }
        _ => {
            let name = format!("wsgi-gateway-test-{}-{word}", std::process::id());
            let gateway = builder().bind(format!("unix:@{name}")).start();
            (
                gateway,
                Place::Abstract(SocketAddr::from_abstract_name(name).unwrap()),
            )
        }
    }
}

/// How many warnings and errors there are, however long each is; without what only a busy machine has to say.
fn trouble(log: &str) -> usize {
    let is_trouble = |line: &&str| line.contains(" warn: ") || line.contains(" error: ");
    let is_load = |line: &&str| line.contains("workers are busy and requests wait");
    let lines = log.lines().filter(is_trouble);
    lines.filter(|line| !is_load(line)).count()
}

#[test]
fn a_worker_whose_listener_has_stopped_working_is_replaced() {
    for kind in ["file", "abstract", "tcp"] {
        for word in ["close", "replace", "shut", "shut-reading"] {
            let (gateway, place) = start(kind, word);
            gateway.wait_for_log("ready on ");
            for turn in 1..=2 {
                let before = place.ask(&format!("/{word}")).unwrap();
                gateway.wait_for(&format!("{kind} {word}: another worker"), || {
                    let answer = place.ask("/pid")?;
                    (answer != before).then_some(())
                });
                let log = gateway.log();
                assert!(trouble(&log) <= 6 * turn, "{kind} {word}: {log}");
            }
            let exit = gateway.terminate();
            assert_eq!(exit.code, 0, "{kind} {word}: {}", exit.log);
        }
    }
}

/// A socket that somebody else has made: only he can make it anew, unless it is a port.
#[test]
fn a_given_socket_that_is_shut_down_is_the_end() {
    let builder = builder();
    let path = builder.folder().path().join("given.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gateway = builder.args(["--workers", "2"]).stdin(listener).start();
    let place = Place::File(path);
    place.ask("/shut").unwrap();
    let exit = gateway.wait();
    assert_eq!(exit.code, 1, "{}", exit.log);
    assert!(exit.log.contains("only who made it"), "{}", exit.log);
    assert!(trouble(&exit.log) < 12, "{}", exit.log);
}

/// There is nothing that would help, but a log that can be read.
#[test]
fn an_import_that_breaks_what_is_the_gateway_s_fills_no_log() {
    for word in ["close", "shut", "all"] {
        for option in ["--max-requests-jitter=0", "--preload"] {
            let builder = builder().env("TEST_MEDDLE", word).arg(option);
            let gateway = builder.begin();
            gateway.wait_for_log("imported");
            // Where it could be said to serve, it has as much to do once more.
            let mut is_told = false;
            gateway.wait_for("the end of a reload, a third try, or the end", || {
                let log = gateway.log();
                if log.contains("ready on ") && !is_told {
                    gateway.signal(Signal::SIGHUP);
                    is_told = true;
                }
                let tries = log.matches("imported").count();
                let is_reloaded = log.contains("reload: done") || log.contains("reload: failed");
                (is_reloaded || tries >= 3 || !is_alive(gateway.pid())).then_some(())
            });
            let log = gateway.log();
            assert!(log.lines().count() < 100, "{word} {option}: {log}");
        }
    }
}

/// Everything at once, or what workers and master need of each other, which is not missed before it is.
#[test]
fn a_request_that_closes_what_is_the_gateway_s_costs_its_worker_only() {
    for word in ["all", "channels"] {
        for threads in ["1", "4"] {
            let gateway = builder().args(["--threads", threads]).start();
            let place = Place::File(gateway.socket().to_owned());
            let before = place.ask("/pid").unwrap();
            // Its connection is among what is closed.
            let _ = place.ask(&format!("/{word}"));
            gateway.wait_for(&format!("{word}: an answer"), || {
                let answer = place.ask("/pid")?;
                (answer != before || word != "all").then_some(())
            });
            let exit = gateway.terminate();
            assert_eq!(exit.code, 0, "{word}: {}", exit.log);
            assert!(trouble(&exit.log) < 12, "{word}: {}", exit.log);
        }
    }
}

// ---- Descriptors 0, 1 and 2

/// What the application prints would go to a client.
#[test]
fn standard_descriptors_that_are_closed_become_no_connection() {
    for threads in ["1", "4"] {
        for option in ["--max-requests-jitter=0", "--preload"] {
            let builder = builder().args(["--threads", threads, option]);
            let gateway = builder.env("TEST_MEDDLE", "standard").start();
            let place = Place::File(gateway.socket().to_owned());
            gateway.wait_until_ready(1);
            place.ask("/babble").unwrap();
            place.ask("/standard").unwrap();
            let count = gateway.fd_count();
            for _ in 0..8 {
                let found = place.ask("/describe").unwrap();
                for number in 0..3 {
                    let line = found.lines().nth(number).unwrap();
                    assert_eq!(line, format!("{number} /dev/null"), "{found}");
                }
                place.ask("/standard").unwrap();
                let mut kept = place.connect().unwrap();
                let request = Request::get("/standard").keep();
                for _ in 0..3 {
                    assert_eq!(
                        kept.request(&request).expect(200).text(),
                        gateway.worker().to_string()
                    );
                }
            }
            gateway.wait_for("no descriptor more", || {
                (gateway.fd_count() <= count).then_some(())
            });
            assert_eq!(gateway.terminate().code, 0);
        }
    }
}
