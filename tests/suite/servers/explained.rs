//! `explain` behind real web servers, started with the files of `conf/`: that it names the server, the set-up and the rule, and finds
//! nothing wrong with what is right. Mistakes are in `mistaken`.

use std::net::SocketAddr;
use std::process::Command;

use super::explanation::{
    Explained, ask, explained, explaining, in_folder, write_explain, write_explain_service,
};
use super::{Conf, Folder, Server, apache, caddy, h2o, haproxy, lighttpd, nginx, program};

/// A set-up with which nothing is wrong.
struct Right {
    name: &'static str,
    address: SocketAddr,
    mount: &'static str,
    server: &'static str,
    setup: &'static str,
    rule: &'static str,
    /// What an ordinary request leaves open.
    unseen: &'static [&'static str],
}

const AUTHORIZATION: &str = "Authorization: Basic bmFtZTpwYXNzd29yZA==";
const HEAD: &str = "fastcgi_buffer_size 32k; fastcgi_buffers 8 32k;";
const BODY: &str = "FcgidMaxRequestLen 1073741824";
const PASS_HEADER: &str = "pass-header Authorization";
const CGI_PASS_AUTH: &str = "CGIPassAuth On";
const MOUNT: &str = "--mount /a b";

fn check(setups: &[Right]) {
    for right in setups {
        looks_right(right);
        // And what can be tried out comes out well.
        let target = format!("{}/a%20b/c?check=authorization", right.mount);
        let page = ask(right.address, &target, &[AUTHORIZATION]);
        assert_eq!(page.status, 200, "{}: {}", right.name, page.text());
        let tried = Explained::of(&page);
        assert_eq!(tried.findings, [""; 0], "{}", right.name);
        for line in [CGI_PASS_AUTH, PASS_HEADER] {
            assert!(!tried.unseen.iter().any(|unseen| unseen == line));
        }
    }
}

fn looks_right(right: &Right) {
    let name = right.name;
    let target = format!("{}/a%20b/c?x=1", right.mount);
    let plain = explained(right.address, &target, &["Cookie: a=1"]);
    assert!(plain.server.starts_with(right.server), "{name}: {plain:#?}");
    assert!(plain.setup.contains(right.setup), "{name}: {plain:#?}");
    assert_eq!(plain.path, [right.rule, right.mount, "/a b/c"], "{name}");
    assert_eq!(plain.findings, [""; 0], "{name}");
    assert_eq!(plain.unseen, right.unseen, "{name}");

    let page = ask(right.address, &format!("{target}&check=head"), &[]);
    assert_eq!(page.status, 200, "{name}: {}", page.text());
    let is_long = |field: &&(String, String)| field.0.eq_ignore_ascii_case("X-Check-Head");
    let long = page.fields.iter().filter(is_long);
    let length: usize = long.map(|(_, value)| value.matches('x').count()).sum();
    assert_eq!(length, 12_000, "{name}");
    let tried = Explained::of(&page);
    assert_eq!(tried.findings, [""; 0], "{name}");
    assert!(!tried.unseen.iter().any(|line| line == HEAD), "{name}");
}

#[test]
fn nothing_is_wrong_with_nginx() {
    if program("nginx").is_none() {
        return;
    }
    let gateway = explaining(&[]);
    let root = nginx::start(&Conf::read("nginx.conf"), &gateway);
    let prefix = nginx::start(&Conf::read("nginx-prefix.conf"), &gateway);
    let right = |name, address, mount, setup| Right {
        name,
        address,
        mount,
        server: "nginx/",
        setup,
        rule: "as-sent",
        unseen: &[HEAD],
    };
    check(&[
        right("nginx", root.address(), "", "the whole path as PATH_INFO"),
        right(
            "nginx, prefix",
            prefix.address(),
            "/app",
            "fastcgi_split_path_info",
        ),
    ]);
}

