//! Small web servers that know CGI, started with `conf/busybox-httpd.conf` and `conf/mini_httpd.conf`: the list of requests, and much that
//! they lose of it.

use std::process::Command;

use super::matrix::{self, ANY, Loss, Way, loss, loss_of_some};
use super::{Conf, Server, program, server_user};

#[test]
fn every_request_arrives_through_busybox_httpd() {
    let Some(program) = program("busybox") else {
        return;
    };
    let server = Server::start(1, |start| {
        let folder = &start.folder;
        let text = std::fs::read(folder.app(matrix::APP)).unwrap();
        folder.write_program("www/cgi-bin/app.py", text);
        let conf = Conf::read("busybox-httpd.conf");
        let gateway = folder.gateway_program();
        let conf = conf.put(
            "*.py:/usr/local/bin/wsgi-gateway",
            format!("*.py:{gateway}"),
        );
        let conf = folder.write("httpd.conf", conf.text());
        let mut httpd = Command::new(&program);
        httpd.args([
            "httpd",
            "-f",
            "-p",
            &start.address().to_string(),
            "-h",
            &folder.at("www"),
            "-c",
        ]);
        httpd.arg(conf).env_clear();
        httpd
    });
    matrix::check(&[Way {
        name: "busybox httpd",
        address: server.address(),
        mount: "/cgi-bin/app.py",
        losses: &[BUSYBOX],
    }]);
}

#[test]
fn every_request_arrives_through_mini_httpd() {
    let Some(program) = program("mini_httpd") else {
        return;
    };
    let server = Server::start(1, |start| {
        let folder = &start.folder;
        let text = std::fs::read_to_string(folder.app(matrix::APP)).unwrap();
        folder.write_program(
            "www/app.cgi",
            format!("#!{}\n{text}", folder.gateway_program()),
        );
        let mut conf = Conf::read("mini_httpd.conf")
            .put("port=8080", format!("port={}", start.address().port()))
            .put("dir=/srv/www", format!("dir={}", folder.at("www")));
        if server_user().is_none() {
            conf = conf.without(&["user=www-data"]);
        }
        let conf = folder.write("mini_httpd.conf", conf.text());
        let mut httpd = Command::new(&program);
        httpd.args(["-D", "-C"]).arg(conf);
        httpd
    });
    matrix::check(&[Way {
        name: "mini_httpd",
        address: server.address(),
        mount: "/app.cgi",
        losses: &[MINI_HTTPD],
    }]);
}

/// What busybox httpd 1.35 and 1.37 change, whatever is behind it.
#[rustfmt::skip]
const BUSYBOX: &[Loss] = &[
    loss("*", "REQUEST_URI", ANY, "decoded, but for the query"),
    loss("dots", "PATH_INFO", "'/a/c'", "resolved"),
    loss("encoded dots", "PATH_INFO", "'/c'", "resolved"),
    loss_of_some("double slashes", "PATH_INFO", "'/double/slash/'", "merged"),
    loss_of_some("root", "status", "404", "no slash at the end of a program's path"),
    loss_of_some("trailing slash", "status", "404", "no slash at the end of a program's path"),
    loss_of_some("double slashes", "status", "404", "no slash at the end of a program's path"),
    loss_of_some("empty query", "status", "404", "no slash at the end of a program's path"),
    loss_of_some("query of words", "status", "404", "no slash at the end of a program's path"),
    loss("encoded slash", "status", "404", "refused"),
    loss("above the root", "status", "404", "not below the program, once resolved"),
    loss("encoded slashes above the root", "status", "404", "refused"),
    loss("absolute target", "status", "400", "only paths"),
    loss("*", "SERVER_PORT", "'80'", "busybox does not tell it"),
    loss("HTTP/1.0 without host", "SERVER_NAME", "'localhost'", "busybox does not tell it"),
    loss("HTTP/1.0 without host", "SERVER_PROTOCOL", "'HTTP/1.1'", "made up"),
    loss("field twice", "HTTP_X_TWICE", "'two'", "the last wins"),
    loss("cookie twice", "HTTP_COOKIE", "'b=2'", "the last wins"),
    loss("odd names", "HTTP_X_BANG", "'2'", "anything but a letter or digit becomes _"),
    loss("odd names", "HTTP_X_DOT", "'1'", "anything but a letter or digit becomes _"),
    loss("underscore", "HTTP_X_UNDER_SCORE", "'1'", "passed as if it were X-Under-Score"),
    kept_back("basic authorization", "HTTP_AUTHORIZATION"),
    kept_back("range and conditions", "HTTP_ACCEPT_ENCODING"),
    kept_back("range and conditions", "HTTP_IF_NONE_MATCH"),
    kept_back("range and conditions", "HTTP_RANGE"),
    loss("GET with a body", "CONTENT_LENGTH", "0", "only a POST's body is passed on"),
    loss("GET with a body", "body", NO_BODY, "only a POST's body is passed on"),
    loss("PUT", "CONTENT_LENGTH", "0", "only a POST's body is passed on"),
    loss("PUT", "body", NO_BODY, "only a POST's body is passed on"),
    loss("POST in chunks", "CONTENT_LENGTH", "0", "busybox knows no chunks"),
    loss("POST in chunks", "HTTP_TRANSFER_ENCODING", "'chunked'", "busybox knows no chunks"),
    loss("POST in chunks", "body", NO_BODY, "busybox knows no chunks"),
];

