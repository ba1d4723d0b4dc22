//! What an HTTP client sees through real web servers of a response that the application did not finish: whether it can tell, and whether
//! it can tell at once.
//!
//! The client keeps its connection, as browsers do. With a Content-Length it can tell by itself, but only when the web server ends that
//! connection: one that takes the response for finished waits for the next request, and the client for the rest. Without one it is up to the
//! web server, and no gateway can do more than break the protocol: the servers that make a whole page of that do so of every end that
//! there is.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::{
    Conf, Folder, Server, apache, caddy, gateway, h2o, haproxy, larger, lighttpd, nginx, program,
};
use crate::support::gateway::{Fifo, Gateway, free_port};
use crate::support::http::{Client, Page};

/// What the client makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// An answer that breaks off, or none at all, or an error page.
    Cut,
    /// A page like any other.
    Whole,
    /// Nothing, for as long as the web server waits for the next request.
    Waits,
}
use Seen::{Cut, Waits, Whole};

/// Less than any server here waits for a next request, and much more than any takes to end a connection.
const AT_ONCE: Duration = Duration::from_secs(20);

/// The lengths of body after which the application breaks off at once.
const LENGTHS: [usize; 2] = [1_000, 100_000];

/// What is seen without a Content-Length.
#[derive(Clone, Copy)]
struct Expected {
    /// After a body of each of `LENGTHS`; `None` where it depends on what the server happens to read together.
    at_once: Option<[Seen; 2]>,
    /// After a block that the client has already; `None` where the server holds it back.
    later: Option<Seen>,
    /// When the process that answers is killed, with a Content-Length and without; `None` where nothing the gateway could do
    /// keeps the client from waiting, or it depends on what the server reads together.
    killed: [Option<Seen>; 2],
}

/// nginx, which makes a whole page of a mere close, unless connections are kept and responses buffered.
#[test]
fn of_nginx() {
    if program("nginx").is_none() {
        return;
    }
    for kept in [true, false] {
        for buffered in [true, false] {
            let mut conf = Conf::read("nginx.conf");
            if !kept {
                conf = conf.without(&["fastcgi_keep_conn on;", "keepalive 8;"]);
            }
            if !buffered {
                conf = conf.with(&["fastcgi_buffering off;"]);
            }
            let name = format!("nginx, kept {kept}, buffered {buffered}");
            let site = Site::new(name, |gateway| nginx::start(&conf, gateway));
            site.check(&Expected {
                at_once: Some([Cut, Cut]),
                later: (!buffered).then_some(Cut),
                killed: if kept && buffered {
                    [Some(Cut), Some(Cut)]
                } else {
                    [None, Some(Whole)]
                },
            });
        }
    }
}

/// nginx that is not told to say what it is: that it keeps connections, or how it buffers, does not show, and yet no client waits.
#[test]
fn of_nginx_in_disguise() {
    if program("nginx").is_none() {
        return;
    }
    for buffered in [true, false] {
        let mut conf = Conf::read("nginx.conf")
            .without(&["fastcgi_keep_conn on;", "keepalive 8;"])
            .put(
                "fastcgi_pass wsgi_gateway;",
                "fastcgi_param SERVER_SOFTWARE \"\"; fastcgi_pass wsgi_gateway;",
            );
        if !buffered {
            conf = conf.with(&["fastcgi_buffering off;"]);
        }
        let name = format!("nginx in disguise, buffered {buffered}");
        let site = Site::new(name, |gateway| nginx::start(&conf, gateway));
        site.check(&Expected {
            at_once: Some([Cut, Cut]),
            later: (!buffered).then_some(Cut),
            killed: [None, Some(Whole)],
        });
    }
}

/// The larger site, with an end by TCP.
#[test]
fn of_a_larger_site() {
    let expected = Expected {
        at_once: Some([Cut, Cut]),
        later: None,
        killed: [Some(Cut), Some(Cut)],
    };
    if program("nginx").is_some() {
        let start = |gateway: &Gateway| larger::nginx([gateway.address(); 2]);
        Site::over_tcp("nginx of a larger site", start).check(&expected);
    }
    if program("haproxy").is_some() {
        let start = |gateway: &Gateway| larger::haproxy([gateway.address(); 2]);
        Site::over_tcp("HAProxy of a larger site", start).check(&expected);
    }
}

