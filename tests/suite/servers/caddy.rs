//! Real Caddy in front, started with `conf/Caddyfile` and `conf/Caddyfile-prefix`: the list of requests through each way that they show.

use std::process::Command;

use super::matrix::{self, Loss, loss, loss_of_some};
use super::{Conf, Server, gateway, program};
use crate::support::gateway::Gateway;

/// The whole list of requests, through everything that the two files let one do.
#[test]
fn every_request_arrives_as_on_a_plain_server() {
    if program("caddy").is_none() {
        return;
    }
    let gateway = gateway(matrix::APP, &[]);
    let (site, prefix) = (Conf::read("Caddyfile"), Conf::read("Caddyfile-prefix"));
    let flushed = site.clone().with(&["flush_interval -1"]);
    let ways = [
        ("Caddy", "", start(&site, &gateway)),
        ("Caddy, flush_interval", "", start(&flushed, &gateway)),
        ("Caddy, prefix", "/app", start(&prefix, &gateway)),
    ];
    matrix::check_servers(&ways, LOSSES, WHOLE, BELOW);
}

/// What Caddy itself changes, whatever is behind it.
#[rustfmt::skip]
const LOSSES: &[Loss] = &[
    loss("absolute target", "SERVER_PORT", "'99'", "from the host asked for"),
    loss("host without port", "SERVER_PORT", "'80'", "from the host asked for"),
    loss("HTTP/1.0 without host", "SERVER_PORT", "'80'", "from the host asked for"),
    loss("HTTP/1.0 without host", "HTTP_HOST", "''", "empty where there is none"),
    loss("HTTP/1.0 without host", "SERVER_NAME", "'localhost'", "nothing tells: HTTP_HOST and SERVER_NAME are empty"),
    loss("*", "HTTP_USER_AGENT", "''", "empty where there is none"),
    loss("cookie twice", "HTTP_COOKIE", "'a=1, b=2'", "joined like any other field"),
    loss_of_some("underscore", "HTTP_X_UNDER_SCORE", "'1'", "passed as if it were X-Under-Score"),
    loss("*", "HTTP_X_FORWARDED_FOR", "'127.0.0.1'", "reverse_proxy adds it, and trusts no client's"),
    loss("*", "HTTP_X_FORWARDED_HOST", "'site.example:PORT'", "reverse_proxy adds it, and trusts no client's"),
    loss("absolute target", "HTTP_X_FORWARDED_HOST", "'other.example:99'", "reverse_proxy adds it"),
    loss("host without port", "HTTP_X_FORWARDED_HOST", "'Site.EXAMPLE'", "reverse_proxy adds it"),
    loss("HTTP/1.0 without host", "HTTP_X_FORWARDED_HOST", "''", "reverse_proxy adds it"),
    loss("*", "HTTP_X_FORWARDED_PROTO", "'http'", "reverse_proxy adds it, and trusts no client's"),
    loss("POST without a type", "CONTENT_TYPE", FORM, "made up"),
    loss("POST of an empty type", "CONTENT_TYPE", FORM, "made up"),
    loss("DELETE", "CONTENT_TYPE", FORM, "made up"),
    loss("PROPFIND", "CONTENT_TYPE", FORM, "made up"),
    loss("POST in chunks", "CONTENT_LENGTH", "0", "passed on while it arrives: the length is not known (Caddy says -1)"),
];

/// The same where the application has the whole site.
#[rustfmt::skip]
const WHOLE: &[Loss] = &[
    loss("utf-8 as it is", "REQUEST_URI", "'/caf%C3%A9'", "encoded by Go's URL"),
    loss("absolute target", "REQUEST_URI", "'/abs?x=1'", "taken apart by Go's HTTP server"),
];

/// And where it is at /app.
#[rustfmt::skip]
const BELOW: &[Loss] = &[
    loss("utf-8 as it is", "REQUEST_URI", "'/app/caf%C3%A9'", "encoded by Go's URL"),
    loss("absolute target", "REQUEST_URI", "'/app/abs?x=1'", "taken apart by Go's HTTP server"),
    loss("above the root", "status", "404", "not below /app, once Caddy has resolved it"),
    loss("encoded slashes above the root", "status", "404", "not below /app, once Caddy has resolved it"),
];

const FORM: &str = "'application/x-www-form-urlencoded'";

/// Starts Caddy with this configuration in front of this gateway.
pub(super) fn start(conf: &Conf, gateway: &Gateway) -> Server {
    let program = program("caddy").expect("asked for before");
    Server::start(1, |start| {
        let conf = conf
            .clone()
            .put_all("/run/wsgi-gateway.sock", gateway.socket().to_str().unwrap())
            .put(":8080 {", format!(":{} {{", start.address().port()));
        let conf = start.folder.write("Caddyfile", conf.text());
        let mut caddy = Command::new(&program);
        caddy.args(["run", "--adapter", "caddyfile", "--config"]);
        caddy.arg(conf).env("HOME", start.folder.path());
        // It listens for orders, too: not on the one port that any other Caddy of this machine has.
        caddy.env(
            "CADDY_ADMIN",
            format!("unix/{}", start.folder.at("admin.sock")),
        );
        caddy
    })
}
