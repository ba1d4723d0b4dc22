//! HAProxy lives through everything that a gateway sends: HAProxy 2.6 ends as a whole when a responder sends a head in pieces, closes
//! within one, sends large records of STDERR or one without padding and then nothing for a moment, and waits for ever for a request that
//! ends without an answer.
//!
//! Each page is asked for on a connection of its own and must come to some end; HAProxy must then still be the process that it was.

use super::{Conf, Server, gateway, haproxy, program};
use crate::support::gateway::{Fifo, Gateway};
use crate::support::http::{Client, Page};
use crate::support::wait;

#[test]
fn nothing_that_the_application_does_brings_it_down() {
    let mut site = match Site::start(&["--workers", "1", "--threads", "2"]) {
        Some(site) => site,
        None => return,
    };
    for length in [0, 100, 8_191, 8_192, 8_193, 20_000, 1_000_000] {
        site.expect("/reports", length, "200, whole, 100 bytes");
        site.expect("/only_reports", length, "200, whole, 0 bytes");
    }
    site.expect("/empty", 0, "200, whole, 0 bytes");
    site.expect("/nothing", 0, "204, whole, 0 bytes");
    for length in [100, 4_000, 8_000] {
        site.expect("/long_head", length, "200, whole, 2 bytes");
    }
    // More than HAProxy takes.
    for length in [16_000, 20_000, 60_000, 100_000] {
        site.expect("/long_head", length, "502, whole, 0 bytes");
    }
    for page in ["/fails", "/exits", "/never_starts"] {
        site.expect(page, 0, "500, whole, 0 bytes");
    }
    for length in [1, 100, 20_000, 300_000] {
        site.expect("/breaks", length, &format!("200, cut, {length} bytes"));
        site.expect(
            "/breaks_a_promise",
            length,
            &format!("200, cut, {length} bytes"),
        );
        site.expect("/too_little", length, "500, whole, 0 bytes");
        site.expect("/falls_short", length, &format!("200, cut, {length} bytes"));
        site.expect("/too_much", length, &format!("200, whole, {length} bytes"));
    }
}

/// A report is all that HAProxy has read when it looks at it: of one without padding it died.
#[test]
fn a_report_that_comes_alone_does_not_bring_it_down() {
    let Some(mut site) = Site::start(&["--workers", "1", "--threads", "2"]) else {
        return;
    };
    let fifo = Fifo::new(site.gateway.folder(), "fifo");
    let pipe = format!("X-Pipe: {}", fifo.path());
    // Whatever is missing to a multiple of 8.
    for length in (0..8).chain(8_000..8_008) {
        let mut waiting = site.client();
        let target = format!("/reports_and_waits?{length}");
        waiting.begin("GET", &target, &[&pipe], 0);
        let entered = fifo.entered();
        let report = format!("report of {length} ");
        let is_told = || site.haproxy.log().contains(&report);
        wait::until(is_told, || format!("{report:?} is not in its log"));
        drop(entered);
        assert_eq!(waiting.page("GET").text(), "waited", "{target}");
        assert!(site.haproxy.is_running(), "HAProxy has ended");
    }
}

#[test]
fn a_worker_that_dies_does_not_bring_it_down() {
    let Some(mut site) = Site::start(&["--workers", "2", "--threads", "1"]) else {
        return;
    };
    site.expect("/dies", 0, "502, whole, 0 bytes");
    site.expect("/hello", 0, "200, whole, 5 bytes");
    for length in [1, 20_000] {
        site.expect("/dies_later", length, &format!("200, cut, {length} bytes"));
    }
}

#[test]
fn a_full_gateway_is_a_503_to_its_clients() {
    // A second thread, which answers: the connections that come while all are in requests wait until one is not.
    let options = ["--workers", "1", "--threads", "2", "--max-connections", "1"];
    let Some(mut site) = Site::start(&options) else {
        return;
    };
    let fifo = Fifo::new(site.gateway.folder(), "fifo");
    let mut waiting = site.client();
    let pipe = format!("X-Pipe: {}", fifo.path());
    waiting.begin("GET", "/waits", &[&pipe], 0);
    let entered = fifo.entered();
    for _ in 0..20 {
        site.expect("/hello", 0, "503, whole, 0 bytes");
    }
    drop(entered);
    assert_eq!(waiting.page("GET").text(), "waited");
    // By the same client, as HAProxy keeps the one connection that there may be.
    assert_eq!(waiting.fetch("GET", "/hello?0", b"").text(), "Hello");
    assert!(site.haproxy.is_running());
}

struct Site {
    gateway: Gateway,
    haproxy: Server,
}

impl Site {
    fn start(options: &[&str]) -> Option<Site> {
        program("haproxy")?;
        let gateway = gateway("breaking_site", options);
        let haproxy = haproxy::start(&Conf::read("haproxy.cfg"), &gateway);
        Some(Site { gateway, haproxy })
    }

    fn client(&self) -> Client {
        Client::open(self.haproxy.address())
    }

    /// Asks for a page and looks at HAProxy afterwards. Of an error page the length is left out.
    fn expect(&mut self, path: &str, length: usize, expected: &str) {
        let mut client = self.client();
        let target = format!("{path}?{length}");
        client.begin("GET", &target, &["Connection: close"], 0);
        let page = client.final_page("GET");
        let told = page.map_or("no answer".to_owned(), |page| told(&page));
        assert_eq!(told, expected, "{target}");
        assert!(
            self.haproxy.is_running(),
            "HAProxy has ended after {target}"
        );
    }
}

fn told(page: &Page) -> String {
    let end = if page.whole { "whole" } else { "cut" };
    let length = if page.status >= 400 {
        0
    } else {
        page.body.len()
    };
    format!("{}, {end}, {length} bytes", page.status)
}
