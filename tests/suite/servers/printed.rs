//! What `wsgi-gateway conf` prints, put as it is where it says that it is to be put, in real web servers: at the root and at a path, by a
//! Unix socket and by TCP, with files that the web server sends itself; names with spaces and other odd characters in all of it.
//!
//! What it prints with `--whole` is what most other tests of a web server start it with.

use std::path::Path;
use std::process::Command;

use super::{Folder, Server, Start, apache, h2o, installed, program, reachable, server_user};
use crate::support::gateway::{Gateway, binary};
use crate::support::http::Client;

/// What the command prints.
#[track_caller]
pub(super) fn print(words: &[&str]) -> String {
    let (code, out, err) = run(words);
    assert_eq!((code, &*err), (0, ""), "{words:?}");
    out
}

fn run(words: &[&str]) -> (i32, String, String) {
    let output = Command::new(binary())
        .arg("conf")
        .args(words)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A site as it is asked for.
struct Case {
    /// As it stands in a URL; empty for the whole site.
    mount: &'static str,
    is_tcp: bool,
    /// Where files are that the web server sends itself.
    files: Option<&'static str>,
}

const CASES: [Case; 3] = [
    Case {
        mount: "",
        is_tcp: false,
        files: Some("/st%20atic"),
    },
    Case {
        mount: "/a%20b+c.d",
        is_tcp: false,
        files: Some("/a%20b+c.d/files"),
    },
    Case {
        mount: "/app",
        is_tcp: true,
        files: None,
    },
];

impl Case {
    fn gateway(&self) -> Gateway {
        let mount = ["--mount", self.mount];
        let options = if self.mount.is_empty() {
            &[][..]
        } else {
            &mount
        };
        match self.is_tcp {
            false => {
                let builder = Gateway::builder("nginx_site").args(options);
                let socket = builder.folder().path().join("a b.sock");
                reachable(builder.socket(socket))
            }
            true => Gateway::builder("nginx_site")
                .args(options)
                .bind_tcp()
                .start(),
        }
    }

    /// What is printed for it.
    fn print(&self, server: &str, start: &Start, gateway: &Gateway) -> String {
        let mut words = vec![server.to_owned(), "nginx_site".to_owned()];
        words.push(match self.is_tcp {
            true => format!("--bind={}", gateway.address()),
            false => format!("--bind={}", gateway.socket().display()),
        });
        words.extend(self.words(start));
        print(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn words(&self, start: &Start) -> Vec<String> {
        let mut words = vec![format!("--listen={}", start.address())];
        if !self.mount.is_empty() {
            words.push(format!("--mount={}", self.mount));
        }
        if let Some(files) = self.files {
            start
                .folder
                .write("of the server/x y.txt", "of the server's");
            words.push(format!(
                "--static={files}={}",
                start.folder.at("of the server/")
            ));
        }
        words
    }

    /// Asks for a page of the application's, for a file, and for what is neither.
    fn check(&self, name: &str, server: &Server) {
        let get = |target: &str| {
            let mut client = Client::open(server.address());
            client.begin("GET", target, &["X-Names: SCRIPT_NAME PATH_INFO"], 0);
            client.page("GET")
        };
        let mount = self.mount;
        let page = get(&format!("{mount}/variables/x%20y"));
        let decoded = mount.replace("%20", " ");
        let expected = format!("SCRIPT_NAME='{decoded}'\nPATH_INFO='/variables/x y'\n");
        assert_eq!(
            (page.status, page.text()),
            (200, expected),
            "{name} at '{mount}'"
        );
        if let Some(files) = self.files {
            let page = get(&format!("{files}/x%20y.txt"));
            let got = (page.status, page.text());
            assert_eq!(
                got,
                (200, "of the server's".to_owned()),
                "{name} at '{mount}'"
            );
            assert_eq!(get(&format!("{files}/none.txt")).status, 404, "{name}");
        }
        if !mount.is_empty() {
            let beside = get(&format!("{mount}x/hello"));
            assert_eq!(beside.status, 404, "{name} at '{mount}': {}", beside.text());
        }
    }

    /// Has the server started with what is printed, in what `frame` has around it, and looks.
    fn serve(&self, server: &str, frame: impl Fn(&Start, &str) -> Command) {
        let gateway = self.gateway();
        let started = Server::start(1, |start| {
            frame(start, &self.print(server, start, &gateway))
        });
        self.check(server, &started);
    }
}

fn user(line: &str) -> String {
    server_user().map_or(String::new(), |user| line.replace("USER", user))
}

#[test]
fn nginx_takes_what_is_printed() {
    let Some(nginx) = program("nginx") else {
        return;
    };
    for case in &CASES {
        case.serve("nginx", |start, block| {
            let block = match case.mount {
                "" => block.to_owned(),
                _ => format!("server {{ listen {}; root /var/empty; {block} }}", start.address()),
            };
            let conf = format!(
                "{}error_log stderr; pid nginx.pid; events {{}} http {{ include /etc/nginx/mime.types; access_log off; client_body_temp_path \
                 b; fastcgi_temp_path f; proxy_temp_path p; scgi_temp_path s; uwsgi_temp_path u;\n{block}\n}}",
                user("user USER;\n")
            );
            let conf = start.folder.write("nginx.conf", conf);
            let mut command = Command::new(&nginx);
            command.args(["-e", "stderr", "-g", "daemon off;", "-p"]);
            command.arg(start.folder.path()).arg("-c").arg(conf);
            command
        });
    }
}

#[test]
fn apache_takes_what_is_printed() {
    if program("apache2").is_none()
        || installed(&format!("{}/mod_fcgid.so", apache::MODULES)).is_none()
    {
        return;
    }
    for case in &CASES {
        let gateway = case.gateway();
        let site = |start: &Start, block: String| match case.mount {
            "" => block,
            _ => format!(
                "<VirtualHost {}>\nDocumentRoot /var/empty\n{block}\n</VirtualHost>",
                start.address()
            ),
        };
        let server = Server::start(1, |start| {
            let block = case.print("apache", start, &gateway);
            apache::command("event", "cgid", start, &[site(start, block)]).unwrap()
        });
        case.check("Apache", &server);
        if case.is_tcp {
            continue;
        }
        let server = Server::start(1, |start| {
            let file = program_in(&start.folder);
            let words = [
                vec!["apache".to_owned(), file, "--cgi".to_owned()],
                case.words(start),
            ]
            .concat();
            let block = print(&words.iter().map(String::as_str).collect::<Vec<_>>());
            apache::command("event", "cgid", start, &[site(start, block)]).unwrap()
        });
        case.check("Apache, CGI", &server);
    }
}

/// An executable file with the application.
fn program_in(folder: &Folder) -> String {
    let gateway = folder.gateway_program();
    let app = folder.app("nginx_site");
    let text = std::fs::read_to_string(Path::new(&app)).unwrap();
    folder.write_program("a site/app.py", format!("#!{gateway}\n{text}"));
    folder.at("a site/app.py")
}

#[test]
fn lighttpd_takes_what_is_printed() {
    let Some(lighttpd) = program("lighttpd") else {
        return;
    };
    let frame = |start: &Start, block: &str| {
        let conf = format!(
            "server.bind = \"127.0.0.1\"\nserver.port = {}\nserver.document-root = \"/var/empty\"\nserver.upload-dirs = ( \"{}\" )\n{}\n{block}",
            start.address().port(),
            start.folder.writable("uploads"),
            user("server.username = \"USER\"\nserver.groupname = \"USER\"")
        );
        let conf = start.folder.write("lighttpd.conf", conf);
        let mut command = Command::new(&lighttpd);
        command.arg("-D").arg("-f").arg(conf);
        command
    };
    for case in &CASES {
        case.serve("lighttpd", frame);
        if case.is_tcp {
            continue;
        }
        let server = Server::start(1, |start| {
            let file = program_in(&start.folder);
            let words = [
                vec!["lighttpd".to_owned(), file, "--cgi".to_owned()],
                case.words(start),
            ]
            .concat();
            let block = print(&words.iter().map(String::as_str).collect::<Vec<_>>());
            let gateway = start.folder.gateway_program();
            frame(
                start,
                &block.replace("/usr/local/bin/wsgi-gateway", &gateway),
            )
        });
        case.check("lighttpd, CGI", &server);
    }
}

#[test]
fn caddy_takes_what_is_printed() {
    let Some(caddy) = program("caddy") else {
        return;
    };
    for case in &CASES {
        case.serve("caddy", |start, block| {
            let conf = match case.mount {
                "" => block.to_owned(),
                _ => format!(
                    "http://:{} {{\nbind 127.0.0.1\n{block}\nroot * /var/empty\nfile_server\n}}\n",
                    start.address().port()
                ),
            };
            let conf = start.folder.write("Caddyfile", conf);
            let mut command = Command::new(&caddy);
            command.args(["run", "--adapter", "caddyfile", "--config"]);
            command.arg(conf).env("HOME", start.folder.path());
            let admin = format!("unix/{}", start.folder.at("admin.sock"));
            command.env("CADDY_ADMIN", admin);
            command
        });
    }
}

#[test]
fn haproxy_takes_what_is_printed() {
    let Some(haproxy) = program("haproxy") else {
        return;
    };
    for case in CASES {
        let case = Case {
            files: None,
            ..case
        };
        case.serve("haproxy", |start, block| {
            let mut conf = format!(
                "global\n{}log stderr format raw local0\ndefaults\nmode http\nlog global\ntimeout connect 5s\ntimeout client 60s\ntimeout \
                 server 60s\n",
                user("user USER\ngroup USER\n")
            );
            if !case.mount.is_empty() {
                let line = block.lines().find(|line| line.contains("use_backend"));
                let line = line.unwrap().trim_start_matches("# ");
                conf += &format!(
                    "frontend site\nbind {}\n{line}\ndefault_backend rest\nbackend rest\nhttp-request return status 404\n",
                    start.address()
                );
            }
            let conf = start.folder.write("haproxy.cfg", conf + block);
            let mut command = Command::new(&haproxy);
            command.arg("-db").arg("-f").arg(conf);
            command
        });
    }
    let (code, out, err) = run(&["haproxy", "--static", "/static=/srv/static"]);
    assert_eq!((code, &*out), (2, ""));
    assert!(
        err.contains("HAProxy sends no files") && err.lines().count() == 1,
        "{err}"
    );
}

#[test]
fn h2o_takes_what_is_printed() {
    let Some(h2o) = h2o::h2o() else {
        return;
    };
    for case in &CASES {
        case.serve("h2o", |start, block| {
            let conf = match case.mount {
                "" => block.replace("user: www-data", &user("user: USER")),
                _ => {
                    let entry: String = block.lines().map(|line| format!("      {line}\n")).collect();
                    let port = start.address().port();
                    let user = user("user: USER");
                    format!("{user}\nlisten:\n  host: 127.0.0.1\n  port: {port}\nhosts:\n  \"default\":\n    paths:\n{entry}")
                }
            };
            let conf = start.folder.write("h2o.conf", conf);
            let mut command = Command::new(&h2o);
            command.arg("-c").arg(conf);
            command
        });
    }
}

/// Each in one sentence with the value, exit code 2, and nothing that could be taken for a configuration.
#[test]
fn what_a_web_server_cannot_is_said() {
    for (words, said) in [
        (&["iis"][..], "'iis' is none of the web servers"),
        (
            &["nginx", "--bind=systemd"],
            "'systemd' does not say where nginx is to connect",
        ),
        (
            &["nginx", "--bind=unix:@a"],
            "nginx cannot connect to unix:@a",
        ),
        (
            &["nginx", "--bind=127.0.0.1:0"],
            "'127.0.0.1:0' is any free port",
        ),
        (&["nginx", "--bind=x"], "'x' is no address"),
        (
            &["nginx", "--cgi", "/srv/app.py"],
            "nginx starts no CGI programs",
        ),
        (
            &["apache", "--cgi", "shop:app"],
            "--cgi starts a file, and 'shop:app' is none",
        ),
        (&["apache", "--cgi"], "--cgi starts a file: name one as APP"),
        (
            &["nginx", "--static=/s=/srv/$x"],
            "the folder '/srv/$x' has '$' in it",
        ),
        (
            &["apache", "--static=/s=/srv/*"],
            "the folder '/srv/*' has '*' in it",
        ),
        (
            &["lighttpd", "--static=/s=/srv/\""],
            "the folder '/srv/\"' has '\"' in it",
        ),
        (&["caddy", "--mount=/{x}"], "--mount '/{x}' has '{' in it"),
        (
            &["nginx", "--static=/s=/srv/a\nb"],
            "has a control character in it",
        ),
        (&["nginx", "--static=/s"], "'/s' is no URL path and folder"),
        (&["nginx", "--mount=/%E9"], "is not UTF-8"),
        (&["nginx", "--listen=0"], "'0' is no port or host:port"),
    ] {
        let (code, out, err) = run(words);
        assert_eq!((code, &*out), (2, ""), "{words:?}: {err}");
        assert!(err.contains(said), "{words:?}: {err}");
    }
}

/// An odd name in a comment is not the end of the comment.
#[test]
fn the_command_of_the_gateway_is_one_for_a_shell() {
    let text = print(&[
        "nginx",
        "it's:app\nevil;",
        "--bind=/run/a b.sock",
        "--mount=/a b",
    ]);
    assert!(
        text.contains(
            "\n#     wsgi-gateway fastcgi --bind '/run/a b.sock' --socket-group www-data --mount /a%20b 'it'\\''s:app?evil;'\n"
        ),
        "{text}"
    );
    let text = print(&["haproxy"]);
    assert!(
        text.contains("server gateway unix@/wsgi-gateway.sock proto fcgi"),
        "{text}"
    );
}

/// What the gateway is told in its own file need not be told twice.
#[test]
fn addresses_are_read_in_the_gateways_file() {
    let folder = Folder::new();
    let file =
        "app = \"shop:app\"\nbind = [\"tcp:10.0.0.1:9000\"]\nmount = \"/shop\"\nworkers = 3\n";
    folder.write("shop.toml", file);
    let text = print(&["caddy", "--config", &folder.at("shop.toml")]);
    folder.write("wrong.toml", "listen = \"80\"\n");
    let (code, _, err) = run(&["caddy", "--config", &folder.at("wrong.toml")]);
    assert_eq!(code, 2, "{err}");
    for words in [
        "# Caddy in front of wsgi-gateway: shop:app is at /shop.",
        "reverse_proxy @wsgi_9000 10.0.0.1:9000 {",
    ] {
        assert!(text.contains(words), "{text}");
    }
}
