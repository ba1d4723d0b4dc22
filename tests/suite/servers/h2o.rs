//! Real h2o in front, started with `conf/h2o.conf`: the list of requests, at the root and under a path.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::matrix::{self, Loss, loss};
use super::{Conf, Server, gateway, server_user};
use crate::support::gateway::Gateway;

/// The whole list of requests, with the paths that the file's comments tell of.
#[test]
fn every_request_arrives_as_on_a_plain_server() {
    let Some(h2o) = h2o() else {
        return;
    };
    let whole = gateway(matrix::APP, &[]);
    let mounted = gateway(matrix::APP, &["--mount", "/app"]);
    let site = Conf::read("h2o.conf");
    let prefix = site.clone().put("      \"/\":\n", "      \"/app\":\n");
    let ways = [
        ("h2o", "", start(&h2o, &site, &whole)),
        (
            "h2o, prefix, --mount",
            "/app",
            start(&h2o, &prefix, &mounted),
        ),
    ];
    matrix::check_servers(&ways, LOSSES, WHOLE, BELOW);
}

/// What h2o itself changes, whatever is behind it.
#[rustfmt::skip]
const LOSSES: &[Loss] = &[
    loss("dots", "PATH_INFO", "'/a/c'", "resolved before a path is looked for"),
    loss("encoded dots", "PATH_INFO", "'/c'", "resolved before a path is looked for"),
    loss("cookie twice", "HTTP_COOKIE", "'a=1;b=2'", "joined by h2o"),
    loss("100-continue", "HTTP_EXPECT", "-", "answered by h2o and dropped"),
    loss("HTTP/1.0 without host", "HTTP_HOST", "'site.example'", "the name that h2o.conf gives the site"),
    loss("HTTP/1.0 without host", "SERVER_NAME", "'site.example'", "the name that h2o.conf gives the site"),
    loss("underscore", "HTTP_X_UNDER_SCORE", "'1'", "passed as if it were X-Under-Score"),
];

/// How paths end that h2o takes for others, where the application has the whole site.
#[rustfmt::skip]
const WHOLE: &[Loss] = &[
    loss("above the root", "PATH_INFO", "'/x'", "resolved before a path is looked for"),
    loss("encoded slashes above the root", "PATH_INFO", "'/etc'", "decoded and resolved before a path is looked for"),
    loss("absolute target", "HTTP_HOST", "'site.example:PORT'", "the Host field's, not the target's"),
    loss("absolute target", "SERVER_NAME", "'site.example'", "the name that h2o.conf gives the site"),
];

/// And where it is at /app.
#[rustfmt::skip]
const BELOW: &[Loss] = &[
    loss("above the root", "status", "404", "not below /app, once h2o has resolved it"),
    loss("encoded slashes above the root", "status", "404", "not below /app, once h2o has resolved it"),
    loss("absolute target", "status", "404", "h2o 2.2 takes it for a path"),
];

/// h2o, where this Debian has a package of it: not every one does, so that its absence is no failure in CI either.
pub(super) fn h2o() -> Option<PathBuf> {
    let program = PathBuf::from("/usr/bin/h2o");
    if !program.exists() {
        eprintln!("skipped: no h2o on this machine");
        return None;
    }
    Some(program)
}

/// Starts h2o with this configuration in front of this gateway.
pub(super) fn start(program: &Path, conf: &Conf, gateway: &Gateway) -> Server {
    Server::start(1, |start| {
        let mut conf = conf
            .clone()
            .put_all("/run/wsgi-gateway.sock", gateway.socket().to_str().unwrap())
            .put("port: 8080", format!("port: {}", start.address().port()));
        if server_user().is_none() {
            conf = conf.without(&["user: www-data"]);
        }
        let conf = start.folder.write("h2o.conf", conf.text());
        let mut h2o = Command::new(program);
        h2o.arg("-c").arg(conf);
        h2o
    })
}