/// What mini_httpd 1.30 changes, whatever is behind it.
#[rustfmt::skip]
const MINI_HTTPD: &[Loss] = &[
    loss("*", "REQUEST_URI", "-", "not told"),
    loss("*", "SERVER_PROTOCOL", "'HTTP/1.0'", "whatever the client said"),
    loss("basic authorization", "AUTH_TYPE", "'Basic'", "made up for any Authorization"),
    loss("bearer authorization", "AUTH_TYPE", "'Basic'", "made up for any Authorization"),
    loss("POST in chunks", "CONTENT_LENGTH", "0", "knows no chunks"),
    kept_back("range and conditions", "HTTP_ACCEPT_ENCODING"),
    kept_back("basic authorization", "HTTP_AUTHORIZATION"),
    kept_back("bearer authorization", "HTTP_AUTHORIZATION"),
    loss("cookie twice", "HTTP_COOKIE", "'b=2'", "the last wins"),
    kept_back("forwarded", "HTTP_FORWARDED"),
    kept_back("names of variables", "HTTP_HTTPS"),
    kept_back("range and conditions", "HTTP_IF_NONE_MATCH"),
    kept_back("names of variables", "HTTP_PATH_INFO"),
    kept_back("range and conditions", "HTTP_RANGE"),
    kept_back("names of variables", "HTTP_REDIRECT_STATUS"),
    kept_back("names of variables", "HTTP_REMOTE_USER"),
    kept_back("names of variables", "HTTP_SCRIPT_NAME"),
    kept_back("names of variables", "HTTP_STATUS"),
    kept_back("proxy", "HTTP_X_AFTER"),
    kept_back("underscore", "HTTP_X_AFTER"),
    kept_back("odd names", "HTTP_X_AFTER"),
    kept_back("empty field", "HTTP_X_AFTER"),
    kept_back("empty field", "HTTP_X_EMPTY"),
    kept_back("forwarded", "HTTP_X_FORWARDED_FOR"),
    kept_back("forwarded", "HTTP_X_FORWARDED_HOST"),
    kept_back("forwarded", "HTTP_X_FORWARDED_PROTO"),
    kept_back("bytes above 127", "HTTP_X_LATIN"),
    kept_back("field twice", "HTTP_X_TWICE"),
    kept_back("bytes above 127", "HTTP_X_UTF"),
    loss("double slashes", "PATH_INFO", "'/double/slash/'", "resolved"),
    loss("encoded dots", "PATH_INFO", "'/c'", "resolved"),
    loss("dots", "PATH_INFO", "'/a/c'", "resolved"),
    loss("POST in chunks", "body", NO_BODY, "knows no chunks"),
    loss("absolute target", "status", "400", "refused"),
    loss("above the root", "status", "404", "refused"),
    loss("encoded slashes above the root", "status", "404", "refused"),
    loss("OPTIONS", "status", "501", "knows GET, HEAD, POST, PUT, DELETE"),
    loss("PROPFIND", "status", "501", "knows GET, HEAD, POST, PUT, DELETE"),
    loss_of_some("POST of a byte", "status", "no answer", "ends its side when it has fed the body, as a rule before the answer"),
    loss_of_some("POST of 128 KiB and a byte", "status", "no answer", "ends its side when it has fed the body, as a rule before the answer"),
    loss_of_some("POST without a type", "status", "no answer", "ends its side when it has fed the body, as a rule before the answer"),
    loss_of_some("POST of an empty type", "status", "no answer", "ends its side when it has fed the body, as a rule before the answer"),
    loss_of_some("length with zeros", "status", "no answer", "ends its side when it has fed the body, as a rule before the answer"),
    loss_of_some("100-continue", "status", "no answer", "ends its side when it has fed the body, as a rule before the answer"),
    loss("GET with a body", "status", "not asked", "the program is told of a body that it never gets"),
    loss("PUT", "status", "not asked", "the program is told of a body that it never gets"),
];

/// A field that is not among those few that the server passes on.
const fn kept_back(request: &'static str, what: &'static str) -> Loss {
    loss(
        request,
        what,
        "-",
        "not among the fields that are passed on",
    )
}

/// As `matrix_site.py` tells it.
const NO_BODY: &str = "0 bytes, 00000000";
