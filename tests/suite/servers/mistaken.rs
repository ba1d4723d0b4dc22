//! `explain` behind real web servers with one mistake each: that it finds this one and no other, and that the line which it says to
//! change mends it when it is put there. Apache's mistakes are in `mistaken_apache`.

use super::explanation::{Explained, ask, explaining};
use super::{Conf, Server, caddy, haproxy, lighttpd, nginx, program};
use crate::support::gateway::Gateway;

pub(super) const AUTHORIZATION: &str = "Authorization: Basic bmFtZTpwYXNzd29yZA==";

/// A server and the gateway behind it, if it does not start that itself.
pub(super) type Served = (Server, Option<Gateway>);

/// A set-up in which a line may stand, and a request that shows what is wrong without it.
pub(super) struct Mistake<'a> {
    pub(super) name: &'a str,
    pub(super) serve: &'a dyn Fn(&str) -> Served,
    pub(super) target: &'a str,
    pub(super) fields: &'a [&'a str],
    /// The line that must be asked for.
    pub(super) line: &'a str,
}

impl Mistake<'_> {
    pub(super) fn check(&self) {
        let (server, _gateway) = (self.serve)("");
        let page = ask(server.address(), self.target, self.fields);
        let wrong = Explained::of(&page);
        assert_eq!(
            wrong.findings,
            [self.line],
            "{}: {}",
            self.name,
            page.text()
        );
        drop((server, _gateway));
        let (server, _gateway) = (self.serve)(self.line);
        let page = ask(server.address(), self.target, self.fields);
        let mended = Explained::of(&page);
        assert_eq!(
            (page.status, mended.findings),
            (200, Vec::new()),
            "{}: {}",
            self.name,
            page.text()
        );
    }
}

fn behind_nginx(conf: &Conf) -> Served {
    let gateway = explaining(&[]);
    (nginx::start(conf, &gateway), Some(gateway))
}

/// A line of conf/nginx.conf, and a request that needs it.
#[test]
fn lines_that_are_missing_in_nginx() {
    if program("nginx").is_none() {
        return;
    }
    let conf = Conf::read("nginx.conf");
    let without = |conf: &Conf, line: &'static str| {
        let conf = conf.clone().without(&[line]);
        move |line: &str| {
            behind_nginx(
                &conf
                    .clone()
                    .put("fastcgi_pass", format!("{line}\nfastcgi_pass")),
            )
        }
    };
    let host = without(&conf, "fastcgi_param HTTP_HOST $http_host;");
    let user = without(&conf, "fastcgi_param REMOTE_USER \"\";");
    let proxy = without(&conf, "keepalive 8;");
    let few = conf.put(
        "include /etc/nginx/fastcgi_params;",
        "fastcgi_param SERVER_SOFTWARE nginx;
         fastcgi_param REQUEST_METHOD $request_method;
         fastcgi_param QUERY_STRING $query_string;
         fastcgi_param SERVER_PORT $server_port;
         fastcgi_param SERVER_NAME $server_name;
         fastcgi_param SERVER_PROTOCOL $server_protocol;",
    );
    let few = without(&few, "keepalive 8;");
    for (name, serve, fields, line) in [
        (
            "no port",
            &host as &dyn Fn(&str) -> Served,
            &[][..],
            "fastcgi_param HTTP_HOST $http_host;",
        ),
        (
            "anybody",
            &user,
            &[AUTHORIZATION],
            "fastcgi_param REMOTE_USER \"\";",
        ),
        (
            "httpoxy",
            &proxy,
            &["Proxy: http://evil.example"],
            "fastcgi_param HTTP_PROXY \"\";",
        ),
        (
            "no URL",
            &few,
            &[],
            "fastcgi_param REQUEST_URI $request_uri;",
        ),
        (
            "behind TLS",
            &proxy,
            &["X-Forwarded-Proto: https"],
            "fastcgi_param HTTPS on;",
        ),
    ] {
        let mistake = Mistake {
            name,
            serve,
            target: "/a%20b/c?x=1",
            fields,
            line,
        };
        mistake.check();
    }
}

#[test]
fn nginx_with_its_own_parameters_under_a_prefix() {
    if program("nginx").is_none() {
        return;
    }
    let conf = Conf::read("nginx-prefix.conf").without(&[
        "fastcgi_split_path_info (?s)^(/app)(/.*)?$;",
        "fastcgi_param PATH_INFO $fastcgi_path_info;",
    ]);
    let serve = |line: &str| {
        let options: Vec<&str> = line.split_whitespace().collect();
        let gateway = explaining(&options);
        (nginx::start(&conf, &gateway), Some(gateway))
    };
    let target = "/app/a%20b/c?x=1";
    let mistake = Mistake {
        name: "",
        serve: &serve,
        target,
        fields: &[],
        line: "--mount /app",
    };
    mistake.check();
    let explained = |line| {
        let (server, _gateway) = serve(line);
        Explained::of(&ask(server.address(), target, &[])).path
    };
    assert_eq!(explained(""), ["whole-path", "", "/app/a b/c"]);
    assert_eq!(explained("--mount /app"), ["mount", "/app", "/a b/c"]);
}