#[test]
fn nothing_is_wrong_with_lighttpd() {
    if program("lighttpd").is_none() {
        return;
    }
    let gateway = explaining(&[]);
    let root = lighttpd::external(&Conf::read("lighttpd.conf"), &gateway);
    let prefix = lighttpd::external(&Conf::read("lighttpd-prefix.conf"), &gateway);
    let spawned = lighttpd::spawned(
        &Conf::read("lighttpd-spawn.conf").put("--threads 4", "fastcgi --explain --threads 4"),
    );
    let cgi = lighttpd::start(|start| {
        write_explain(&start.folder, "app.py");
        Conf::read("lighttpd-cgi.conf")
            // The file is run by its first line.
            .put(
                "\"/app.py\" => \"/usr/local/bin/wsgi-gateway\"",
                "\"/app.py\" => \"\"",
            )
            .put_all("/srv/site/app.py", start.folder.at("app.py"))
            .put("/var/log/lighttpd", start.folder.writable("logs"))
    });
    let right = |name, address, mount, setup, unseen| Right {
        name,
        address,
        mount,
        server: "lighttpd/",
        setup,
        rule: "as-sent",
        unseen,
    };
    let fix: &[&str] = &["\"fix-root-scriptname\" => \"enable\""];
    check(&[
        right("lighttpd", root.address(), "", "mod_fastcgi", &[]),
        right(
            "lighttpd, prefix",
            prefix.address(),
            "/app",
            "mod_fastcgi",
            fix,
        ),
        right(
            "lighttpd, spawned",
            spawned.address(),
            "",
            "mod_fastcgi",
            &[],
        ),
        right("lighttpd, CGI", cgi.address(), "/app", "mod_cgi", &[]),
    ]);
}

#[test]
fn nothing_is_wrong_with_apache_that_runs_programs() {
    let sites = |folder: &Folder| {
        write_explain(folder, "app.cgi");
        write_explain(folder, "hosted/app.cgi");
        let htaccess = Conf::read("shared-hosting/.htaccess");
        folder.write("hosted/.htaccess", htaccess.text());
        let sites = [
            apache::cgi(""),
            apache::cgi("/app"),
            apache::hosted("hosted"),
        ];
        sites.map(|site| in_folder(&site, folder)).into()
    };
    for (mpm, module) in [("event", "cgid"), ("prefork", "cgi")] {
        let Some(server) = apache::serve(mpm, module, 3, sites) else {
            return;
        };
        let right = |name, at: usize, mount, setup, rule| Right {
            name,
            address: server.addresses()[at],
            mount,
            server: "Apache/",
            setup,
            rule,
            unseen: &[CGI_PASS_AUTH],
        };
        check(&[
            right("Apache, CGI", 0, "", "ScriptAlias", "as-sent"),
            right("Apache, CGI, prefix", 1, "/app", "ScriptAlias", "as-sent"),
            right("Apache, CGI, .htaccess", 2, "", "RewriteRule", "redirected"),
        ]);
    }
}

#[test]
fn nothing_is_wrong_with_apache_that_speaks_fastcgi() {
    if program("apache2").is_none() {
        return;
    }
    let gateway = explaining(&[]);
    let sites = |folder: &Folder| {
        write_explain_service(folder, "app.fcgi");
        let socket = gateway.socket().to_str().unwrap();
        let set_handler = apache::proxy_fcgi(&apache::SET_HANDLER);
        let sites = [
            apache::fcgid("", false),
            apache::fcgid("/app", false),
            apache::fcgid("", true).replace("--log-level info", "fastcgi --explain"),
            apache::proxy_fcgi(&[apache::PROXY_PASS]),
            apache::proxy_fcgi(&[apache::PROXY_PASS_BELOW]),
            set_handler,
        ];
        let filled_in =
            |site: String| in_folder(&site, folder).replace("/run/wsgi-gateway.sock", socket);
        sites.map(filled_in).into()
    };
    let Some(server) = apache::serve("event", "cgid", 6, sites) else {
        return;
    };
    let right = |name, at: usize, mount, setup, rule, unseen| Right {
        name,
        address: server.addresses()[at],
        mount,
        server: "Apache/",
        setup,
        rule,
        unseen,
    };
    const PROXY_PASS: &str = "ProxyPass \"/\" \"unix:/run/wsgi-gateway.sock|fcgi://localhost/\"";
    check(&[
        right(
            "mod_fcgid",
            0,
            "",
            "mod_fcgid",
            "as-sent",
            &[CGI_PASS_AUTH, BODY],
        ),
        right(
            "mod_fcgid, prefix",
            1,
            "/app",
            "mod_fcgid",
            "as-sent",
            &[CGI_PASS_AUTH, BODY],
        ),
        right(
            "mod_fcgid, FcgidWrapper",
            2,
            "",
            "mod_fcgid",
            "as-sent",
            &[CGI_PASS_AUTH, BODY],
        ),
        right(
            "ProxyPass",
            3,
            "",
            "by ProxyPass",
            "proxy-pass",
            &[MOUNT, CGI_PASS_AUTH],
        ),
        right(
            "ProxyPass, prefix",
            4,
            "/app",
            "by ProxyPass",
            "proxy-pass",
            &[CGI_PASS_AUTH],
        ),
        right(
            "SetHandler",
            5,
            "/app",
            "by SetHandler",
            "as-sent",
            &[PROXY_PASS, CGI_PASS_AUTH],
        ),
    ]);
}