/// Apache waits for the next request whatever has happened: the client can tell when it has waited long enough, 5 s by default.
#[test]
fn of_mod_proxy_fcgi() {
    if program("apache2").is_none() {
        return;
    }
    for reuse in [" enablereuse=on", ""] {
        let start = |gateway: &Gateway| {
            let conf = apache::proxy_fcgi(&[apache::PROXY_PASS])
                .replace("/run/wsgi-gateway.sock", gateway.socket().to_str().unwrap())
                .replace(" enablereuse=on", reuse);
            let conf = conf.replace("</VirtualHost>", "KeepAliveTimeout 1\n</VirtualHost>");
            apache::serve("event", "cgid", 1, |_| vec![conf.clone()]).expect("asked for before")
        };
        Site::new(format!("mod_proxy_fcgi{reuse}"), start).check(&Expected {
            at_once: Some([Cut, Cut]),
            later: None,
            killed: [Some(Cut), Some(Cut)],
        });
    }
}

/// mod_fcgid collects 64 KiB. Before that it can still make an error page, and then it has forgotten the error.
#[test]
fn of_mod_fcgid() {
    let sites = |folder: &Folder| {
        let app = folder.app("breaking_site");
        let program = format!(
            "#!{}\nfrom breaking_site import application\n",
            folder.gateway_program()
        );
        folder.write_program("app.fcgi", program);
        let folder = app.strip_suffix("/breaking_site.py").unwrap();
        // It waits before it starts the next program when it has ended many, as it does after each error.
        let limit = "FcgidSpawnScoreUpLimit 1000\n<VirtualHost";
        let conf = apache::fcgid("", false).replace("/srv/app", folder);
        vec![conf.replace("<VirtualHost", limit)]
    };
    let Some(server) = apache::serve("event", "cgid", 1, sites) else {
        return;
    };
    let site = Site {
        name: "mod_fcgid".to_owned(),
        server,
        gateway: None,
    };
    site.check(&Expected {
        at_once: Some([Cut, Whole]),
        later: None,
        killed: [Some(Cut), Some(Cut)],
    });
}

/// lighttpd counts what it has collected and gives its client that as the Content-Length.
#[test]
fn of_lighttpd() {
    if program("lighttpd").is_none() {
        return;
    }
    let collected = whole_in("1.4.69", "lighttpd", "-v").map(|seen| [seen; 2]);
    for (streaming, at_once, later) in [
        ("0", collected, None),
        // At once it may be collected, too: when it reads the end together with the beginning.
        ("1", None, Some(Cut)),
        ("2", None, Some(Cut)),
    ] {
        let way = format!("response-body = {streaming}");
        // As long as it waits for the next request: by default 5 s, which is too little to tell it from at once.
        let way_and_idle = format!("{way}\nserver.max-keep-alive-idle = 60");
        let conf = Conf::read("lighttpd.conf").put("response-body = 1", way_and_idle);
        let start = |gateway: &Gateway| lighttpd::external(&conf, gateway);
        Site::new(format!("lighttpd, {way}"), start).check(&Expected {
            at_once,
            later,
            killed: [
                Some(Cut),
                if streaming == "0" {
                    collected.map(|_| Whole)
                } else {
                    None
                },
            ],
        });
    }
}

/// Caddy logs that it is "aborting with incomplete response", and 2.6 then ends it as if it were whole. Later ones do abort, by their
/// source: for them a break is an error, and a mere close is not.
#[test]
fn of_caddy() {
    if program("caddy").is_none() {
        return;
    }
    let seen = whole_in("2.6.", "caddy", "version");
    let conf = Conf::read("Caddyfile");
    let flushed = conf.clone().with(&["flush_interval -1"]);
    for (name, conf, later) in [
        ("Caddy", conf, None),
        ("Caddy, flush_interval", flushed, seen),
    ] {
        let site = Site::new(name.to_owned(), |gateway| caddy::start(&conf, gateway));
        site.check(&Expected {
            at_once: seen.map(|seen| [seen; 2]),
            later,
            killed: [Some(Cut), seen],
        });
    }
}

#[test]
fn of_haproxy() {
    if program("haproxy").is_none() {
        return;
    }
    let conf = Conf::read("haproxy.cfg");
    let mut site = Site::new("HAProxy".to_owned(), |gateway| {
        haproxy::start(&conf, gateway)
    });
    site.check(&Expected {
        at_once: Some([Cut, Cut]),
        later: Some(Cut),
        killed: [Some(Cut), Some(Cut)],
    });
    assert!(site.server.is_running());
}

/// h2o ends a response whose head has left in one way, whatever went wrong.
#[test]
fn of_h2o() {
    let Some(h2o) = h2o::h2o() else {
        return;
    };
    // It waits for the next request, by default 10 s.
    let conf = Conf::read("h2o.conf").put("\nhosts:", "\nhttp1-request-timeout: 60\nhosts:");
    let start = |gateway: &Gateway| h2o::start(&h2o, &conf, gateway);
    Site::new("h2o".to_owned(), start).check(&Expected {
        at_once: Some([Whole, Whole]),
        later: Some(Whole),
        killed: [Some(Cut), Some(Whole)],
    });
}

