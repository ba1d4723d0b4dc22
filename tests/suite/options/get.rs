//! `get`: an application, or a gateway that runs, is asked without a web server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::support::gateway::{Gateway, apps, binary, path};

/// The exit code, and what came by standard output and error.
type Got = (i32, String, String);

/// Runs it in a folder for temporary files of its own, in which nothing is left.
#[track_caller]
fn get(words: &[&str]) -> Got {
    with_input(words, b"")
}

#[track_caller]
fn with_input(words: &[&str], input: &[u8]) -> Got {
    let folder = TempDir::with_prefix("wsgi-gateway-get-").unwrap();
    let mut child = Command::new(binary())
        .arg("get")
        .args(words)
        .current_dir(apps())
        .env("PATH", path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TMPDIR", folder.path())
        .env("HTTP_X_OF_THE_PROCESS", "leaked")
        .env_remove("VIRTUAL_ENV")
        .env_remove("WSGI_GATEWAY_BUILD")
        .env_remove("WSGI_GATEWAY_CONTRACT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}

#[test]
fn an_application_is_started_and_asked() {
    let got = get(&["hello"]);
    assert_eq!(got, (0, "Hello, world\n".to_owned(), String::new()));
    let (code, out, _) = get(&["hello:app", "/x", "-i", "--log-level", "info"]);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n";
    assert_eq!((code, out), (0, format!("{head}this is app\n")));
    let (code, out, _) = get(&["-X", "HEAD", "-i", "./hello.py"]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("HTTP/1.1 200 OK\r\n") && out.ends_with("Content-Length: 13\r\n\r\n"),
        "{out}"
    );
}

/// As nginx does with conf/nginx.conf; nothing of the environment of who asks gets in.
#[test]
fn variables_are_those_of_a_web_server() {
    let names = "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING REQUEST_URI SERVER_NAME SERVER_PORT SERVER_PROTOCOL CONTENT_TYPE \
                 CONTENT_LENGTH HTTP_HOST HTTP_X_OF_THE_PROCESS wsgi.run_once wsgi.url_scheme";
    let fields = [&format!("X-Names: {names}"), "Host: shop.example:8080"];
    let words = [
        "nginx_site",
        "/variables/caf\u{e9}%20x?a=%C3%A9",
        "-H",
        fields[0],
        "-H",
        fields[1],
    ];
    let (code, out, err) = get(&words);
    assert_eq!((code, &*err), (0, ""));
    let expected = [
        "REQUEST_METHOD='GET'",
        "SCRIPT_NAME=''",
        "PATH_INFO='/variables/caf\\xc3\\xa9 x'",
        "QUERY_STRING='a=%C3%A9'",
        "REQUEST_URI='/variables/caf%C3%A9%20x?a=%C3%A9'",
        "SERVER_NAME='shop.example'",
        "SERVER_PORT='8080'",
        "SERVER_PROTOCOL='HTTP/1.1'",
        "CONTENT_TYPE=None",
        "CONTENT_LENGTH=None",
        "HTTP_HOST='shop.example:8080'",
        "HTTP_X_OF_THE_PROCESS=None",
        "wsgi.run_once=False",
        "wsgi.url_scheme='http'",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_gateway_that_runs_is_asked_by_its_address() {
    let unix = Gateway::start("nginx_site", &[]);
    let socket = unix.socket().display().to_string();
    let named = format!("unix:{socket}");
    let tcp = Gateway::builder("nginx_site").bind_tcp().start();
    let [address, port] = [
        tcp.address().to_string(),
        format!(":{}", tcp.address().port()),
    ];
    for address in [&socket, &named, &address, &port] {
        let got = get(&[address, "/hello"]);
        assert_eq!(got, (0, "Hello".to_owned(), String::new()), "{address}");
    }
    let file = unix.folder().join("body");
    fs::write(&file, "of a file").unwrap();
    let of_file = format!("@{}", file.display());
    for (data, input, body) in [
        ("a=1&b", &b""[..], "a=1&b"),
        (&of_file, b"", "of a file"),
        ("@-", b"of a pipe", "of a pipe"),
    ] {
        let got = with_input(&[&socket, "/echo", "-d", data], input);
        assert_eq!(got, (0, body.to_owned(), String::new()));
    }
    let form = [
        "-d",
        "a",
        "-H",
        "X-Names: REQUEST_METHOD CONTENT_TYPE CONTENT_LENGTH",
    ];
    let (_, out, _) = get(&[&[&*socket, "/variables"][..], &form].concat());
    let expected = "REQUEST_METHOD='POST'\nCONTENT_TYPE='application/x-www-form-urlencoded'\nCONTENT_LENGTH='1'\n";
    assert_eq!(out, expected);
    // More than a socket holds, both ways.
    let (code, out, _) = with_input(&[&socket, "/echo", "-d", "@-"], &vec![b'x'; 5_000_000]);
    assert_eq!((code, out.len()), (0, 5_000_000));
    // What a check of health goes by.
    let (code, out, err) = get(&[&socket, "/fails"]);
    assert_eq!(code, 1);
    has(&out, &["500 Internal Server Error"]);
    has(&err, &["failed on purpose"]);
    assert_eq!(get(&[&socket, "/not_modified"]).0, 0);
    let (code, out, err) = get(&[&socket, "/breaks?1000"]);
    assert_eq!((code, &*out), (1, "a beginning"));
    has(&err, &["was cut: its log says why"]);
}

/// The traceback once, and the exit code of the gateway.
#[test]
fn an_application_that_cannot_be_loaded_is_exit_code_3() {
    let (code, out, err) = get(&["broken_import"]);
    assert_eq!((code, &*out), (3, ""));
    assert_eq!(err.matches("Traceback").count(), 1, "{err}");
    let (code, _, err) = get(&["nginx_site", "/fails"]);
    assert_eq!(code, 1);
    assert_eq!(err.matches("Traceback").count(), 1, "{err}");
}

#[test]
fn what_cannot_be_asked_is_told_in_one_sentence() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    // Nobody accepts: a connect succeeds, and that is all.
    let silent = UnixListener::bind(at("silent")).unwrap();
    drop(UnixListener::bind(at("left")).unwrap());
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let http_address = http.local_addr().unwrap().to_string();
    let other = thread::spawn(move || {
        let (mut stream, _) = http.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        // Until the other side has gone: its request is not lost in a reset before it has read this.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let [silent_at, left, none] = ["silent", "left", "none"].map(at);
    let none_named = format!("unix:{none}");
    for (words, code, said) in [
        (
            &[&*none][..],
            2,
            "is neither the socket of a gateway nor the file of an application",
        ),
        (
            &[&none_named],
            1,
            "there is no such socket; start one ('wsgi-gateway fastcgi --bind unix:",
        ),
        (&[&left], 1, "connection refused; start one"),
        (
            &[&silent_at, "--max-time", "100ms"],
            1,
            "has not answered within 100ms (--max-time)",
        ),
        (&[&http_address], 1, "answers something else than FastCGI"),
        (&["fd:0"], 1, "'fd:0' is nothing to connect to"),
        (&["hello", "x"], 2, "'x' is no path"),
        (&["hello", "http://a/"], 2, "'http://a/' is no path"),
        (
            &["hello", "/", "-H", "none"],
            2,
            "'none' is no header field",
        ),
        (&["hello", "/", "-X", "A B"], 2, "'A B' is no method"),
        (
            &["hello", "/", "-d", "@/none"],
            2,
            "the file '/none' of --data cannot be read",
        ),
    ] {
        let (got, out, err) = get(words);
        assert_eq!((got, &*out), (code, ""), "{words:?}: {err}");
        assert!(
            err.contains(said) && err.lines().count() == 1,
            "{words:?}: {err}"
        );
    }
    other.join().unwrap();
    drop(silent);
}
