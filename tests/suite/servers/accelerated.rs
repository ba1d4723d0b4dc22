//! Files that an application leaves to the web server: X-Accel-Redirect behind nginx, X-Sendfile behind lighttpd and Apache
//! (mod_xsendfile), through each door. For the gateway they are headers like any other.

use std::net::SocketAddr;

use super::{Conf, Folder, apache, gateway, installed, lighttpd, nginx, program};
use crate::support::client::{Request, fetch};
use crate::support::gateway::{Gateway, apps};
use crate::support::http::{Client, Page};

const APP: &str = "accelerated";

#[test]
fn the_headers_pass_the_gateway_as_they_are() {
    let gateway = Gateway::start(APP, &[]);
    for (name, value) in [
        ("X-Accel-Redirect", "/files/a%20b"),
        ("X-Accel-Buffering", "no"),
        ("X-Accel-Limit-Rate", "1000"),
        ("X-Sendfile", "/srv/a b"),
        ("X-LIGHTTPD-send-file", "/srv/a"),
        ("X-Sendfile2", "/srv/a 0-9"),
    ] {
        let query = format!("{name}={}", value.replace('%', "%25").replace(' ', "%20"));
        let response = fetch(gateway.socket(), &Request::get(&format!("/?{query}"))).expect(200);
        assert_eq!(response.header(name), Some(value));
        assert_eq!(response.header("Content-Length"), None);
        assert_eq!(response.body, b"");
    }
}

#[test]
fn nginx_sends_the_file() {
    if program("nginx").is_none() {
        return;
    }
    let files = Files::new();
    let gateway = gateway(APP, &[]);
    let conf = Conf::read("nginx.conf")
        .with(&[
            "location /files/ {",
            "internal;",
            "alias /srv/site/files/;",
            "}",
        ])
        .put("/srv/site/files", files.at());
    let server = nginx::start(&conf, &gateway);
    files.are_sent_by(server.address(), "", "X-Accel-Redirect=/files/");
    // What is named there only the application can name.
    let page = Client::open(server.address()).fetch("GET", "/files/data", b"");
    assert_eq!(page.status, 404);
}

#[test]
fn lighttpd_sends_the_file() {
    if program("lighttpd").is_none() {
        return;
    }
    let files = Files::new();
    let gateway = gateway(APP, &[]);
    let conf = Conf::read("lighttpd.conf")
        .with(&["\"x-sendfile\" => \"enable\", \"x-sendfile-docroot\" => ( \"/srv/site/files\" ),"])
        .put("( \"/srv/site/files\" )", format!("( {:?} )", files.at()));
    let query = format!("X-Sendfile={}/", files.at());
    let server = lighttpd::external(&conf, &gateway);
    files.are_sent_by(server.address(), "", &query);
    let cgi = Conf::read("lighttpd-cgi.conf")
        .with(&[
            "cgi.x-sendfile = \"enable\"",
            "cgi.x-sendfile-docroot = ( \"/srv/site/files\" )",
        ])
        .put(
            "x-sendfile-docroot = ( \"/srv/site/files\" )",
            format!("x-sendfile-docroot = ( {:?} )", files.at()),
        );
    let server = lighttpd::cgi_started(&cgi, APP);
    files.are_sent_by(server.address(), "/app", &query);
}

#[test]
fn apache_sends_the_file() {
    const MODULE: &str = "/usr/lib/apache2/modules/mod_xsendfile.so";
    if program("apache2").is_none() || installed(MODULE).is_none() {
        return;
    }
    let files = Files::new();
    let gateway = gateway(APP, &[]);
    let started = apache::serve("event", "cgid", 3, |folder| {
        let program = folder.gateway_program();
        let text = std::fs::read_to_string(apps().join("accelerated.py")).unwrap();
        for name in ["app.cgi", "app.fcgi"] {
            folder.write_program(&format!("app/{name}"), format!("#!{program}\n{text}"));
        }
        let sites = [
            "apache/cgi.conf",
            "apache/fcgid.conf",
            "apache/proxy-fcgi.conf",
        ];
        let sites = sites.map(|name| {
            let conf = Conf::read(name)
                .with(&["XSendFile On", "XSendFilePath /srv/site/files"])
                .put_all("/srv/site/files", files.at());
            conf.text()
                .replace("/srv/app", &folder.at("app"))
                .replace("/run/wsgi-gateway.sock", gateway.socket().to_str().unwrap())
        });
        let module = format!("LoadModule xsendfile_module {MODULE}\n");
        let mut sites = Vec::from(sites);
        sites[0].insert_str(0, &module);
        sites
    });
    let Some(server) = started else {
        return;
    };
    for address in server.addresses() {
        files.are_sent_by(*address, "", &format!("X-Sendfile={}/", files.at()));
    }
}

/// Files that a web server may send.
struct Files {
    folder: Folder,
    data: Vec<u8>,
}

impl Files {
    fn new() -> Files {
        let data: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let folder = Folder::new();
        folder.write("data", &data);
        folder.write("empty", "");
        Files { folder, data }
    }

    fn at(&self) -> String {
        self.folder.path().to_str().unwrap().to_owned()
    }

    /// Asks the application, which is below `mount`, for files: `query` names the header, and the folder as the server has it.
    fn are_sent_by(&self, address: SocketAddr, mount: &str, query: &str) {
        let ask = |method: &str, target: &str, fields: &[&str]| -> Page {
            let mut client = Client::open(address);
            client.begin(method, target, fields, 0);
            client.page(method)
        };
        for kind in ["/plain", "/counted", "/paged"] {
            let target = format!("{mount}{kind}?{query}data");
            let page = ask("GET", &target, &[]);
            assert_eq!(
                (page.status, page.whole),
                (200, true),
                "{target}: {}",
                page.text()
            );
            assert!(
                page.body == self.data,
                "{target}: {} bytes",
                page.body.len()
            );
            // The other fields of the application's stay, but for a length of what it has not sent.
            assert_eq!(page.field("Set-Cookie"), Some("got=it"));
            assert_eq!(page.field("Content-Type"), Some("application/x-test"));
            assert_eq!(page.field("X-Sendfile"), None);
            assert_eq!(page.field("X-Accel-Redirect"), None);

            let part = ask("GET", &target, &["Range: bytes=4000-4999"]);
            assert_eq!((part.status, part.whole), (206, true), "{target}");
            assert!(part.body == self.data[4000..5000], "{target}");
            let head = ask("HEAD", &target, &[]);
            let length = self.data.len().to_string();
            assert_eq!(
                (head.status, head.field("Content-Length")),
                (200, Some(&*length)),
                "{target}"
            );
            let empty = ask("GET", &format!("{mount}{kind}?{query}empty"), &[]);
            assert_eq!((empty.status, empty.body.len()), (200, 0), "{target}");
            let missing = ask("GET", &format!("{mount}{kind}?{query}missing"), &[]);
            assert_eq!(missing.status, 404, "{target}");
        }
    }
}
