//! Real HAProxy in front, started with `conf/haproxy.cfg` and `conf/haproxy-prefix.cfg`: the list of requests through each way that they
//! show.

use std::process::Command;

use super::matrix::{self, Loss, Way, loss};
use super::{Conf, Server, gateway, program, server_user};
use crate::support::gateway::Gateway;

/// The whole list of requests, through everything that the two files let one do.
#[test]
fn every_request_arrives_as_on_a_plain_server() {
    if program("haproxy").is_none() {
        return;
    }
    let whole = gateway(matrix::APP, &[]);
    let mounted = gateway(matrix::APP, &["--mount", "/app"]);
    let (site, prefix) = (Conf::read("haproxy.cfg"), Conf::read("haproxy-prefix.cfg"));
    let ways = [
        ("HAProxy", "", start(&site, &whole)),
        ("HAProxy, prefix, --mount", "/app", start(&prefix, &mounted)),
    ];
    matrix::check(&ways.each_ref().map(|(name, mount, server)| Way {
        name,
        address: server.address(),
        mount,
        losses: if mount.is_empty() {
            &[LOSSES]
        } else {
            &[LOSSES, BELOW]
        },
    }));
}

/// What HAProxy itself changes, whatever is behind it.
#[rustfmt::skip]
const LOSSES: &[Loss] = &[
    loss("utf-8 as it is", "status", "400", "no byte above 127 in a target"),
    loss("query as it is", "status", "400", "no byte above 127 in a target"),
    loss("absolute target", "status", "400", "its host is not the Host field's"),
    loss("100-continue", "HTTP_EXPECT", "-", "answered by HAProxy and dropped"),
    loss("not modified", "field Content-Length", "0", "made up"),
];

/// And where the application is at /app. HAProxy passes such paths on, and the gateway looks where they lead.
#[rustfmt::skip]
const BELOW: &[Loss] = &[
    loss("above the root", "status", "404", "not below /app, once it is resolved"),
    loss("encoded slashes above the root", "status", "404", "not below /app, once it is resolved"),
];

/// Starts HAProxy with this configuration in front of this gateway.
pub(super) fn start(conf: &Conf, gateway: &Gateway) -> Server {
    let program = program("haproxy").expect("asked for before");
    Server::start(1, |start| {
        let conf = conf
            .clone()
            .put_all("/run/wsgi-gateway.sock", gateway.socket().to_str().unwrap())
            .put("127.0.0.1:8080", start.address().to_string());
        let conf = start
            .folder
            .write("haproxy.cfg", as_server_user(conf).text());
        let mut haproxy = Command::new(&program);
        haproxy.arg("-db").arg("-f").arg(conf);
        haproxy
    })
}

/// The package of HAProxy makes a user of that name; the tests have one user for all web servers, or are no root.
pub(super) fn as_server_user(conf: Conf) -> Conf {
    match server_user() {
        Some(user) => conf
            .put("    user haproxy\n", format!("    user {user}\n"))
            .put("    group haproxy\n", format!("    group {user}\n")),
        None => conf.without(&["user haproxy", "group haproxy"]),
    }
}
