//! What an HTTP client sees through real web servers of a response that the application did not finish: whether it can tell.
//!
//! With a Content-Length everybody can. Without one it is up to the web server, and no gateway can do more than break the protocol: the
//! servers that make a whole page of that do so of every end that there is.

use std::process::Command;

use super::{Conf, Folder, Server, apache, caddy, gateway, h2o, haproxy, lighttpd, nginx, program};
use crate::gateway::{Fifo, Gateway};
use crate::http::{Client, Page};

/// What the client makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// An answer that breaks off, or none at all, or an error page.
    Cut,
    /// A page like any other.
    Whole,
}
use Seen::{Cut, Whole};

/// The lengths of body after which the application breaks off at once.
const LENGTHS: [usize; 2] = [1_000, 100_000];

/// What is seen without a Content-Length.
struct Expected {
    /// After a body of each of `LENGTHS`; `None` where it depends on what the server happens to read together.
    at_once: Option<[Seen; 2]>,
    /// After a block that the client has already; `None` where the server holds it back.
    later: Option<Seen>,
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
            });
        }
    }
}

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
            apache::serve("event", "cgid", 1, |_| vec![conf.clone()]).expect("asked for before")
        };
        Site::new(format!("mod_proxy_fcgi{reuse}"), start).check(&Expected {
            at_once: Some([Cut, Cut]),
            later: None,
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
        vec![apache::fcgid("", false).replace("/srv/app", folder)]
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
        let conf = Conf::read("lighttpd.conf").put("response-body = 1", &way);
        let start = |gateway: &Gateway| lighttpd::external(&conf, gateway);
        Site::new(format!("lighttpd, {way}"), start).check(&Expected { at_once, later });
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
    });
    assert!(site.server.is_running());
}

/// h2o ends a response whose head has left in one way, whatever went wrong.
#[test]
fn of_h2o() {
    let Some(h2o) = h2o::h2o() else {
        return;
    };
    let conf = Conf::read("h2o.conf");
    let start = |gateway: &Gateway| h2o::start(&h2o, &conf, gateway);
    Site::new("h2o".to_owned(), start).check(&Expected {
        at_once: Some([Whole, Whole]),
        later: Some(Whole),
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

    fn check(&self, expected: &Expected) {
        for (at, length) in LENGTHS.into_iter().enumerate() {
            let seen = self.see("breaks", length);
            if let Some(expected) = expected.at_once {
                self.compare(seen, expected[at], &format!("{length} bytes"));
            }
            for page in ["breaks_a_promise", "too_little"] {
                let seen = self.see(page, length);
                self.compare(seen, Cut, &format!("{page}, {length} bytes"));
            }
        }
        if let Some(expected) = expected.later {
            let seen = self.see_later(1_000);
            self.compare(seen, expected, "1000 bytes that have come");
        }
    }

    #[track_caller]
    fn compare(&self, seen: Seen, expected: Seen, what: &str) {
        assert_eq!(seen, expected, "{}: {what}", self.name);
        // Whatever became of the connection on which it broke, the next ones do not suffer from it.
        for _ in 0..3 {
            let page = Client::open(self.server.address()).fetch("GET", "/hello", b"");
            assert_eq!((page.status, page.text().as_str()), (200, "Hello"));
        }
    }

    fn see(&self, page: &str, length: usize) -> Seen {
        let mut client = Client::open(self.server.address());
        let target = format!("/{page}?{length}");
        client.begin("GET", &target, &["Connection: close"], 0);
        seen(client.final_page("GET").as_ref())
    }

    /// Lets the application go on to its error when the client has what was yielded.
    fn see_later(&self, length: usize) -> Seen {
        let gateway = self.gateway.as_ref().expect("one that runs");
        let fifo = Fifo::new(gateway.folder(), "fifo");
        let pipe = format!("X-Pipe: {}", fifo.path());
        let mut client = Client::open(self.server.address());
        let target = format!("/breaks_later?{length}");
        client.begin("GET", &target, &["Connection: close", &pipe], 0);
        let mut page = client.head("GET");
        let mut come = 0;
        while come < length {
            come += client.block().expect("what was yielded").len();
        }
        drop(fifo.entered());
        page.whole = client.block().is_some();
        seen(Some(&page))
    }
}

fn seen(page: Option<&Page>) -> Seen {
    match page {
        Some(page) if page.status == 200 && page.whole => Whole,
        _ => Cut,
    }
}
