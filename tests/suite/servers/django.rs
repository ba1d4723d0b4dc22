//! Django's admin behind every web server, at the root and under a prefix, as somebody at a browser uses it: redirects, cookies,
//! forms, static files, an upload and a download in part. Every link that is followed comes out of a page, so a SCRIPT_NAME that is
//! wrong by one slash ends in a 404.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::OnceLock;

use super::sites::{self, Site, Way};
use crate::support::gateway::{apps, venv};
use crate::support::http::{Client, Page};

/// More than mod_fcgid takes by itself (128 KiB), and more than Django keeps in memory (2.5 MB).
const UPLOAD: usize = 3_000_000;

#[test]
fn the_admin_works_behind_nginx() {
    the_admin_works(sites::behind_nginx);
}

#[test]
fn the_admin_works_behind_mod_cgid() {
    // At one of the two: Django is imported for each request. That SCRIPT_NAME is right at the other is what the list of requests shows.
    the_admin_works_at(&["/app"], sites::behind_mod_cgid);
}

#[test]
fn the_admin_works_behind_mod_fcgid() {
    the_admin_works(sites::behind_mod_fcgid);
}

#[test]
fn the_admin_works_behind_mod_proxy_fcgi() {
    the_admin_works(sites::behind_mod_proxy_fcgi);
}

#[test]
fn the_admin_works_behind_lighttpd() {
    the_admin_works(sites::behind_lighttpd);
}

fn the_admin_works(behind: Way) {
    the_admin_works_at(&["", "/app"], behind);
}

fn the_admin_works_at(prefixes: &[&str], behind: Way) {
    // A site of its own for each prefix: Django finds out only once where it is.
    for prefix in prefixes {
        let site = Site::new(
            &["django_site", "django_admin"],
            "os.environ[\"DJANGO_FOLDER\"] = FOLDER",
            "django_admin.wsgi",
        );
        make_database(&site);
        site.give_away();
        let Some(served) = behind(&site, prefix) else {
            return;
        };
        use_the_admin(served.address(), prefix);
    }
}

/// The database with its one user, made once for the whole run and copied for each site.
fn make_database(site: &Site) {
    static DATABASE: OnceLock<Vec<u8>> = OnceLock::new();
    let file = site.data().join("db.sqlite3");
    let content = DATABASE.get_or_init(|| {
        let status = Command::new(venv().join("bin/python"))
            .args(["-m", "django_admin.prepare"])
            .current_dir(apps())
            .env("DJANGO_FOLDER", site.data())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .status()
            .unwrap();
        assert!(status.success());
        fs::read(&file).unwrap()
    });
    fs::write(&file, content).unwrap();
}

/// A session with the site from the first redirect to the logout.
fn use_the_admin(address: SocketAddr, prefix: &str) {
    let mut browser = Browser::new(address);
    let admin = format!("{prefix}/admin/");
    let login = format!("{prefix}/admin/login/?next={prefix}/admin/");

    // Django adds the slash, then asks who is there. Both keep the prefix.
    let page = browser.get(&format!("{prefix}/admin"));
    assert_eq!((page.status, browser.place(&page)), (301, admin.as_str()));
    let page = browser.get(&admin);
    assert_eq!((page.status, browser.place(&page)), (302, login.as_str()));

    let page = browser.get(&login);
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    let sheet = between(&text, "rel=\"stylesheet\" href=\"", "\"");
    assert_eq!(sheet, format!("{prefix}/static/admin/css/base.css"));
    static_file(&mut browser, sheet);

    let fields = format!(
        "csrfmiddlewaretoken={}&username=admin&password=secret&next={admin}",
        token(&text)
    );
    let page = browser.post(
        &login,
        "application/x-www-form-urlencoded",
        fields.as_bytes(),
    );
    assert_eq!(page.status, 302, "{}", page.text());
    assert_eq!(browser.place(&page), admin);

    let text = browser.whole(&admin);
    assert!(text.contains("Site administration"), "{text}");
    let add = format!("{prefix}/admin/django_admin/document/add/");
    assert!(text.contains(&format!("<a href=\"{add}\"")), "{text}");

    let content: Vec<u8> = (0..=250).cycle().take(UPLOAD).collect();
    let text = browser.whole(&add);
    let body = multipart(token(&text), "März Bericht.bin", &content);
    let page = browser.post(&add, "multipart/form-data; boundary=part", &body);
    let list = format!("{prefix}/admin/django_admin/document/");
    assert_eq!(page.status, 302, "{}", page.text());
    assert_eq!(browser.place(&page), list);

    // Where the redirect leads, a cookie brings the message along.
    let text = browser.whole(&list);
    assert!(text.contains("was added successfully"), "{text}");
    assert!(text.contains("Ein Bericht über März"), "{text}");
    let download = between(&text, "class=\"download\" href=\"", "\"");
    assert_eq!(download, format!("{prefix}/media/M%C3%A4rz_Bericht.bin"));
    in_whole_and_in_part(&mut browser, download, &content);

    let out = format!("{prefix}/admin/logout/");
    assert!(text.contains(&format!("action=\"{out}\"")), "{text}");
    let fields = format!("csrfmiddlewaretoken={}", token(&text));
    let page = browser.post(&out, "application/x-www-form-urlencoded", fields.as_bytes());
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(!browser.cookies.contains_key("sessionid"));
    let page = browser.get(&admin);
    assert_eq!((page.status, browser.place(&page)), (302, login.as_str()));
}

