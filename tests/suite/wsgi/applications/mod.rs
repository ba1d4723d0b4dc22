//! Real frameworks, unchanged, behind both doors.

mod validated;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::support::cgi::Cgi;
use crate::support::client::Request;
use crate::support::digest::adler32;
use crate::support::doors::{Answer, Door, Doors};
use crate::support::gateway::{apps, venv};

fn digits(size: usize) -> Vec<u8> {
    b"0123456789".iter().copied().cycle().take(size).collect()
}

fn framework(app: &str, environment: &[(&str, &str)]) -> Doors {
    let venv = venv();
    Doors::open_with(app, &["--venv", venv.to_str().unwrap()], environment)
}

fn form(path: &str, fields: &str) -> Request {
    Request::post(path, fields.as_bytes())
        .param("CONTENT_TYPE", "application/x-www-form-urlencoded")
}

/// An upload as a browser sends it (RFC 7578), with a field beside the file.
fn upload(path: &str, content: &[u8]) -> Request {
    let mut body = Vec::new();
    body.extend(b"--border\r\nContent-Disposition: form-data; name=\"comment\"\r\n\r\nwell\r\n");
    body.extend(
        b"--border\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big.bin\"\r\n",
    );
    body.extend(b"Content-Type: application/octet-stream\r\n\r\n");
    body.extend(content);
    body.extend(b"\r\n--border--\r\n");
    Request::post(path, &body).param("CONTENT_TYPE", "multipart/form-data; boundary=border")
}

/// What `Set-Cookie` gave, as the next request's `Cookie`.
fn cookies(answer: &Answer) -> Vec<String> {
    answer
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("Set-Cookie"))
        .map(|(_, value)| value.split(';').next().unwrap().trim().to_owned())
        .collect()
}

/// Content that repeats with a period that no buffer size has.
fn megabytes(count: usize) -> Vec<u8> {
    (0..251).cycle().take(count * 1_000_000).collect()
}

#[test]
fn wsgiref_demo_app() {
    for answer in Doors::open("wsgiref.simple_server:demo_app").get("/some/path") {
        let text = answer.has_status(200).text();
        assert!(text.starts_with("Hello world!\n"), "{answer:#?}");
        assert!(text.contains("PATH_INFO = '/some/path'"), "{answer:#?}");
        assert_eq!(
            answer.header("Content-Type"),
            Some("text/plain; charset=utf-8")
        );
    }
}

