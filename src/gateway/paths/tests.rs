//! What each rule is for, in single requests.

use std::time::{Duration, Instant};

use super::{PathRule, Paths, slashes_decoded};
use crate::gateway::Mount;
use crate::gateway::path_variables::PathVariables;

fn sent(variables: &[(&str, &'static str)], by_program: bool) -> PathVariables<'static> {
    let mut sent = PathVariables {
        by_program,
        ..PathVariables::default()
    };
    for (name, value) in variables {
        let value = value.as_bytes();
        match *name {
            "SN" => sent.script_name = value,
            "PI" => sent.path_info = Some(value),
            "RU" => sent.request_uri = Some(value),
            "SF" => sent.script_filename = value,
            "RED" => sent.redirect_url = value,
            _ => sent.server_software = value,
        }
    }
    sent
}

/// `tests/captures/` has what the rules make of real requests; this says which rule it is.
#[test]
fn each_rule_is_for_the_server_that_needs_it() {
    use PathRule::{
        AsSent, Before, Encoded, EncodedSlash, NamedMount, ProxyPass, Redirected, StrippedPrefix,
        TrailingSlash, Whole, WholePath,
    };
    const APACHE: (&str, &str) = ("SW", "Apache/2.4");
    const NGINX: (&str, &str) = ("SW", "nginx/1.22.1");
    for (variables, script_name, path_info, rule) in [
        (
            &[("SN", ""), ("PI", "/a b"), ("RU", "/a%20b?x"), NGINX][..],
            "",
            "/a b",
            AsSent,
        ),
        (&[("SN", ""), ("PI", "/z"), NGINX], "", "/z", AsSent),
        (
            &[("SN", "/app"), ("PI", "/z"), ("RU", "/app//z")],
            "/app",
            "/z",
            AsSent,
        ),
        (
            &[("SN", "/app"), ("RU", "/app"), APACHE],
            "/app",
            "",
            AsSent,
        ),
        (
            &[("SN", ""), ("PI", "/a%2Fb"), ("RU", "/a%2Fb"), APACHE],
            "",
            "/a/b",
            EncodedSlash,
        ),
        // The client asked for the letters "%2F".
        (
            &[("SN", ""), ("PI", "/a%2Fb"), ("RU", "/a%252Fb"), APACHE],
            "",
            "/a%2Fb",
            AsSent,
        ),
        (
            &[
                ("SN", "/s/app.cgi"),
                ("PI", "/a b"),
                ("RU", "/s/a%2520b"),
                ("RED", "/s/a%20b"),
                APACHE,
            ],
            "/s",
            "/a%20b",
            Redirected,
        ),
        (
            &[("SN", "/app.cgi"), ("RU", "/z"), ("RED", "/z"), APACHE],
            "",
            "/z",
            Redirected,
        ),
        // The rewrite leads to another path: what it says holds.
        (
            &[
                ("SN", "/app.cgi"),
                ("PI", "/new"),
                ("RU", "/old"),
                ("RED", "/old"),
                APACHE,
            ],
            "/app.cgi",
            "/new",
            AsSent,
        ),
        (
            &[("SN", "/app/z"), ("RU", "/app/z"), NGINX],
            "",
            "/app/z",
            WholePath,
        ),
        (&[("SN", "/z"), ("RU", "/z")], "", "/z", WholePath),
        (&[("SN", "/z"), NGINX], "", "/z", WholePath),
        (
            &[("SN", "/new"), ("RU", "/old"), NGINX],
            "",
            "/new",
            WholePath,
        ),
        (
            &[
                ("SN", "/app/z"),
                ("RU", "/app/z"),
                ("SF", "proxy:fcgi://h:9/z"),
                APACHE,
            ],
            "/app",
            "/z",
            ProxyPass,
        ),
        // AllowEncodedSlashes NoDecode.
        (
            &[
                ("SN", "/app/a%2Fb"),
                ("RU", "/app/a%2Fb"),
                ("SF", "proxy:fcgi://h:9/a%252Fb"),
                APACHE,
            ],
            "/app",
            "/a/b",
            ProxyPass,
        ),
        (
            &[
                ("SN", "/app.fcgi"),
                ("RU", "/app.fcgi"),
                ("SF", "/srv/www/app.fcgi"),
                APACHE,
            ],
            "/app.fcgi",
            "",
            AsSent,
        ),
        (
            &[("SN", "/app"), ("RU", "/app"), ("SW", "lighttpd/1.4.69")],
            "/app",
            "",
            AsSent,
        ),
        (
            &[("SN", "/app.cgi/"), ("RU", "/app.cgi/")],
            "",
            "/app.cgi/",
            WholePath,
        ),
        (
            &[("SN", "/"), ("RU", "/"), ("SW", "lighttpd/1.4.69")],
            "",
            "/",
            TrailingSlash,
        ),
        (
            &[("SN", "/index.cgi"), ("PI", "/z"), ("RU", "/z"), NGINX],
            "",
            "/z",
            Before,
        ),
        (
            &[
                ("SN", ""),
                ("PI", "/z"),
                ("RU", "/app/z"),
                ("SW", "Caddy/v2"),
            ],
            "/app",
            "/z",
            Before,
        ),
        (
            &[
                ("SN", "/x/../app"),
                ("PI", "/z"),
                ("RU", "/x/../app/z"),
                ("SW", "Caddy/v2"),
            ],
            "/app",
            "/z",
            Before,
        ),
        (
            &[
                ("SN", "/index.php"),
                ("PI", ""),
                ("RU", "/z"),
                ("SW", "Caddy/v2"),
            ],
            "",
            "/z",
            Whole,
        ),
        (
            &[
                ("SN", "/app"),
                ("PI", "x"),
                ("RU", "/appx"),
                ("SW", "Caddy/v2"),
            ],
            "",
            "/appx",
            Whole,
        ),
        (&[("SN", "/app"), ("PI", "x")], "/app", "/x", Whole),
        // set $path_info $1: nginx escapes what it has caught, and what was still escaped twice.
        (
            &[("SN", "/t"), ("PI", "/a%20b"), ("RU", "/t/a%20b"), NGINX],
            "/t",
            "/a b",
            Encoded,
        ),
        (
            &[("SN", "/t"), ("PI", "/a%2520b"), ("RU", "/t/a%20b"), NGINX],
            "/t",
            "/a b",
            Encoded,
        ),
        (
            &[("SN", "/t"), ("PI", "/a%20b"), ("RU", "/t/a%2520b"), NGINX],
            "/t",
            "/a%20b",
            AsSent,
        ),
        (
            &[("SN", "/app"), ("PI", "/app/z"), ("RU", "/app/z"), NGINX],
            "/app",
            "/z",
            NamedMount,
        ),
        (
            &[("SN", "/app"), ("PI", "/app/z"), ("RU", "/app/z")],
            "/app",
            "/z",
            NamedMount,
        ),
        (
            &[("SN", "/app"), ("RU", "/app/z"), NGINX],
            "/app",
            "/z",
            NamedMount,
        ),
        // url.rewrite-once = ("^(/.*)$" => "/app$1")
        (
            &[
                ("SN", "/app"),
                ("PI", "/app/z"),
                ("RU", "/app/z"),
                ("SW", "lighttpd/1.4.69"),
            ],
            "",
            "/app/z",
            Before,
        ),
        // try_files $uri /site.py; and what no name of a script tells from a page of the application
        (&[("SN", "/site.py"), ("RU", "/z"), NGINX], "", "/z", Whole),
        (
            &[("SN", "/site.py"), ("PI", "/site.py"), ("RU", "/z"), NGINX],
            "",
            "/z",
            Whole,
        ),
        (
            &[("SN", ""), ("PI", "/x/index.py"), ("RU", "/x/"), NGINX],
            "",
            "/x/",
            Whole,
        ),
        // Neither is a way around what the web server guards: /z is not asked for.
        (
            &[("SN", "/site.py"), ("RU", "/site.py/z"), NGINX],
            "",
            "/site.py/z",
            Whole,
        ),
        (
            &[
                ("SN", "/site.py"),
                ("PI", "/site.py/z"),
                ("RU", "/site.py/z"),
                NGINX,
            ],
            "",
            "/site.py/z",
            Before,
        ),
        // What was put together was read as a URL once more.
        (
            &[
                ("SN", "/cgi-bin/app.cgi"),
                ("PI", "/a b"),
                ("RU", "/w/a%2520b"),
                ("RED", "/w/a%20b"),
                APACHE,
            ],
            "/w",
            "/a%20b",
            Before,
        ),
        (
            &[("SN", "/site.py"), ("PI", "/a"), ("RU", "/a%3Fb"), NGINX],
            "",
            "/a?b",
            Before,
        ),
        // FallbackResource, and a folder's index file.
        (
            &[("SN", "/app/app.cgi"), ("RU", "/app/z"), APACHE],
            "/app",
            "/z",
            Redirected,
        ),
        // RewriteRule ^(.*)$ fcgi://h:9/$1 [P] in the folder app, where there is no file a.
        (
            &[
                ("SN", "/app/a"),
                ("PI", "/b/c"),
                ("RU", "/app/a/b/c"),
                ("SF", "proxy:fcgi://h:9/a/b/c"),
                APACHE,
            ],
            "/app",
            "/a/b/c",
            ProxyPass,
        ),
        (
            &[
                ("SN", "/site.py/z"),
                ("RU", "/site.py/z"),
                ("SF", "proxy:fcgi://h:9/srv/www/site.py/z"),
                APACHE,
            ],
            "/site.py",
            "/z",
            ProxyPass,
        ),
        (
            &[
                ("SN", "/app/z"),
                ("RU", "/app/z"),
                ("SF", "proxy:fcgi://h:9/srv/app.fcgi/z"),
                APACHE,
            ],
            "/app",
            "/z",
            ProxyPass,
        ),
        (
            &[("SN", "/app"), ("PI", "z"), ("RU", "/app/z"), NGINX],
            "/app",
            "/z",
            NamedMount,
        ),
        // A proxy in front has taken /s away, and fastcgi_param names it.
        (
            &[("SN", "/s"), ("PI", "/env"), ("RU", "/env?x"), NGINX],
            "/s",
            "/env",
            StrippedPrefix,
        ),
        (
            &[("SN", "/s"), ("PI", "/a b/"), ("RU", "/a%20b/")],
            "/s",
            "/a b/",
            StrippedPrefix,
        ),
        (
            &[
                ("SN", "/s"),
                ("PI", "/"),
                ("RU", "/"),
                ("SF", "/srv/www"),
                NGINX,
            ],
            "/s",
            "/",
            StrippedPrefix,
        ),
        (
            &[
                ("SN", "/s"),
                ("PI", "/a//b"),
                ("RU", "/a//b"),
                ("SW", "front/1.0"),
            ],
            "/s",
            "/a//b",
            StrippedPrefix,
        ),
        // A rewrite, by the file's name.
        (
            &[
                ("SN", "/s"),
                ("PI", "/env"),
                ("RU", "/env"),
                ("SF", "/srv/www/s"),
                NGINX,
            ],
            "",
            "/env",
            Before,
        ),
        // uri strip_prefix left nothing.
        (
            &[
                ("SN", ""),
                ("PI", ""),
                ("RU", "/app"),
                ("SW", "Caddy/2.6.2"),
            ],
            "/app",
            "",
            Before,
        ),
        (&[("RU", "/z")], "", "/z", Whole),
        (&[("SN", ""), ("RU", "*")], "", "", AsSent),
    ] {
        let paths = Paths::of(&sent(variables, false), None);
        let expected = Paths::new(script_name.as_bytes(), path_info.as_bytes(), rule);
        assert_eq!(paths, expected, "{variables:?}");
    }
}

#[test]
fn a_program_can_lie_where_script_name_says() {
    for (variables, path_info, rule) in [
        (
            &[("SN", "/z"), ("SF", "/srv/app.cgi")][..],
            "/z",
            PathRule::WholePath,
        ),
        (
            &[("SN", "/app.cgi"), ("SF", "/srv/app.cgi")],
            "",
            PathRule::AsSent,
        ),
        (&[("SN", "/app.cgi")], "", PathRule::AsSent),
    ] {
        let mut sent = sent(variables, true);
        sent.server_software = b"nginx/1.22.1";
        let paths = Paths::of(&sent, None);
        assert_eq!(
            (&*paths.path_info, paths.rule),
            (path_info.as_bytes(), rule)
        );
    }
}

/// `--script-name`: whatever web server and proxy do.
#[test]
fn a_script_name_is_exact() {
    let prefix = Mount::parse_stripped("/s/").unwrap();
    for (script_name, path_info, uri, expected) in [
        ("/s", Some("/env"), Some("/env"), "/env"),
        ("/s", None, Some("/env"), "/env"),
        ("/s", Some(""), Some("/"), "/"),
        ("/s", Some("/"), Some("/"), "/"),
        ("/s", Some(""), Some("/s"), ""),
        ("/s", Some("/env"), Some("/s/env"), "/env"),
        ("/s", Some("/s/env"), Some("/s/env"), "/env"),
        ("/s/", Some("env"), Some("/s/env"), "/env"),
        ("/s", Some("/a b"), Some("/a%20b?x"), "/a b"),
        ("/s", Some("/env"), None, "/env"),
        ("/s", None, None, ""),
        ("", Some("/env"), Some("/env"), "/env"),
        ("", Some("/s/env"), Some("/s/env"), "/env"),
        ("", Some("/s"), Some("/s"), ""),
        ("", Some("/sx"), Some("/sx"), "/sx"),
        ("", Some("/s/../x"), Some("/s/../x"), "/s/../x"),
        ("", None, None, ""),
        ("", Some("/"), Some("/"), "/"),
        ("/env", None, Some("/env"), "/env"),
        ("/s/env", None, Some("/s/env"), "/env"),
        // The web server's own mount is not the browser's.
        ("/app", Some("/z"), Some("/app/z"), "/z"),
        (
            "/cgi-bin/app.cgi",
            Some("/z"),
            Some("/cgi-bin/app.cgi/z"),
            "/z",
        ),
        ("/index.cgi", Some("/z"), Some("/z"), "/z"),
    ] {
        let sent = PathVariables {
            script_name: script_name.as_bytes(),
            path_info: path_info.map(str::as_bytes),
            request_uri: uri.map(str::as_bytes),
            server_software: b"nginx/1.22.1",
            ..PathVariables::default()
        };
        let paths = Paths::of(&sent, Some(&prefix));
        let expected = Paths::new(&b"/s"[..], expected.as_bytes(), PathRule::ScriptName);
        assert_eq!(paths, expected, "{sent:?}");
    }
    let root = Mount::parse_stripped("/").unwrap();
    let sent = sent(&[("SN", "/app"), ("PI", "/z"), ("RU", "/app/z")], false);
    let expected = Paths::new(&b""[..], &b"/app/z"[..], PathRule::ScriptName);
    assert_eq!(Paths::of(&sent, Some(&root)), expected);
}

/// However the web server split it, and whatever it made of it.
#[test]
fn under_a_mount_what_was_asked_for_counts() {
    let mount = Mount::parse("/app").unwrap();
    for (script_name, path_info, uri, expected) in [
        ("/app", "/z", Some("/app/z"), Some("/z")),
        ("", "/app/z", Some("/app/z"), Some("/z")),
        ("/app/z", "", Some("/app/z"), Some("/z")),
        ("/app/z", "", None, Some("/z")),
        ("/app", "", Some("/app"), Some("")),
        ("/app", "/", Some("/app"), Some("")),
        ("/index.cgi", "/app/z", Some("/app/z"), Some("/z")),
        ("", "/z", Some("/app/z"), Some("/z")),
        ("//app", "/z", Some("//app/z"), Some("/z")),
        ("", "/app//z", Some("/app//z"), Some("//z")),
        ("/app/a b", "/a%20b", Some("/app/a%20b"), Some("/a b")),
        // A rewrite leads into the mount, and so does a proxy that took it away and says so.
        ("/app/z", "", Some("/old"), Some("/z")),
        ("/app", "/z", Some("/z"), Some("/z")),
        // Whatever URL it is, the configuration says SCRIPT_NAME /app.
        ("/app", "/appx", Some("/appx"), None),
        ("/app", "", Some("/appx/z"), None),
        ("/app", "/z", Some("/APP/z"), None),
        ("/app", "/app/z", Some("/app/z"), Some("/z")),
        ("/app/app.cgi", "", Some("/other"), None),
        ("/appx", "", Some("/appx"), None),
        ("", "/x/app/z", Some("/x/app/z"), None),
        ("/x", "/app/z", Some("/x/app/z"), None),
        ("/x", "/app/z", None, None),
        ("", "/app/../z", Some("/app/../z"), None),
        ("", "/APP/z", Some("/APP/z"), None),
        ("", "/", Some("/"), None),
        ("", "", None, None),
    ] {
        let sent = PathVariables {
            script_name: script_name.as_bytes(),
            path_info: Some(path_info.as_bytes()),
            request_uri: uri.map(str::as_bytes),
            ..PathVariables::default()
        };
        let paths = Paths::of(&sent, Some(&mount));
        let got = match paths.rule {
            PathRule::OutsideMount => None,
            _ => Some(&*paths.path_info),
        };
        assert_eq!(got, expected.map(str::as_bytes), "{sent:?}");
    }
}

#[test]
fn slashes_are_decoded_in_either_spelling() {
    for (path, decoded) in [
        ("/a%2Fb%2fc", Some("/a/b/c")),
        ("%2f%2F", Some("//")),
        ("%2%2f%2F%2", Some("%2//%2")),
        ("%%2f2f", Some("%/2f")),
        ("/a%20b%2", None),
        ("%2", None),
        ("", None),
    ] {
        let got = slashes_decoded(path.as_bytes());
        assert_eq!(
            got.as_deref(),
            decoded.map(str::as_bytes),
            "{path}: {got:?}"
        );
    }
}

/// A client chooses the path, and the web server lets through as much as its own limits do.
#[test]
fn every_rule_costs_as_much_as_the_path_is_long() {
    const APACHE: &str = "Apache/2.4";
    const NGINX: &str = "nginx/1.22.1";
    const CADDY: &str = "Caddy/v2";
    // What is sent (SCRIPT_NAME, PATH_INFO, REQUEST_URI, SCRIPT_FILENAME; `*` is the long part), and of what the part consists.
    let worst: &[(&str, [&str; 4], &str)] = &[
        (APACHE, ["", "/*", "/*", ""], "%2f"),
        (APACHE, ["", "/*", "/*", ""], "%2F"),
        (APACHE, ["", "/*", "/*", ""], "%2F%2f"),
        (APACHE, ["", "/*", "/*x", ""], "a%2fa%2fa%2Fa"),
        (APACHE, ["/*", "-", "/*", "proxy:fcgi://h/*"], "%2f"),
        (APACHE, ["/*", "-", "/*", "proxy:fcgi://h/*"], "/a.p"),
        (APACHE, ["/*", "-", "/*", "proxy:fcgi://h/*x"], "/.py"),
        (APACHE, ["/a", "/*", "/*", "proxy:fcgi://h/*/*"], "/b"),
        (APACHE, ["/app.cgi", "/x*", "/x*", ""], "%2520"),
        (NGINX, ["/t", "/*", "/t/*", ""], "%25"),
        (NGINX, ["/t", "/*", "/t/*x", ""], "%2525"),
        (NGINX, ["/t", "/*", "/u/*", ""], "/a"),
        (NGINX, ["/t", "/*x", "/u/*", ""], "/a"),
        (NGINX, ["/t", "/*x", "/u/*", ""], "/.."),
        (NGINX, ["/t", "/*x", "/u/*", ""], "/."),
        (NGINX, ["/t", "/*x", "/u/*", ""], "//"),
        (NGINX, ["/t", "/*x", "/u/*", ""], "/a/.."),
        (NGINX, ["/*", "-", "*", ""], "://"),
        (NGINX, ["/*", "-", "/*", ""], ".py"),
        (CADDY, ["", "/*", "/a/*", ""], "/%2e%2e"),
        (CADDY, ["/*", "*", "/*/*", ""], "a"),
    ];
    let stripped = Some(Mount::parse_stripped("/t").unwrap());
    let mounts =
        [None, Some("/t"), Some("/a/b")].map(|text| text.map(|it| Mount::parse(it).unwrap()));
    for mount in mounts.iter().chain([&stripped]) {
        for (software, sent, part) in worst {
            let cost = |length: usize| {
                let long = part.repeat(length / part.len());
                let values = sent.map(|value| value.replace('*', &long).into_bytes());
                let sent = PathVariables {
                    script_name: &values[0],
                    path_info: (values[1] != b"-").then_some(&values[1]),
                    request_uri: Some(&values[2]),
                    script_filename: &values[3],
                    redirect_url: b"",
                    server_software: software.as_bytes(),
                    by_program: false,
                };
                let begun = Instant::now();
                std::hint::black_box(Paths::of(&sent, mount.as_ref()));
                begun.elapsed()
            };
            assert_linear(&format!("{sent:?} of {part:?} under {mount:?}"), cost);
        }
    }
}

/// Whether 16 times as much costs some 16 times as much, and not 256 times. What else the machine does can only make it look
/// worse, for a while: the least of what was measured counts.
#[track_caller]
fn assert_linear(what: &str, cost: impl Fn(usize) -> Duration) {
    // Little enough that the longer is done before the kernel gives the processor to others.
    const SHORT: usize = 256;
    let begun = Instant::now();
    let (mut short, mut long) = (Duration::MAX, Duration::MAX);
    while begun.elapsed() < Duration::from_secs(5) {
        short = short.min(cost(SHORT));
        long = long.min(cost(16 * SHORT));
        if long < 48 * short {
            return;
        }
    }
    panic!("{what}: 16 times as much costs {short:?} and then {long:?}");
}