/// What the client sees where a server of this version does not tell it. What others do is not known: nothing is required of them.
fn whole_in(version: &str, name: &str, argument: &str) -> Option<Seen> {
    let output = Command::new(program(name)?).arg(argument).output().unwrap();
    let known = String::from_utf8_lossy(&output.stdout).contains(version);
    known.then_some(Whole)
}

struct Site {
    name: String,
    server: Server,
    /// `None` where the web server has started it.
    gateway: Option<Gateway>,
}

impl Site {
    fn new(name: String, start: impl Fn(&Gateway) -> Server) -> Site {
        let gateway = gateway("breaking_site", &["--workers", "1", "--threads", "2"]);
        Site {
            name,
            server: start(&gateway),
            gateway: Some(gateway),
        }
    }

    fn over_tcp(name: &str, start: impl Fn(&Gateway) -> Server) -> Site {
        let gateway = Gateway::builder("breaking_site")
            .bind_address(free_port("127.0.0.1:0"))
            .args(["--threads", "2", "--allow", "127.0.0.1"])
            .start();
        Site {
            name: name.to_owned(),
            server: start(&gateway),
            gateway: Some(gateway),
        }
    }

    fn check(&self, expected: &Expected) {
        // One after the other where each request that comes beside another costs a process.
        let beside = self.gateway.is_some();
        thread::scope(|scope| {
            for (at, length) in LENGTHS.into_iter().enumerate() {
                let without = expected.at_once.map(|seen| seen[at]);
                for (page, seen) in [
                    ("breaks", without),
                    ("breaks_a_promise", Some(Cut)),
                    ("falls_short", Some(Cut)),
                    ("breaks_when_whole", Some(Whole)),
                ] {
                    let cell = move || {
                        let what = format!("{page}, {length} bytes");
                        self.compare(self.see(page, length), seen, &what);
                    };
                    if beside {
                        scope.spawn(cell);
                    } else {
                        cell();
                    }
                }
            }
        });
        if let Some(expected) = expected.later {
            for (page, seen) in [("breaks_later", expected), ("breaks_a_promise_later", Cut)] {
                let what = format!("{page}, 1000 bytes that have come");
                self.compare(self.see_later(page, 1_000), Some(seen), &what);
            }
        }
        let pages = ["dies_with_a_promise", "dies_later"];
        let killed = pages.into_iter().zip(expected.killed);
        for (count, (page, expected)) in killed.filter(|(_, seen)| seen.is_some()).enumerate() {
            let seen = self.see(page, 1_000);
            if let Some(gateway) = &self.gateway {
                // Until it has, its other connections are good for the web server to use again.
                gateway.wait_for_count(" ended: killed by signal ", count + 1);
            }
            self.compare(seen, expected, page);
        }
    }

    #[track_caller]
    fn compare(&self, seen: Seen, expected: Option<Seen>, what: &str) {
        assert_ne!(seen, Waits, "{}: {what}", self.name);
        if let Some(expected) = expected {
            assert_eq!(seen, expected, "{}: {what}", self.name);
        }
        // Whatever became of the connection on which it broke, the next ones do not suffer from it.
        for _ in 0..3 {
            let page = Client::open(self.server.address()).fetch("GET", "/hello", b"");
            assert_eq!((page.status, page.text().as_str()), (200, "Hello"));
        }
    }

    fn see(&self, page: &str, length: usize) -> Seen {
        let mut client = Client::open(self.server.address());
        let target = format!("/{page}?{length}");
        let begun = Instant::now();
        client.begin("GET", &target, &[], 0);
        seen(client.final_page("GET").as_ref(), begun)
    }

    /// Lets the application go on to its error when the client has what was yielded.
    fn see_later(&self, page: &str, length: usize) -> Seen {
        let gateway = self.gateway.as_ref().expect("one that runs");
        let fifo = Fifo::new(gateway.folder(), page);
        let pipe = format!("X-Pipe: {}", fifo.path());
        let mut client = Client::open(self.server.address());
        let target = format!("/{page}?{length}");
        client.begin("GET", &target, &[&pipe], 0);
        let mut page = client.head("GET");
        let mut come = 0;
        while come < length {
            come += client.block().expect("what was yielded").len();
        }
        let begun = Instant::now();
        drop(fifo.entered());
        page.whole = client.block().is_some();
        seen(Some(&page), begun)
    }
}

fn seen(page: Option<&Page>, begun: Instant) -> Seen {
    match page {
        _ if begun.elapsed() > AT_ONCE => Waits,
        Some(page) if page.status == 200 && page.whole => Whole,
        _ => Cut,
    }
}
