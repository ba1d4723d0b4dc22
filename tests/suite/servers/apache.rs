//! Real Apache in front, started with the files of `conf/apache` and `conf/shared-hosting`: the list of requests through each of its four
//! ways to run a gateway (mod_cgi, mod_cgid, mod_fcgid, mod_proxy_fcgi), at the root and under a path.

use std::fs;
use std::process::Command;

use super::matrix::{self, Loss, Way, loss, loss_of_some};
use super::responders::Responders;
use super::{Conf, Folder, Server, Start, gateway, installed, program, server_user};
use crate::support::gateway::{Gateway, apps};
use crate::support::http::Client;

/// Where Debian has them.
pub(super) const MODULES: &str = "/usr/lib/apache2/modules";

/// One site of the server, on a port of its own.
struct Site {
    name: &'static str,
    mount: &'static str,
    losses: &'static [&'static [Loss]],
    conf: String,
}

#[rustfmt::skip]
#[test]
fn every_request_arrives_through_mod_cgid_as_on_a_plain_server() {
    check("event", "cgid", None, 3, &[
        Site { name: "mod_cgid", mount: "", losses: &[APACHE, CGI], conf: cgi("") },
        Site { name: "mod_cgid, prefix", mount: "/app", losses: &[APACHE, CGI], conf: cgi("/app") },
        Site { name: "mod_cgid, .cgi", mount: "/app.cgi", losses: &[APACHE, CGI, HOSTED], conf: hosted("hosted-plain") },
        Site { name: "mod_cgid, .htaccess", mount: "", losses: &[APACHE, CGI, HOSTED], conf: hosted("hosted") },
        Site { name: "mod_cgid, .htaccess, prefix", mount: "/app", losses: &[APACHE, CGI, HOSTED, FOLDER], conf: hosted("hosted-prefix") },
        Site { name: "mod_cgid, persistent", mount: "", losses: &[APACHE, CGI], conf: kept("") },
        Site { name: "mod_cgid, persistent, prefix", mount: "/app", losses: &[APACHE, CGI], conf: kept("/app") },
        Site { name: "mod_cgid, persistent, .cgi", mount: "/app.cgi", losses: &[APACHE, CGI, HOSTED], conf: hosted("hosted-kept-plain") },
        Site { name: "mod_cgid, persistent, .htaccess", mount: "", losses: &[APACHE, CGI, HOSTED], conf: hosted("hosted-kept") },
    ]);
}

#[rustfmt::skip]
#[test]
fn every_request_arrives_through_mod_cgi_as_on_a_plain_server() {
    // How it starts programs is its own; what it makes of a request and of .htaccess is the same code as above.
    check("prefork", "cgi", None, 1, &[
        Site { name: "mod_cgi", mount: "", losses: &[APACHE, CGI], conf: cgi("") },
        Site { name: "mod_cgi, persistent, .htaccess", mount: "", losses: &[APACHE, CGI, HOSTED], conf: hosted("hosted-kept") },
    ]);
}

#[rustfmt::skip]
#[test]
fn every_request_arrives_through_mod_fcgid_as_on_a_plain_server() {
    check("event", "cgid", None, 0, &[
        Site { name: "mod_fcgid", mount: "", losses: &[APACHE, FCGID], conf: fcgid("", false) },
        Site { name: "mod_fcgid, prefix", mount: "/app", losses: &[APACHE, FCGID], conf: fcgid("/app", false) },
        Site { name: "mod_fcgid, FcgidWrapper", mount: "", losses: &[APACHE, FCGID], conf: fcgid("", true) },
        Site { name: "mod_fcgid, FcgidWrapper, prefix", mount: "/app", losses: &[APACHE, FCGID], conf: fcgid("/app", true) },
        Site { name: "mod_fcgid, .fcgi", mount: "/app.fcgi", losses: &[APACHE, FCGID, HOSTED, HOSTED_FCGID], conf: hosted("hosted-plain") },
        Site { name: "mod_fcgid, .htaccess", mount: "", losses: &[APACHE, FCGID, HOSTED, HOSTED_FCGID], conf: hosted("hosted-fcgid") },
    ]);
}