#[test]
fn flask() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digits");
    fs::write(&file, digits(200_000)).unwrap();
    let doors = framework("flask_site:app", &[("FLASK_FILE", file.to_str().unwrap())]);

    for answer in doors.get("/") {
        answer.is(200, "home http://localhost/hello/you");
        assert_eq!(
            answer.header("Content-Type"),
            Some("text/html; charset=utf-8")
        );
    }
    let mounted = Request::get("/")
        .param("SCRIPT_NAME", "/mount")
        .param("REQUEST_URI", "/mount/")
        .param("HTTPS", "on")
        .param("HTTP_HOST", "example.org");
    for answer in doors.ask(&mounted) {
        answer.is(200, "home https://example.org/mount/hello/you");
    }
    for answer in doors.get("/hello/caf%C3%A9?q=%E2%82%AC") {
        let text = answer.has_status(200).text();
        assert!(text.contains(r#""name":"caf\u00e9""#), "{answer:#?}");
        assert!(text.contains(r#""query":"\u20ac""#), "{answer:#?}");
    }
    for answer in doors.ask(&form("/form", "first=a+b&second=%C3%A9")) {
        answer.is(200, "a b \u{e9}");
    }
    let json =
        Request::post("/json", br#"{"x": [1, null]}"#).param("CONTENT_TYPE", "application/json");
    for answer in doors.ask(&json) {
        answer.is(200, "{\"got\":{\"x\":[1,null]}}\n");
    }
    for door in Door::ALL {
        let ask = |request: Request| doors.through(door, &request);
        let answer = ask(Request::get("/login?user=ann"));
        assert_eq!(answer.has_status(302).header("Location"), Some("/who"));
        let session = cookies(&answer).join("; ");
        ask(Request::get("/who").param("HTTP_COOKIE", &session)).is(200, "ann");
        ask(Request::get("/who")).is(200, "nobody");
    }
    let content = megabytes(2);
    let shown = format!("big.bin {} {} well", content.len(), adler32(&content));
    for answer in doors.ask(&upload("/upload", &content)) {
        answer.is(200, &shown);
    }
    for answer in doors.get("/file") {
        assert!(answer.has_status(200).body == digits(200_000));
        assert_eq!(answer.header("Content-Length"), Some("200000"));
    }
    for answer in doors.ask(&Request::get("/file").param("HTTP_RANGE", "bytes=5-14")) {
        answer.is(206, "5678901234");
        assert_eq!(answer.header("Content-Range"), Some("bytes 5-14/200000"));
    }
    for answer in doors.ask(&Request::get("/file").param("REQUEST_METHOD", "HEAD")) {
        answer.is(200, "");
        assert_eq!(answer.header("Content-Length"), Some("200000"));
    }
    for answer in doors.get("/memory") {
        answer.is(200, "in memory");
    }
    for answer in doors.get("/stream") {
        answer.is(200, "line 0\nline 1\nline 2\n");
    }
    let with_cookies = Request::get("/cookies")
        .add_param("HTTP_COOKIE", "a=1")
        .add_param("HTTP_COOKIE", "b=2");
    for answer in doors.ask(&with_cookies) {
        answer.is(200, "1 2");
        assert_eq!(cookies(&answer), ["first=1", "second=2"]);
    }
    for answer in doors.get("/nothing") {
        answer.is(204, "");
    }
    for answer in doors.get("/teapot") {
        answer.has_status(418);
        assert_eq!(answer.reason, "I'M A TEAPOT");
    }
    for answer in doors.get("/nowhere") {
        answer.has_status(404);
    }
    for answer in doors.get("/fails") {
        // Flask's own page, and its own traceback through wsgi.errors.
        answer
            .has_status(500)
            .logged("RuntimeError: the view failed");
        assert!(!answer.text().contains("Traceback"), "{answer:#?}");
    }
}

/// A folder with the site's database, made once for the whole run and copied for each test.
fn django_folder() -> TempDir {
    static DATABASE: OnceLock<Vec<u8>> = OnceLock::new();
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("db.sqlite3");
    let content = DATABASE.get_or_init(|| {
        let status = Command::new(venv().join("bin/python"))
            .args(["-m", "django_site.prepare"])
            .current_dir(apps())
            .env("DJANGO_FOLDER", folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .status()
            .unwrap();
        assert!(status.success());
        fs::read(&database).unwrap()
    });
    fs::write(&database, content).unwrap();
    folder
}

fn django(folder: &Path) -> Doors {
    framework(
        "django_site.wsgi:application",
        &[("DJANGO_FOLDER", folder.to_str().unwrap())],
    )
}

#[test]
fn django_answers() {
    let folder = django_folder();
    fs::write(folder.path().join("digits"), digits(200_000)).unwrap();
    let doors = django(folder.path());
    for answer in doors.get("/") {
        answer.is(200, "home http://localhost/upload");
        assert_eq!(answer.header("X-Frame-Options"), Some("DENY"));
    }
    let mounted = Request::get("/")
        .param("SCRIPT_NAME", "/mount")
        .param("REQUEST_URI", "/mount/")
        .param("HTTPS", "on");
    for answer in doors.ask(&mounted) {
        answer.is(200, "home https://localhost/mount/upload");
    }
    for answer in doors.get("/hello/caf%C3%A9?q=%E2%82%AC") {
        answer.is(
            200,
            r#"{"name": "caf\u00e9", "query": "\u20ac", "secure": false}"#,
        );
    }
    for answer in doors.get("/file") {
        assert!(answer.has_status(200).body == digits(200_000));
        assert_eq!(answer.header("Content-Length"), Some("200000"));
    }
    for answer in doors.get("/stream") {
        answer.is(200, "line 0\nline 1\nline 2\n");
    }
    for answer in doors.get("/admin") {
        assert_eq!(answer.has_status(301).header("Location"), Some("/admin/"));
    }
    for answer in doors.get("/nowhere") {
        answer.has_status(404);
    }
    for answer in doors.get("/fails") {
        answer.has_status(500);
        assert!(!answer.text().contains("Traceback"), "{answer:#?}");
    }
    for answer in doors.ask(&Request::get("/").param("HTTP_HOST", "evil.example")) {
        answer.has_status(400);
    }
}

/// Cookies there and back, a CSRF token in a form, a redirect, and a page behind the login.
#[test]
fn django_admin_login() {
    let folder = django_folder();
    let doors = django(folder.path());
    for door in Door::ALL {
        let ask = |request: Request| doors.through(door, &request);
        let answer = ask(Request::get("/admin/"));
        let login = answer.has_status(302).header("Location").unwrap();
        assert_eq!(login, "/admin/login/?next=/admin/");

        let page = ask(Request::get(login));
        let csrf = cookies(page.has_status(200)).join("; ");
        let text = page.text();
        let (_, token) = text
            .split_once("name=\"csrfmiddlewaretoken\" value=\"")
            .unwrap();
        let token = token.split('"').next().unwrap();
        let fields = |password| {
            format!("csrfmiddlewaretoken={token}&username=admin&password={password}&next=/admin/")
        };

        // Without the cookie, with a wrong password, and then right.
        ask(form(login, &fields("secret"))).has_status(403);
        let refused = ask(form(login, &fields("wrong")).param("HTTP_COOKIE", &csrf));
        assert!(refused.has_status(200).text().contains("errornote"));
        let answer = ask(form(login, &fields("secret")).param("HTTP_COOKIE", &csrf));
        assert_eq!(answer.has_status(302).header("Location"), Some("/admin/"));

        let all = cookies(&answer);
        assert!(
            all.iter().any(|cookie| cookie.starts_with("sessionid=")),
            "{all:?}"
        );
        let page = ask(Request::get("/admin/").param("HTTP_COOKIE", all.join("; ")));
        assert!(page.has_status(200).text().contains("Site administration"));
        assert!(page.text().contains("Log out"));
    }
}

#[test]
fn django_upload_of_20_megabytes() {
    let folder = django_folder();
    let doors = django(folder.path());
    let content = megabytes(20);
    let shown = format!("big.bin {} {} well", content.len(), adler32(&content));
    for answer in doors.ask(&upload("/upload", &content)) {
        answer.is(200, &shown);
    }
}

#[test]
fn bottle() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digits");
    fs::write(&file, digits(200_000)).unwrap();
    let doors = framework(
        "bottle_site:application",
        &[("BOTTLE_FILE", file.to_str().unwrap())],
    );
    for answer in doors.get("/") {
        answer.is(200, "home /hello/you");
    }
    for answer in doors.get("/hello/caf%C3%A9?q=%E2%82%AC") {
        let text = answer.has_status(200).text();
        assert!(text.contains(r#""name": "caf\u00e9""#), "{answer:#?}");
        assert!(text.contains(r#""query": "\u20ac""#), "{answer:#?}");
    }
    for answer in doors.ask(&form("/form", "first=a+b&second=%C3%A9")) {
        answer.is(200, "a b \u{e9}");
    }
    let content = megabytes(2);
    let shown = format!("big.bin {} {} well", content.len(), adler32(&content));
    for answer in doors.ask(&upload("/upload", &content)) {
        answer.is(200, &shown);
    }
    for answer in doors.get("/file") {
        assert!(answer.has_status(200).body == digits(200_000));
    }
    for answer in doors.ask(&Request::get("/file").param("HTTP_RANGE", "bytes=5-14")) {
        answer.is(206, "5678901234");
    }
    for answer in doors.get("/stream") {
        answer.is(200, "line 0\nline 1\nline 2\n");
    }
    for answer in doors.get("/nowhere") {
        answer.has_status(404);
    }
    for answer in doors.get("/fails") {
        answer
            .has_status(500)
            .logged("RuntimeError: the view failed");
    }
}

#[test]
fn asgi_behind_a2wsgi() {
    let doors = framework("asgi_site:application", &[]);
    for answer in doors.get("/a/path") {
        answer.is(200, "one\ntwo\nGET 0\n");
        assert_eq!(answer.header("X-Path"), Some("/a/path"));
    }
    for answer in doors.ask(&Request::post("/", &megabytes(1))) {
        answer.is(200, "one\ntwo\nPOST 1000000\n");
    }
    for answer in doors.get("/fails") {
        // a2wsgi answers with a page of its own, and passes exc_info to start_response.
        answer.has_status(500);
    }
    doors
        .fastcgi(&Request::get("/"))
        .is(200, "one\ntwo\nGET 0\n");
}