/// One of the admin's own files, fresh and known already.
fn static_file(browser: &mut Browser, path: &str) {
    let page = browser.get(path);
    assert_eq!((page.status, page.whole), (200, true), "{path}");
    assert!(page.field("Content-Type").unwrap().starts_with("text/css"));
    assert!(page.text().contains("DJANGO Admin styles"), "{path}");
    let since = format!(
        "If-Modified-Since: {}",
        page.field("Last-Modified").unwrap()
    );
    let page = browser.send("GET", path, &[&since], b"");
    assert_eq!((page.status, page.body.len()), (304, 0), "{path}");
}

fn in_whole_and_in_part(browser: &mut Browser, path: &str, content: &[u8]) {
    let length = content.len().to_string();
    let page = browser.send("HEAD", path, &[], b"");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("Content-Length"), Some(length.as_str()));
    let page = browser.get(path);
    assert_eq!((page.status, page.whole), (200, true));
    assert!(page.body == content, "{} bytes came back", page.body.len());

    let page = browser.send("GET", path, &["Range: bytes=1000000-1999999"], b"");
    assert_eq!((page.status, page.whole), (206, true));
    assert_eq!(
        page.field("Content-Range"),
        Some(format!("bytes 1000000-1999999/{length}").as_str())
    );
    assert_eq!(page.field("Content-Length"), Some("1000000"));
    assert!(page.body == content[1_000_000..2_000_000]);
}

/// What a form of the admin with a file in it sends.
fn multipart(token: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = String::new();
    for (field, value) in [
        ("csrfmiddlewaretoken", token),
        ("title", "Ein Bericht über März"),
        ("_save", "Save"),
    ] {
        body += "--part\r\nContent-Disposition: form-data; name=\"";
        body += &format!("{field}\"\r\n\r\n{value}\r\n");
    }
    body += "--part\r\nContent-Disposition: form-data; name=\"file\"; filename=\"";
    body += &format!("{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n");
    let mut body = body.into_bytes();
    body.extend(content);
    body.extend(b"\r\n--part--\r\n");
    body
}

/// The form's proof that it comes from a page of the site.
fn token(page: &str) -> &str {
    between(page, "name=\"csrfmiddlewaretoken\" value=\"", "\"")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0
}

/// What of a browser matters here: it keeps cookies, and says where a form comes from.
struct Browser {
    address: SocketAddr,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new(address: SocketAddr) -> Browser {
        Browser {
            address,
            cookies: BTreeMap::new(),
        }
    }

    fn get(&mut self, target: &str) -> Page {
        self.send("GET", target, &[], b"")
    }

    /// The text of a page that must be there.
    fn whole(&mut self, target: &str) -> String {
        let page = self.get(target);
        assert_eq!((page.status, page.whole), (200, true), "{target}");
        page.text()
    }

    fn post(&mut self, target: &str, content_type: &str, body: &[u8]) -> Page {
        // Django compares Origin with the host and port that it is told, which some web servers' own files get wrong.
        let fields = [
            format!("Content-Type: {content_type}"),
            format!("Origin: http://{}", self.address),
        ];
        self.send("POST", target, &[&fields[0], &fields[1]], body)
    }

    fn send(&mut self, method: &str, target: &str, fields: &[&str], body: &[u8]) -> Page {
        let host = format!("Host: {}", self.address);
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let cookies = format!("Cookie: {}", cookies.join("; "));
        let mut all = vec![host.as_str(), "Connection: close"];
        if !self.cookies.is_empty() {
            all.push(&cookies);
        }
        all.extend(fields);
        // A connection of its own for each request: no web server's idea of how long to keep one matters.
        let mut client = Client::open(self.address);
        client.begin(method, target, &all, body.len());
        client.write(body);
        let page = client.page(method);
        self.keep_cookies(&page);
        page
    }

    fn keep_cookies(&mut self, page: &Page) {
        let set = page
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("Set-Cookie"));
        for (_, cookie) in set {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.trim().split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Where a redirect leads on this site.
    fn place<'a>(&self, page: &'a Page) -> &'a str {
        let place = page
            .field("Location")
            .unwrap_or_else(|| panic!("no Location: {page:?}"));
        place
            .strip_prefix(&format!("http://{}", self.address))
            .unwrap_or(place)
    }
}