/// Such a page does not come: the line has to be read before.
#[test]
fn nginx_with_its_own_buffers() {
    if program("nginx").is_none() {
        return;
    }
    let lines = ["fastcgi_buffer_size 32k;", "fastcgi_buffers 8 32k;"];
    let conf = Conf::read("nginx.conf")
        .without(&[&lines[..], &["fastcgi_busy_buffers_size 224k;"]].concat());
    let (server, gateway) = behind_nginx(&conf);
    let told = Explained::of(&ask(server.address(), "/", &[]));
    assert_eq!(
        (told.findings, &told.unseen[..]),
        (vec![], &[lines.join(" ")][..])
    );
    assert_eq!(ask(server.address(), "/?check=head", &[]).status, 502);
    assert!(server.log().contains("upstream sent too big header"));
    drop((server, gateway));
    let line = &told.unseen[0];
    let (server, _gateway) =
        behind_nginx(&conf.put("fastcgi_pass", format!("{line}\nfastcgi_pass")));
    let told = Explained::of(&ask(server.address(), "/?check=head", &[]));
    assert_eq!((told.findings, told.unseen), (vec![], vec![]));
}

#[test]
fn lines_that_are_missing_in_haproxy() {
    if program("haproxy").is_none() {
        return;
    }
    let conf = Conf::read("haproxy.cfg");
    let without = |lines: &[&str]| {
        let conf = conf.clone().without(lines);
        move |line: &str| {
            let gateway = explaining(&[]);
            let conf = conf.clone().put(
                "docroot /var/empty",
                format!("docroot /var/empty\n    {line}"),
            );
            (haproxy::start(&conf, &gateway), Some(gateway))
        }
    };
    let pass = without(&["pass-header Authorization"]);
    let user = without(&[
        "set-param REMOTE_USER %[str()]",
        "set-param AUTH_TYPE %[str()]",
    ]);
    for (serve, target, field, line) in [
        (
            &pass as &dyn Fn(&str) -> Served,
            "/a/b?check=authorization",
            AUTHORIZATION,
            "pass-header Authorization",
        ),
        (
            &user,
            "/a/b",
            AUTHORIZATION,
            "set-param REMOTE_USER %[str()]",
        ),
        (
            &without(&[]),
            "/a/b",
            "X-Forwarded-Proto: https",
            "set-param HTTPS %[str(on)]",
        ),
    ] {
        Mistake {
            name: line,
            serve,
            target,
            fields: &[field],
            line,
        }
        .check();
    }
}

#[test]
fn lines_that_are_missing_in_lighttpd() {
    if program("lighttpd").is_none() {
        return;
    }
    let conf = Conf::read("lighttpd.conf");
    let fix = "\"fix-root-scriptname\" => \"enable\"";
    let root = |line: &str| {
        let gateway = explaining(&[]);
        let server = lighttpd::external(&conf.clone().put(fix, line), &gateway);
        (server, Some(gateway))
    };
    Mistake {
        name: "root",
        serve: &root,
        target: "/",
        fields: &[],
        line: fix,
    }
    .check();
    let (server, _gateway) = root("");
    let told = Explained::of(&ask(server.address(), "/a/b", &[]));
    assert_eq!((told.findings, told.unseen), (vec![], vec![fix.to_owned()]));

    let prefix = Conf::read("lighttpd-prefix.conf");
    let path = "fastcgi.server = ( \"/app\" => ((";
    let slash = |line: &str| {
        let gateway = explaining(&[]);
        let line = match line {
            "" => "fastcgi.server = ( \"/app/\" => ((",
            line => line,
        };
        let server = lighttpd::external(&prefix.clone().put(path, line), &gateway);
        (server, Some(gateway))
    };
    Mistake {
        name: "slash",
        serve: &slash,
        target: "/app/",
        fields: &[],
        line: path,
    }
    .check();

    let tls = |line: &str| {
        let gateway = explaining(&[]);
        let modules = "server.modules += ( \"mod_fastcgi\" )";
        let conf = conf.clone().put(modules, format!("{modules}\n{line}"));
        (lighttpd::external(&conf, &gateway), Some(gateway))
    };
    let line = "server.modules += ( \"mod_setenv\" ) $REQUEST_HEADER[\"X-Forwarded-Proto\"] == \"https\" \
                { setenv.add-environment = ( \"HTTPS\" => \"on\" ) }";
    Mistake {
        name: "TLS",
        serve: &tls,
        target: "/a/b",
        fields: &["X-Forwarded-Proto: https"],
        line,
    }
    .check();
}

#[test]
fn lines_that_are_missing_in_caddy() {
    if program("caddy").is_none() {
        return;
    }
    let conf = Conf::read("Caddyfile").put("#flush_interval -1", "trusted_proxies private_ranges");
    let before = "\treverse_proxy";
    let proxy = |line: &str| {
        let gateway = explaining(&[]);
        let conf = conf.clone().put(before, format!("{line}\n{before}"));
        (caddy::start(&conf, &gateway), Some(gateway))
    };
    let tls = |line: &str| {
        let gateway = explaining(&[]);
        let conf = conf.clone().put(
            "transport fastcgi",
            format!("transport fastcgi {{\n{line}\n}}"),
        );
        (caddy::start(&conf, &gateway), Some(gateway))
    };
    for (serve, field, line) in [
        (
            &proxy as &dyn Fn(&str) -> Served,
            "Proxy: http://evil.example",
            "request_header -Proxy",
        ),
        (&tls, "X-Forwarded-Proto: https", "env HTTPS on"),
    ] {
        Mistake {
            name: line,
            serve,
            target: "/a/b",
            fields: &[field],
            line,
        }
        .check();
    }
}