#[test]
fn nothing_is_wrong_with_caddy() {
    if program("caddy").is_none() {
        return;
    }
    let gateway = explaining(&[]);
    let root = caddy::start(&Conf::read("Caddyfile"), &gateway);
    let prefix = caddy::start(&Conf::read("Caddyfile-prefix"), &gateway);
    let right = |name, address, mount, unseen| Right {
        name,
        address,
        mount,
        server: "Caddy/",
        setup: "transport fastcgi",
        rule: "as-sent",
        unseen,
    };
    check(&[
        right("Caddy", root.address(), "", &[MOUNT]),
        right("Caddy, prefix", prefix.address(), "/app", &[]),
    ]);
}

#[test]
fn nothing_is_wrong_with_haproxy() {
    if program("haproxy").is_none() {
        return;
    }
    let gateways = [explaining(&[]), explaining(&["--mount", "/app"])];
    let root = haproxy::start(&Conf::read("haproxy.cfg"), &gateways[0]);
    let prefix = haproxy::start(&Conf::read("haproxy-prefix.cfg"), &gateways[1]);
    let right = |name, address, mount, rule, unseen| Right {
        name,
        address,
        mount,
        server: "HAProxy",
        setup: "fcgi-app",
        rule,
        unseen,
    };
    check(&[
        right(
            "HAProxy",
            root.address(),
            "",
            "whole-path",
            &[MOUNT, PASS_HEADER],
        ),
        right(
            "HAProxy, prefix",
            prefix.address(),
            "/app",
            "mount",
            &[PASS_HEADER],
        ),
    ]);
}

#[test]
fn nothing_is_wrong_with_h2o() {
    let Some(h2o) = h2o::h2o() else {
        return;
    };
    let gateways = [explaining(&[]), explaining(&["--mount", "/app"])];
    let site = Conf::read("h2o.conf");
    let prefix = site.clone().put("      \"/\":\n", "      \"/app\":\n");
    let root = h2o::start(&h2o, &site, &gateways[0]);
    let prefix = h2o::start(&h2o, &prefix, &gateways[1]);
    let right = |name, address, mount, rule, unseen| Right {
        name,
        address,
        mount,
        server: "h2o/",
        setup: "fastcgi.connect",
        rule,
        unseen,
    };
    check(&[
        right("h2o", root.address(), "", "as-sent", &[MOUNT]),
        right("h2o, prefix", prefix.address(), "/app", "mount", &[]),
    ]);
}

#[test]
fn nothing_is_wrong_with_small_servers() {
    if program("busybox").is_none() {
        return;
    }
    let server = Server::start(1, |start| {
        let folder = &start.folder;
        write_explain(folder, "www/cgi-bin/app");
        let address = start.address().to_string();
        let mut httpd = Command::new("busybox");
        httpd.args(["httpd", "-f", "-p", &address, "-h", &folder.at("www")]);
        httpd.env_clear();
        httpd
    });
    looks_right(&Right {
        name: "busybox httpd",
        address: server.address(),
        mount: "/cgi-bin/app",
        server: "busybox httpd/",
        setup: "a CGI program",
        rule: "as-sent",
        unseen: &[],
    });
    // It keeps the header for itself, and there is no line that would change that.
    let page = ask(
        server.address(),
        "/cgi-bin/app?check=authorization",
        &[AUTHORIZATION],
    );
    assert_eq!(page.status, 401);
    let [finding] = &Explained::of(&page).findings[..] else {
        panic!("{}", page.text());
    };
    assert!(finding.contains("no Authorization header has arrived"));
}