#[rustfmt::skip]
#[test]
fn every_request_arrives_through_mod_proxy_fcgi_as_on_a_plain_server() {
    if program("apache2").is_none() {
        return;
    }
    let gateway = gateway(matrix::APP, &[]);
    check("event", "cgid", Some(&gateway), 0, &[
        Site { name: "mod_proxy_fcgi", mount: "", losses: &[APACHE, PROXY], conf: proxy_fcgi(&[PROXY_PASS]) },
        Site { name: "mod_proxy_fcgi, new connections", mount: "", losses: &[APACHE, PROXY], conf: proxy_fcgi(&[PROXY_PASS]).replace(REUSE, "") },
        Site { name: "mod_proxy_fcgi, prefix", mount: "/app", losses: &[APACHE, PROXY], conf: proxy_fcgi(&[PROXY_PASS_BELOW]) },
        Site { name: "mod_proxy_fcgi, SetHandler", mount: "/app", losses: &[APACHE, PROXY], conf: proxy_fcgi(&SET_HANDLER) },
    ]);
}

/// The folder of a hosted site is public, and the application lies in it.
#[test]
fn a_hosted_site_shows_its_files_but_not_its_sources() {
    let site = Site {
        name: "",
        mount: "",
        losses: &[],
        conf: hosted("hosted"),
    };
    let responders = Responders::new();
    let Some(server) = start("event", "cgid", None, &[site], &responders) else {
        return;
    };
    let get = |path| Client::open(server.address()).fetch("GET", path, b"");
    let page = get("/style.css");
    assert_eq!((page.status, page.text().as_str()), (200, "of Apache's"));
    // The application is asked instead.
    let page = get("/matrix_site.py");
    assert_eq!(page.field("X-Page"), Some("told"), "{}", page.text());
    let page = get("/app.cgi");
    assert_eq!(page.field("X-Page"), Some("told"), "{}", page.text());
}

/// What Apache itself changes, whatever is behind it.
#[rustfmt::skip]
const APACHE: &[Loss] = &[
    loss("double slashes", "PATH_INFO", "'/double/slash/'", "MergeSlashes"),
    loss("dots", "PATH_INFO", "'/a/c'", "resolved before anything else"),
    loss("encoded dots", "PATH_INFO", "'/c'", "resolved before anything else"),
    loss("above the root", "status", "400", "refused by Apache"),
    loss("absolute target", "SERVER_PORT", "'99'", "what the client says, unless UseCanonicalPhysicalPort is on"),
    loss("host without port", "SERVER_PORT", "'80'", "what the client says, unless UseCanonicalPhysicalPort is on"),
    loss("HTTP/1.0 without host", "SERVER_PORT", "'80'", "what the client says, unless UseCanonicalPhysicalPort is on"),
    loss("cookie twice", "HTTP_COOKIE", "'a=1, b=2'", "joined like any other field"),
];

/// And what it changes for a CGI program.
#[rustfmt::skip]
const CGI: &[Loss] = &[
    loss("POST in chunks", "CONTENT_LENGTH", "0", "not collected: the length is not known when the program is started"),
];

/// What mod_fcgid changes.
#[rustfmt::skip]
const FCGID: &[Loss] = &[
    loss("*", "HTTP_CONNECTION", "'close'", "added by mod_fcgid"),
];

/// What some versions of mod_proxy_fcgi change.
#[rustfmt::skip]
const PROXY: &[Loss] = &[
    loss_of_some("POST in chunks", "CONTENT_LENGTH", "0", "not collected: the length is not known when the request is passed on"),
];

/// What a customer of shared hosting cannot set in .htaccess.
#[rustfmt::skip]
const HOSTED: &[Loss] = &[
    loss("encoded slash", "status", "404", "AllowEncodedSlashes is the host's to set"),
    loss("encoded slashes above the root", "status", "404", "AllowEncodedSlashes is the host's to set"),
];
#[rustfmt::skip]
const HOSTED_FCGID: &[Loss] = &[
    loss("POST of 128 KiB and a byte", "status", "500", "FcgidMaxRequestLen is the host's to set"),
];

/// What Apache does where the application's path is a folder.
#[rustfmt::skip]
const FOLDER: &[Loss] = &[
    loss("the mount itself", "status", "301", "mod_dir sends the client to the folder with a slash"),
    loss("the mount with a query", "status", "301", "mod_dir sends the client to the folder with a slash"),
];

