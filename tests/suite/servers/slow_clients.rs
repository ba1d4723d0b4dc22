//! HTTP clients that are slow to take their pages, behind web servers that hold the gateway back for them: no application thread
//! waits, and all get their bytes.

use super::{Conf, Server, apache, gateway, haproxy, lighttpd, nginx, program};
use crate::support::gateway::Gateway;
use crate::support::http::Client;

/// More than all buffers on the way hold.
const SIZE: usize = 16_000_000;

#[test]
fn of_nginx_without_buffering() {
    if program("nginx").is_some() {
        let conf = Conf::read("nginx.conf").with(&["fastcgi_buffering off;"]);
        hold_no_thread("nginx", |gateway| nginx::start(&conf, gateway));
    }
}

#[test]
fn of_mod_proxy_fcgi() {
    if program("apache2").is_some() {
        hold_no_thread("mod_proxy_fcgi", |gateway| {
            let conf = apache::proxy_fcgi(&[apache::PROXY_PASS])
                .replace("/run/wsgi-gateway.sock", gateway.socket().to_str().unwrap());
            apache::serve("event", "cgid", 1, |_| vec![conf.clone()]).expect("asked for before")
        });
    }
}

#[test]
fn of_haproxy() {
    if program("haproxy").is_some() {
        let conf = Conf::read("haproxy.cfg");
        hold_no_thread("HAProxy", |gateway| haproxy::start(&conf, gateway));
    }
}

#[test]
fn of_lighttpd_that_streams() {
    if program("lighttpd").is_some() {
        let conf = Conf::read("lighttpd.conf").put("response-body = 1", "response-body = 2");
        hold_no_thread("lighttpd", |gateway| lighttpd::external(&conf, gateway));
    }
}

fn hold_no_thread(name: &str, start: impl Fn(&Gateway) -> Server) {
    let options = ["--workers", "1", "--threads", "1", "--max-unsent", "1M"];
    let gateway = gateway("slow_peers", &options);
    let server = start(&gateway);
    let expected: Vec<u8> = (0..251).cycle().take(SIZE).collect();
    let file = gateway.folder().join("file");
    std::fs::write(&file, &expected).unwrap();
    let targets = [
        format!("/list?{SIZE}"),
        format!("/last?{SIZE}"),
        format!("/file?{}", file.display()),
    ];
    let ask = |target: &String| {
        let mut client = Client::open(server.address());
        client.begin("GET", target, &[], 0);
        client
    };
    let clients: Vec<Client> = targets.iter().map(ask).collect();
    let plain = Client::open(server.address()).fetch("GET", "/plain", b"");
    assert_eq!(plain.text(), "plain", "{name}");
    for (mut client, target) in clients.into_iter().zip(&targets) {
        let page = client.page("GET");
        assert!(page.whole, "{name}, {target}");
        assert_eq!(page.body.len(), SIZE, "{name}, {target}");
        assert!(page.body == expected, "{name}, {target}: other bytes");
    }
}
