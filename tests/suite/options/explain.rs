//! `explain`: what is said of a request, through both doors; what must not be said; and that it is off unless asked for.

use crate::support::browser::check_look;
use crate::support::captures::setups;
use crate::support::cgi::{Cgi, os};
use crate::support::client::{AUTHORIZER, Connection, Request, fetch};
use crate::support::gateway::Gateway;
use crate::support::json::members;

/// An explaining responder. There is no application of the name.
fn explaining(options: &[&str]) -> Gateway {
    let mut all = vec!["--explain", "--workers", "1"];
    all.extend(options);
    Gateway::start("no_such_application", &all)
}

fn explain_cgi(request: &Request) -> Cgi {
    Cgi::new("", request).door("explain")
}

/// The same explanation by both doors.
fn explained(request: &Request) -> [String; 2] {
    let gateway = explaining(&[]);
    let by_fastcgi = fetch(gateway.socket(), request).expect(200).text();
    let output = explain_cgi(request).run();
    let response = output.response();
    assert_eq!((output.code, response.status), (0, 200), "{output:#?}");
    [by_fastcgi, String::from_utf8(response.body).unwrap()]
}

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}

#[test]
fn a_request_is_explained_by_both_doors() {
    let request = Request::get("/shop/a%20b?x=1")
        .param("SCRIPT_NAME", "/shop")
        .param("PATH_INFO", "/a b")
        .param("SERVER_SOFTWARE", "nginx/1.26.3");
    for text in explained(&request) {
        has(
            &text,
            &[
                "nginx/1.26.3",
                "SCRIPT_NAME  '/shop'",
                "PATH_INFO    '/a b'",
                "http://localhost/shop/a%20b?x=1",
                "REQUEST_URI=/shop/a%20b?x=1",
                "fastcgi_buffer_size 32k;",
            ],
        );
    }
}

/// Only FastCGI has an order.
#[test]
fn variables_are_shown_in_the_order_sent_with_repeated_ones() {
    let request = Request::get("/").add_param("HTTP_ACCEPT", "again");
    let gateway = explaining(&[]);
    let text = fetch(gateway.socket(), &request).expect(200).text();
    let sent = [
        "\nQUERY_STRING=",
        "\nREQUEST_METHOD=",
        "\nHTTP_HOST=",
        "\nHTTP_ACCEPT=*/*",
        "\nHTTP_ACCEPT=again",
    ];
    let places: Vec<_> = sent.iter().map(|line| text.find(line).unwrap()).collect();
    assert!(places.is_sorted(), "not in the order sent:\n{text}");
}