/// The site of conf/apache/cgi.conf.
pub(super) fn cgi(mount: &str) -> String {
    let conf = Conf::read("apache/cgi.conf");
    let conf = match mount {
        "" => conf,
        _ => conf
            .without(&["ScriptAlias / /srv/app/app.cgi/"])
            .with(&["ScriptAlias /app /srv/app/app.cgi"]),
    };
    conf.text().to_owned()
}

/// The same with a program that keeps its application alive.
fn kept(mount: &str) -> String {
    cgi(mount).replace("/srv/app", "/srv/kept")
}

/// The site of conf/apache/fcgid.conf.
pub(super) fn fcgid(mount: &str, wrapper: bool) -> String {
    let mut conf = Conf::read("apache/fcgid.conf");
    if !mount.is_empty() {
        conf = conf
            .without(&["ScriptAlias / /srv/app/app.fcgi/"])
            .with(&["ScriptAlias /app /srv/app/app.fcgi"]);
    }
    if wrapper {
        conf = conf.with(&[
            "FcgidWrapper \"/usr/local/bin/wsgi-gateway --log-level info /srv/app/app.fcgi\"",
        ]);
    }
    conf.text().to_owned()
}

/// The site of conf/apache/proxy-fcgi.conf with one of its ways to the gateway.
pub(super) fn proxy_fcgi(way: &[&str]) -> String {
    let conf = Conf::read("apache/proxy-fcgi.conf").without(&[PROXY_PASS]);
    conf.with(way).text().to_owned()
}

pub(super) const PROXY_PASS: &str =
    "ProxyPass / unix:/run/wsgi-gateway.sock|fcgi://localhost/ enablereuse=on";
pub(super) const PROXY_PASS_BELOW: &str =
    "ProxyPass /app unix:/run/wsgi-gateway.sock|fcgi://localhost enablereuse=on";
const REUSE: &str = " enablereuse=on";
pub(super) const SET_HANDLER: [&str; 3] = [
    "<Location /app>",
    "SetHandler proxy:unix:/run/wsgi-gateway.sock|fcgi://localhost/",
    "</Location>",
];

/// What a provider of shared hosting has around a customer's folder.
pub(super) fn hosted(folder: &str) -> String {
    format!(
        "<VirtualHost *:80>
            ServerName 127.0.0.1
            DocumentRoot /srv/{folder}
            <Directory /srv/{folder}>
                Require all granted
                AllowOverride All
            </Directory>
        </VirtualHost>"
    )
}

/// A folder with `app.cgi` and `app.fcgi` of conf/shared-hosting and the application that they import; where it is a hosted site's, also
/// with `.htaccess` and a style sheet. Where it is one that is kept, its program is as it stands there; else each request has one of
/// its own.
fn write_site(folder: &Folder, name: &str) {
    write_programs(folder, name, matrix::APP);
    if !name.starts_with("hosted") {
        return;
    }
    let rule = "RewriteRule ^ app.cgi [L]";
    let htaccess = Conf::read("shared-hosting/.htaccess");
    let htaccess = match name {
        "hosted-fcgid" => htaccess.put(rule, "RewriteRule ^ app.fcgi [L]"),
        name if name.ends_with("-plain") => htaccess.put(rule, ""),
        _ => htaccess,
    };
    folder.write(&format!("{name}/.htaccess"), htaccess.text());
    folder.write(&format!("{name}/style.css"), "of Apache's");
}

/// `app.cgi` and `app.fcgi` with this test application beside them.
pub(super) fn write_programs(folder: &Folder, name: &str, app: &str) {
    let gateway = folder.gateway_program();
    for program in ["app.cgi", "app.fcgi"] {
        let conf = match program {
            "app.cgi" => Conf::read("shared-hosting/app.cgi")
                .put("/home/you/logs", folder.writable(&format!("{name}-logs"))),
            _ => Conf::read("shared-hosting/app.fcgi"),
        };
        let conf = conf
            .put("your_site", app)
            .put("/home/you/bin/wsgi-gateway", &gateway)
            .put("/home/you/venv", folder.at("venv"));
        let mut text = conf.text().replace("/usr/local/bin/wsgi-gateway", &gateway);
        if name.ends_with("-plain") {
            // The other first line that it shows.
            text.drain(..text.find("#!/usr/bin/env").unwrap());
        }
        if !name.contains("kept") {
            text = text.replace(" --persistent", "");
        }
        folder.write_program(&format!("{name}/{program}"), text);
    }
    let app = format!("{app}.py");
    folder.write(
        &format!("{name}/{app}"),
        fs::read(apps().join(&app)).unwrap(),
    );
}

