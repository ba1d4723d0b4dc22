//! Real lighttpd in front, started with `conf/lighttpd*.conf`: the list of requests by mod_fastcgi, to a gateway that runs and to one
//! that lighttpd starts, and by mod_cgi.

use std::process::Command;

use super::matrix::{self, Loss, loss, loss_of_some};
use super::responders::Responders;
use super::{Conf, Server, Start, gateway, program, server_user};
use crate::support::gateway::Gateway;

/// The whole list of requests, through everything that the files let one do.
#[test]
fn every_request_arrives_as_on_a_plain_server() {
    if program("lighttpd").is_none() {
        return;
    }
    let running = gateway(matrix::APP, &[]);
    let (site, prefix) = (
        Conf::read("lighttpd.conf"),
        Conf::read("lighttpd-prefix.conf"),
    );
    let streaming = site
        .clone()
        .with(&["server.stream-request-body = 1"])
        .put("response-body = 1", "response-body = 2");
    let cgi = Conf::read("lighttpd-cgi.conf");
    let cgi_whole = cgi
        .clone()
        .without(&["alias.url = ( \"/app\" => \"/srv/site/app.py\" )"])
        .with(&["alias.url = ( \"/\" => \"/srv/site/app.py/\" )"]);
    // Ended when the servers are.
    let responders = Responders::new();
    let kept = |conf: &Conf| {
        let told = format!("{PERSISTENT}, {}", responders.for_lighttpd());
        conf.clone().with(&KEPT).put(PERSISTENT, told)
    };
    let ways = [
        ("lighttpd", "", external(&site, &running)),
        ("lighttpd, streaming", "", external(&streaming, &running)),
        ("lighttpd, prefix", "/app", external(&prefix, &running)),
        (
            "lighttpd, spawned",
            "",
            spawned(&Conf::read("lighttpd-spawn.conf")),
        ),
        (
            "lighttpd, CGI, prefix",
            "/app",
            cgi_started(&cgi, matrix::APP),
        ),
        ("lighttpd, CGI", "", cgi_started(&cgi_whole, matrix::APP)),
        (
            "lighttpd, persistent CGI, prefix",
            "/app",
            cgi_started(&kept(&cgi), matrix::APP),
        ),
        (
            "lighttpd, persistent CGI",
            "",
            cgi_started(&kept(&cgi_whole), matrix::APP),
        ),
    ];
    matrix::check_servers(&ways, LOSSES, WHOLE, BELOW);
    assert_eq!(responders.count(), 2, "{}", responders.ask(&["ps"]));
}

/// What has lighttpd's programs keep the application alive.
pub(super) const KEPT: [&str; 2] = [
    "server.modules += ( \"mod_setenv\" )",
    "setenv.set-environment = ( \"WSGI_GATEWAY_PERSISTENT\" => \"1\" )",
];
pub(super) const PERSISTENT: &str = "\"WSGI_GATEWAY_PERSISTENT\" => \"1\"";

/// What lighttpd itself changes, whatever is behind it.
#[rustfmt::skip]
const LOSSES: &[Loss] = &[
    loss("double slashes", "PATH_INFO", "'/double/slash/'", "lighttpd merges them"),
    loss("dots", "PATH_INFO", "'/a/c'", "url-path-dotseg-remove"),
    loss("encoded dots", "PATH_INFO", "'/c'", "url-path-dotseg-remove"),
    loss("latin-1", "status", "400", "url-invalid-utf8-reject"),
    loss("line feed", "status", "400", "url-ctrls-reject"),
    loss("absolute target", "status", "400", "its host is not the Host field's"),
    loss("query as it is", "QUERY_STRING", r#""a=%E9&b=%E9&c='%22%3C%3E%7C%7B%7D%5E%60%5B%5D""#, "url-normalize-required"),
    loss("host without port", "HTTP_HOST", "'site.example'", "host-normalize"),
    loss_of_some("empty field", "HTTP_X_EMPTY", "-", "fields of no value are dropped"),
    loss_of_some("odd names", "HTTP_X_BANG", "'2'", "anything but a letter or digit becomes _"),
    loss_of_some("odd names", "HTTP_X_DOT", "'1'", "anything but a letter or digit becomes _"),
    loss_of_some("underscore", "HTTP_X_UNDER_SCORE", "'1'", "passed as if it were X-Under-Score"),
    loss_of_some("range and conditions", "status", "206", "cuts the range out of the page itself"),
    loss("100-continue", "HTTP_EXPECT", "-", "answered by lighttpd and dropped"),
    loss_of_some("GET with a body", "status", "400", "method-get-body"),
];

/// How paths above the root end, where the application has the whole site.
#[rustfmt::skip]
const WHOLE: &[Loss] = &[
    loss("above the root", "PATH_INFO", "'/x'", "url-path-dotseg-remove"),
    loss("encoded slashes above the root", "PATH_INFO", "'/etc'", "url-path-2f-decode, url-path-dotseg-remove"),
];

/// And where it is at /app.
#[rustfmt::skip]
const BELOW: &[Loss] = &[
    loss("above the root", "status", "404", "not below /app, once lighttpd has resolved it"),
    loss("encoded slashes above the root", "status", "404", "not below /app, once lighttpd has resolved it"),
];

/// lighttpd in front of a gateway that runs.
pub(super) fn external(conf: &Conf, gateway: &Gateway) -> Server {
    start(|_| {
        conf.clone()
            .put_all("/run/wsgi-gateway.sock", gateway.socket().to_str().unwrap())
    })
}

/// lighttpd that starts the gateway as a FastCGI program.
pub(super) fn spawned(conf: &Conf) -> Server {
    start(|start| {
        let folder = &start.folder;
        conf.clone()
            .put_all("/usr/local/bin/wsgi-gateway", folder.gateway_program())
            .put_all("/srv/site/app.py", folder.app(matrix::APP))
            .put("/run/lighttpd", folder.writable("sockets"))
            .put("/var/log/lighttpd", folder.writable("logs"))
    })
}

/// lighttpd that starts the gateway for each request.
pub(super) fn cgi_started(conf: &Conf, app: &str) -> Server {
    start(|start| {
        let folder = &start.folder;
        conf.clone()
            .put_all("/usr/local/bin/wsgi-gateway", folder.gateway_program())
            .put_all("/srv/site/app.py", folder.app(app))
            .put("\"/app.py\"", format!("\"/{app}.py\""))
            .put("/var/log/lighttpd", folder.writable("logs"))
    })
}

/// lighttpd with the configuration that `conf` makes.
pub(super) fn start(conf: impl Fn(&Start) -> Conf) -> Server {
    let program = program("lighttpd").expect("asked for before");
    Server::start(1, |start| {
        let mut conf = conf(start)
            .put(
                "server.port = 8080",
                format!("server.port = {}", start.address().port()),
            )
            .put("/var/tmp", start.folder.writable("uploads"));
        if server_user().is_none() {
            conf = conf.without(&[
                "server.username = \"www-data\"",
                "server.groupname = \"www-data\"",
            ]);
        }
        let conf = start.folder.write("lighttpd.conf", conf.text());
        let mut lighttpd = Command::new(&program);
        lighttpd.arg("-D").arg("-f").arg(conf);
        lighttpd
    })
}