#[test]
fn it_is_a_page_json_or_text_as_the_client_likes() {
    let gateway = explaining(&[]);
    let base = || Request::get("/a").param("HTTP_X_MARK", "<script>alert('\"&')</script>");
    let page = fetch(
        gateway.socket(),
        &base().param("HTTP_ACCEPT", "text/html,*/*"),
    )
    .expect(200);
    let text = page.text();
    has(
        &text,
        &[
            "<!DOCTYPE html>",
            "</html>",
            "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)",
        ],
    );
    assert!(!text.contains("<script"), "{text}");
    for (name, value) in [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("X-Robots-Tag", "noindex, nofollow"),
        ("X-Content-Type-Options", "nosniff"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let policy = page.header("Content-Security-Policy").unwrap();
    has(policy, &["default-src 'none'", "frame-ancestors 'none'"]);

    for request in [
        base().param("HTTP_ACCEPT", "application/json"),
        base().param("QUERY_STRING", "a=b&format=json"),
        base()
            .param("QUERY_STRING", "format=json")
            .param("HTTP_ACCEPT", "text/html"),
    ] {
        let answer = fetch(
            gateway.socket(),
            &request.param("HTTP_X_LATIN", b"caf\xe9\0"),
        )
        .expect(200);
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        let text = answer.text();
        let members = members(
            &text,
            r"list(d)[0], d['protocol'], d['rule'], d['script_name'], d['path_info'], d['url'],
            [v['value'] for v in d['variables'] if v['name'] in ('HTTP_X_MARK', 'HTTP_X_LATIN')] ==
            ['<script>alert(\'\x22&\')</script>', 'caf\xe9\0']",
        );
        let url = if text.contains("a=b&format") {
            "?a=b&format=json"
        } else {
            ""
        };
        assert!(
            members.starts_with("verdict FastCGI as-sent  /a http://localhost/a"),
            "{members}"
        );
        assert!(
            members.contains(url) && members.ends_with("True"),
            "{members}"
        );
    }
    let plain = fetch(gateway.socket(), &base()).expect(200);
    assert_eq!(
        plain.header("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
}

/// With values that have no place to be broken at, and with all kinds of sentences.
#[test]
fn the_page_can_be_read_on_a_phone_and_in_the_dark() {
    let gateway = explaining(&["--mount", "/shop"]);
    let long = "x".repeat(400);
    let request = Request::get(&format!("/shop/{long}?format=html&{long}"))
        .param("HTTP_X_FORWARDED_PROTO", "https")
        .param("HTTP_PROXY", "evil")
        .param("REMOTE_USER", "admin")
        .param(format!("HTTP_{}", long.to_uppercase()), &*long)
        .add_param("HTTP_ACCEPT", "more");
    let page = fetch(gateway.socket(), &request).expect(200).text();
    has(&page, &["Wrong:", "To know:", "<small>", "<h2>What this"]);
    check_look(&page);
}

/// What is asked of others for help is shown around.
#[test]
fn secrets_are_hidden_in_every_form() {
    for format in ["html", "json", "text"] {
        let request = Request::get("/")
            .param("QUERY_STRING", format!("format={format}"))
            .param("HTTP_AUTHORIZATION", "Basic s3cret")
            .param("REDIRECT_HTTP_AUTHORIZATION", "Bearer s3cret")
            .param("HTTP_PROXY_AUTHORIZATION", "s3cret")
            .param("HTTP_COOKIE", "session=s3cret")
            .add_param("HTTP_COOKIE", "other=s3cret")
            .param("HTTP_X_API_KEY", "s3cret")
            .param("HTTP_X_CSRFTOKEN", "s3cret")
            .param("APP_SECRET", "s3cret")
            .param("DB_PASSWORD", "s3cret");
        for text in explained(&request) {
            assert!(!text.contains("s3cret"), "{text}");
            has(
                &text,
                &[
                    "HTTP_COOKIE",
                    "Basic (hidden, 6 bytes)",
                    "(hidden, 14 bytes)",
                ],
            );
        }
    }
}

/// Passwords are handed to services in their environment, and to CGI programs by SetEnv.
#[test]
fn the_process_environment_is_not_shown() {
    for format in ["html", "json", "text"] {
        let request = Request::get("/").param("QUERY_STRING", format!("format={format}"));
        let gateway = Gateway::builder("no_such_application")
            .args(["--explain"])
            .env("DATABASE_URL", "postgres://leaked")
            .env("HTTP_X_OF_THE_PROCESS", "leaked")
            .start();
        let text = fetch(gateway.socket(), &request).expect(200).text();
        assert!(!text.contains("leaked"), "{text}");
        let output = explain_cgi(&request)
            .env("DATABASE_URL", "postgres://leaked")
            .env("REDIRECT_DATABASE_URL", "postgres://leaked")
            .env("leaked", "lower case")
            .env("REDIRECT_STATUS", "200")
            .run();
        let text = String::from_utf8(output.response().body).unwrap();
        assert!(
            !text.contains("leaked") && !text.contains("DATABASE_URL"),
            "{text}"
        );
        has(&text, &["REDIRECT_STATUS"]);
        // These three and PYTHONDONTWRITEBYTECODE.
        match format {
            "json" => assert_eq!(members(&text, "d['left_out']"), "4"),
            _ => has(&text, &["since they are this process's own: 4"]),
        }
    }
}

/// It is for when Python is what does not work.
#[test]
fn it_needs_no_working_python() {
    let request = Request::get("/");
    let output = explain_cgi(&request)
        .env("PYTHONHOME", "/nowhere")
        .env("VIRTUAL_ENV", "/nowhere")
        .options(["--venv", "/nowhere"])
        .run();
    assert_eq!(
        (output.code, output.response().status),
        (0, 200),
        "{output:#?}"
    );
    assert_eq!(output.stderr, "");
    let gateway = Gateway::builder("no_such_application")
        .args([
            "--explain",
            "--venv",
            "/nowhere",
            "--workers",
            "2",
            "--threads",
            "2",
            "--preload",
        ])
        .env("PYTHONHOME", "/nowhere")
        .start();
    let text = fetch(gateway.socket(), &request).expect(200).text();
    has(&text, &["explains this request", "protocol     FastCGI"]);
    assert_eq!(gateway.terminate().code, 0);
}

/// Also told by the environment, and without the name of an application.
#[test]
fn explain_stands_in_the_place_of_an_application() {
    for (words, variable) in [
        (&["--explain"][..], ""),
        (&["--explain=yes"], ""),
        (&[], "yes"),
    ] {
        let output = Cgi::bare("")
            .program(crate::support::gateway::binary())
            .words(&["check"])
            .words(words)
            .env("WSGI_GATEWAY_EXPLAIN", variable)
            .run();
        assert_eq!(output.code, 0, "{output:#?}");
        has(
            &output.text(),
            &["application: none, requests are explained"],
        );
    }
    for words in [&["check"][..], &["check", "--explain=no"]] {
        let program = Cgi::bare("").program(crate::support::gateway::binary());
        let output = program.words(words).run();
        assert_eq!(output.code, 2, "{output:#?}");
        has(&output.stderr, &["needs APP"]);
    }
}

/// Nobody who sends a request is to turn it on, or to give it options.
#[test]
fn a_request_does_not_ask_for_it() {
    let gateway = Gateway::start("hello", &[]);
    for query in ["explain", "--explain", "format=json", "explain=yes"] {
        let request = Request::get(&format!("/explain?{query}")).param("HTTP_EXPLAIN", "yes");
        let text = fetch(gateway.socket(), &request).expect(200).text();
        assert!(!text.contains("explains this request"), "{text}");
        let program = || Cgi::new("", &request).program(crate::support::gateway::binary());
        let output = program()
            .env("WSGI_GATEWAY_APP", "hello")
            .words(&[query])
            .run();
        assert!(
            !output.text().contains("explains this request"),
            "{output:#?}"
        );
        let output = program().words(&[query]).run();
        assert!(
            !output.text().contains("explains this request"),
            "{output:#?}"
        );
    }
    let request = Request::get("/?--debug+-h").param("QUERY_STRING", "--debug+-h");
    for words in [
        &["explain", "--debug", "-h"][..],
        &["explain", "/srv/own.cgi", "--debug", "-h"],
    ] {
        let program = Cgi::new("", &request).program(crate::support::gateway::binary());
        let output = program.words(words).run();
        assert_eq!(output.code, 0, "{output:#?}");
        has(&output.text(), &["explains this request"]);
    }
}

#[test]
fn bodies_heads_and_authorizers() {
    let gateway = explaining(&[]);
    let mut connection = Connection::open(gateway.socket());
    let post = Request::post("/", &vec![b'x'; 300_000]).keep();
    assert!(
        connection
            .request(&post)
            .expect(200)
            .text()
            .contains("explains")
    );
    let head = Request::get("/").param("REQUEST_METHOD", "HEAD").keep();
    let answer = connection.request(&head).expect(200);
    assert_eq!(answer.text(), "");
    assert_ne!(answer.header("Content-Length"), Some("0"));
    // 200 would let the client in.
    let authorizer = Request::get("/").role(AUTHORIZER).keep();
    connection.write(&authorizer.head());
    connection.response(1).expect(403);
}

/// What a set-up looks like and which rule it was, for the first request of a few captures; and the line to change.
#[test]
fn set_ups_are_recognised_and_told_what_to_change() {
    let setups = setups();
    let fastcgi = explaining(&[]);
    for (name, words) in [
        (
            "nginx-params",
            &[
                "no PATH_INFO",
                "put the whole path into SCRIPT_NAME",
                "--mount /app",
                "fastcgi_buffer_size",
            ][..],
        ),
        (
            "nginx-params",
            &[
                "HTTP_HOST has no port",
                "fastcgi_param HTTP_HOST $http_host;",
            ],
        ),
        ("nginx-wsgi-dup", &["[not passed on: sent again below]"]),
        (
            "nginx-wsgi",
            &[
                "REQUEST_URI is not sent",
                "fastcgi_param REQUEST_URI $request_uri;",
            ],
        ),
        ("nginx-split", &["fastcgi_split_path_info"]),
        ("apache-cgid-root", &["mod_cgid", "CGIPassAuth On"]),
        (
            "apache-cgid-rewrite",
            &["RewriteRule", "went from the URL to a script"],
        ),
        (
            "apache-fcgid-wrapper",
            &["mod_fcgid", "FcgidMaxRequestLen", "CGIPassAuth On"],
        ),
        (
            "apache-pfcgi-app-slash",
            &[
                "ProxyPass",
                "the end of SCRIPT_FILENAME tells",
                "['proxy:' is how",
            ],
        ),
        (
            "apache-pfcgi-root-tcp",
            &["ProxyPass", "is taken to have the whole site"],
        ),
        (
            "lighttpd-fcgi-root",
            &["mod_fastcgi", "\"fix-root-scriptname\" => \"enable\""],
        ),
        ("lighttpd-cgi-docroot", &["mod_cgi"]),
        (
            "caddy-transport",
            &["transport fastcgi", "handle /app*", "--mount"],
        ),
        (
            "caddy-php",
            &["php_fastcgi", "no PATH_INFO that fits the URL"],
        ),
        (
            "haproxy-basic",
            &["fcgi-app", "path-info", "pass-header Authorization"],
        ),
        ("h2o-root", &["fastcgi.connect", "--mount"]),
        ("mini_httpd", &["a CGI program"]),
        (
            "fcgiwrap",
            &["fcgiwrap", "put the whole path into SCRIPT_NAME"],
        ),
    ] {
        let setup = setups.iter().find(|setup| setup.name == name).unwrap();
        let mut request = Request::get("/");
        request.params.clone_from(&setup.requests[0].sent);
        let text = if setup.is_cgi {
            let mut cgi = explain_cgi(&request).empty_environment();
            for (name, value) in &request.params {
                cgi = cgi.env(os(name), os(value));
            }
            String::from_utf8(cgi.run().response().body).unwrap()
        } else {
            fetch(fastcgi.socket(), &request).expect(200).text()
        };
        has(&text, words);
    }
}

#[test]
fn single_mistakes_are_told_with_the_line_to_change() {
    let gateway = explaining(&[]);
    let get = || Request::get("/a/b");
    for (request, words) in [
        (
            get().param("HTTP_PROXY", "evil"),
            &["fastcgi_param HTTP_PROXY \"\";", "CVE-2016-5385"][..],
        ),
        (
            get().param("HTTP_X_FORWARDED_PROTO", "https"),
            &["WRONG", "fastcgi_param HTTPS on;"],
        ),
        (
            get().param("REMOTE_USER", "admin"),
            &["WRONG", "lets everybody in"],
        ),
        (
            get().param("SERVER_PORT", "8080"),
            &["WRONG", "has no port"],
        ),
        (
            get().param("HTTP_X.DOT", "1"),
            &["HTTP_X.DOT has characters"],
        ),
        (
            get().param("SCRIPT_NAME", "app").without("REQUEST_URI"),
            &["does not begin with a slash"],
        ),
        (
            get().param("SCRIPT_NAME", "/front"),
            &["is taken to have removed it", "--script-name /front"],
        ),
        (
            get()
                .param("SCRIPT_NAME", "/front")
                .param("SCRIPT_FILENAME", "/srv/www/front"),
            &[
                "PATH_INFO is the end of the URL's path",
                "--script-name /front",
            ],
        ),
        (
            get().without("PATH_INFO").param("SCRIPT_NAME", "/a/b"),
            &["put the whole path into SCRIPT_NAME", "--mount /a"],
        ),
        (
            get().param("CONTENT_LENGTH", "0010"),
            &["[the application sees '10']"],
        ),
        (
            get().add_param("HTTP_ACCEPT", "more"),
            &["[joined into one value]"],
        ),
    ] {
        let text = fetch(gateway.socket(), &request).expect(200).text();
        has(&text, words);
    }
    let text = fetch(gateway.socket(), &get()).expect(200).text();
    assert!(text.starts_with("Nothing is wrong.\n"), "{text}");
    assert!(!text.contains("WRONG"), "{text}");
    let two = get()
        .param("HTTP_X_FORWARDED_PROTO", "https")
        .param("REMOTE_USER", "admin");
    let said = "2 things are wrong: the application is told http where the browser has https; nobody has checked REMOTE_USER.";
    for (format, words) in [
        ("text", format!("{said}\n")),
        ("json", format!("{{\"verdict\": \"{said}\", \"wrong\": 2,")),
        ("html", format!("<body>\n<h1 class=\"bad\">{said}</h1>")),
    ] {
        let query = format!("format={format}");
        let request = two.clone().param("QUERY_STRING", query);
        let text = fetch(gateway.socket(), &request).expect(200).text();
        let begin = match format {
            "html" => text.find("<body>").unwrap(),
            _ => 0,
        };
        assert!(text[begin..].starts_with(&words), "{text}");
    }
}

#[test]
fn the_mount_is_explained_too() {
    let gateway = explaining(&["--mount", "/shop"]);
    let inside = Request::get("/shop/a")
        .param("SCRIPT_NAME", "/shop/a")
        .without("PATH_INFO");
    let text = fetch(gateway.socket(), &inside).expect(200).text();
    has(
        &text,
        &[
            "--mount      /shop/",
            "SCRIPT_NAME  '/shop'",
            "PATH_INFO    '/a'",
            "--mount says where the application is",
        ],
    );
    assert!(!text.contains("taken to have the whole site"), "{text}");
    let outside = fetch(gateway.socket(), &Request::get("/shopping"))
        .expect(200)
        .text();
    has(
        &outside,
        &["the answer is 404", "WRONG: This URL is not under /shop/"],
    );
}