/// A virtualenv with nothing in it, as a customer's own.
fn make_virtualenv(path: &str) {
    let status = Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--without-pip", path])
        .status();
    assert!(status.unwrap().success());
}

/// Starts Apache with these sites, if it is there. `cgi` is the module for CGI programs that goes with `mpm`.
fn start(
    mpm: &str,
    cgi: &str,
    gateway: Option<&Gateway>,
    sites: &[Site],
    responders: &Responders,
) -> Option<Server> {
    serve(mpm, cgi, sites.len(), |folder| {
        make_virtualenv(&folder.at("venv"));
        for name in [
            "app",
            "hosted",
            "hosted-fcgid",
            "hosted-plain",
            "hosted-prefix/app",
            "kept",
            "hosted-kept",
            "hosted-kept-plain",
        ] {
            write_site(folder, name);
        }
        let socket = gateway.map(|gateway| gateway.socket().to_str().unwrap());
        let filled_in = |site: &Site| {
            site.conf
                .replace("/run/wsgi-gateway.sock", socket.unwrap_or_default())
                .replace("/srv/", &folder.at(""))
                .replace("/usr/local/bin/wsgi-gateway", &folder.gateway_program())
                .replace("</VirtualHost>", &responders.for_apache())
        };
        sites.iter().map(filled_in).collect()
    })
}

/// Starts Apache, if it is there, with the sites that `sites` makes in its folder, each on an address of its own.
pub(super) fn serve(
    mpm: &str,
    cgi: &str,
    addresses: usize,
    sites: impl Fn(&Folder) -> Vec<String>,
) -> Option<Server> {
    program("apache2")?;
    installed(&format!("{MODULES}/mod_fcgid.so"))?;
    Some(Server::start(addresses, |start| {
        command(mpm, cgi, start, &sites(&start.folder)).expect("asked for before")
    }))
}

/// What starts Apache with these sites, each on an address of its own, where it is there.
pub(super) fn command(mpm: &str, cgi: &str, start: &Start, sites: &[String]) -> Option<Command> {
    let apache = program("apache2")?;
    let folder = &start.folder;
    folder.write("mime.types", "");
    let mut conf = include_str!("apache-base.conf")
        .replace("{modules}", MODULES)
        .replace("{folder}", &folder.at(""))
        .replace("{mpm}", mpm)
        .replace("{cgi}", cgi)
        .replace(
            "{user}",
            &server_user().map_or(String::new(), |user| format!("User {user}\nGroup {user}")),
        );
    for (site, address) in sites.iter().zip(&start.addresses) {
        let site = site
            .replace("#ServerName www.example.org", "ServerName 127.0.0.1")
            .replace("*:80", &address.to_string());
        conf += &format!("Listen {address}\n{site}\n");
    }
    let conf = folder.write("apache.conf", conf);
    let mut command = Command::new(apache);
    command.arg("-DFOREGROUND").arg("-f").arg(conf);
    Some(command)
}

/// Starts Apache with these sites and sends the list to each. Of the programs that they have, so many keep their application.
fn check(mpm: &str, cgi: &str, gateway: Option<&Gateway>, kept: usize, sites: &[Site]) {
    // Ended when the server is.
    let responders = Responders::new();
    let Some(server) = start(mpm, cgi, gateway, sites, &responders) else {
        return;
    };
    let ways: Vec<Way<'_>> = sites
        .iter()
        .zip(server.addresses())
        .map(|(site, address)| Way {
            name: site.name,
            address: *address,
            mount: site.mount,
            losses: site.losses,
        })
        .collect();
    matrix::check(&ways);
    assert_eq!(responders.count(), kept, "{}", responders.ask(&["ps"]));
}
