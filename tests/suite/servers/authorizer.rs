//! The Authorizer role (FastCGI section 6.3) where web servers have it, started with the files of `conf/authorizer`: lighttpd's
//! mod_fastcgi, the three questions of Apache's mod_fcgid, and mod_authnz_fcgi. Before each, a WSGI application says who may go on.

use std::fs;

use super::{Conf, Folder, Server, apache, conf, gateway, installed, lighttpd, program};
use crate::support::client::{AUTHORIZER, Connection, Request, fetch};
use crate::support::gateway::{Gateway, apps};
use crate::support::http::{Client, Page};

/// What the guarded application says of a body of 3 MB of the letter x.
const BODY: &[u8] = &[b'x'; 3_000_000];
const ALL_OF_BODY: &str = "body=3000000 bytes, f0e94f8f";

#[test]
fn lighttpd_asks_the_authorizer_before_files_programs_and_applications() {
    if program("lighttpd").is_none() {
        return;
    }
    let authorizer = gateway("authorizer", &["--workers", "2"]);
    let guarded = gateway("guarded", &[]);
    let server = guarded_lighttpd(&authorizer, &guarded);
    let get = |target: &str, name: &str| ask(&server, "GET", target, name, b"");

    let page = get("/private/a.txt", "kim");
    assert_eq!((page.status, page.text().as_str()), (200, "a file\n"));
    assert_eq!(page.field("X-Seen-By"), None);
    assert_eq!(page.field("Variable-MEMBER_OF"), None);
    for (target, script_name) in [
        ("/private/app/a%20b?x=1", "/private/app"),
        ("/private/program.cgi/a%20b?x=1", "/private/program.cgi"),
    ] {
        let page = ask(&server, "POST", target, "kim", BODY);
        assert_eq!(page.status, 200, "{}", page.text());
        assert_eq!(page.text(), told(script_name));
    }
    // Nobody is asked about what is not guarded.
    assert_eq!(get("/privateer", "").status, 404);
    assert_eq!(get("/open.txt", "").text(), "for all\n");
}

#[test]
fn lighttpd_sends_a_refusal_back_whole() {
    if program("lighttpd").is_none() {
        return;
    }
    let authorizer = gateway("authorizer", &["--workers", "2"]);
    let guarded = gateway("guarded", &[]);
    let server = guarded_lighttpd(&authorizer, &guarded);
    for target in [
        "/private/a.txt",
        "/private/program.cgi",
        "/private/app/x",
        "/private",
    ] {
        for method in ["GET", "POST"] {
            let body = if method == "POST" { BODY } else { b"" };
            let ask = |name| ask(&server, method, target, name, body);
            let page = ask("");
            assert_eq!((page.status, page.text().as_str()), (401, "who are you?"));
            let realm = "Basic realm=\"the authorizer\"";
            assert_eq!(page.field("WWW-Authenticate"), Some(realm));
            assert_eq!(page.field("Content-Type"), Some("text/plain"));
            let page = ask("someone");
            assert_eq!(
                (page.status, page.text().as_str()),
                (403, "not you, someone")
            );
            let page = ask("robin");
            let location = format!("/login?next={target}");
            assert_eq!(
                (page.status, page.field("Location")),
                (302, Some(&*location))
            );
            for failing in ["raises", "mute"] {
                let page = ask(failing);
                assert_eq!((page.status, page.whole), (500, true));
                assert!(page.text().contains("could not answer"), "{}", page.text());
            }
        }
    }
}

/// And lets others in as soon as it can again.
#[test]
fn nobody_passes_an_authorizer_that_is_not_there() {
    if program("lighttpd").is_none() {
        return;
    }
    let authorizer = gateway("authorizer", &["--workers", "1"]);
    let guarded = gateway("guarded", &[]);
    let server = guarded_lighttpd(&authorizer, &guarded);
    let get = |name| ask(&server, "GET", "/private/a.txt", name, b"").status;
    assert_eq!(get("kim"), 200);
    assert_eq!(get("dies"), 500);
    // The socket is the master's: it waits there for the next worker.
    assert_eq!(get("kim"), 200);
    assert_eq!(authorizer.terminate().code, 0);
    assert_eq!(get("kim"), 503);
}

#[test]
fn apache_asks_for_passwords_and_then_for_rights() {
    let Some(server) = guarded_apache(&app("authorizer")) else {
        return;
    };
    let get = |target: &str, name: &str| ask(&server, "GET", target, name, b"");
    assert_eq!(get("/private/a.txt", "kim").text(), "a file\n");
    let page = ask(&server, "POST", "/private/app/a%20b?x=1", "kim", BODY);
    assert_eq!(page.text(), told("/private/app"));

    let page = get("/private/a.txt", "");
    let realm = "Basic realm=\"the site\"";
    assert_eq!(
        (page.status, page.field("WWW-Authenticate")),
        (401, Some(realm))
    );
    // A right password, and no right: it is the second question that lee fails.
    for name in ["lee", "someone", "robin", "raises", "mute", "dies"] {
        for (method, body) in [("GET", &b""[..]), ("POST", BODY)] {
            for target in ["/private/a.txt", "/private/app"] {
                let page = ask(&server, method, target, name, body);
                let expected = if name == "dies" { 500 } else { 401 };
                assert_eq!(page.status, expected, "{name}: {}", page.text());
            }
        }
    }
    assert_eq!(get("/private/a.txt", "kim").status, 200);
    let log = server.log();
    for words in [
        "Authentication of user someone",
        "Authorization of user lee",
    ] {
        assert!(log.contains(words), "no {words:?} in\n{log}");
    }
}

#[test]
fn apache_asks_whether_a_request_may_go_on() {
    let Some(server) = guarded_apache(&app("authorizer")) else {
        return;
    };
    let get = |target: &str, name: &str| ask(&server, "GET", target, name, b"");
    assert_eq!(get("/members/a.txt", "kim").text(), "a file\n");
    let page = ask(&server, "POST", "/members/app/a%20b?x=1", "kim", BODY);
    assert_eq!(page.text(), told("/members/app"));
    for (name, status) in [
        ("", 401),
        ("someone", 401),
        ("lee", 401),
        ("raises", 401),
        ("mute", 401),
        ("dies", 500),
    ] {
        for target in ["/members/a.txt", "/members/app"] {
            let page = get(target, name);
            assert_eq!(page.status, status, "{name:?}: {}", page.text());
        }
    }
    assert_eq!(get("/open.txt", "").text(), "for all\n");
}

#[test]
fn apache_asks_an_authorizer_that_runs_by_itself() {
    if program("apache2").is_none() {
        return;
    }
    let authorizer = authorizer_by_tcp("authorizer");
    let Some(server) = guarded_apache_before(&authorizer) else {
        return;
    };
    let get = |target: &str, name: &str| ask(&server, "GET", target, name, b"");
    for place in ["private", "members"] {
        let page = get(&format!("/{place}/a.txt"), "kim");
        assert_eq!((page.status, page.text().as_str()), (200, "a file\n"));
        assert_eq!(page.field("Variable-REMOTE_USER"), None);
        let target = format!("/{place}/app/a%20b?x=1");
        let page = ask(&server, "POST", &target, "kim", BODY);
        let mut seen = told(&format!("/{place}/app"));
        if place == "members" {
            // That is of the second question's answer.
            seen = seen.replace("'staff, caf\\xe9'", "None");
        }
        assert_eq!(page.text(), seen);
        for (name, method, body) in [("raises", "GET", &b""[..]), ("mute", "POST", BODY)] {
            assert_eq!(ask(&server, method, &target, name, body).status, 500);
        }
    }
    // With AuthType it is Apache that refuses; without, what the application says goes to the client.
    for name in ["", "someone", "lee", "robin"] {
        assert_eq!(get("/private/a.txt", name).status, 401, "{name}");
    }
    let page = get("/members/a.txt", "");
    assert_eq!((page.status, page.text().as_str()), (401, "who are you?"));
    let realm = "Basic realm=\"the authorizer\"";
    assert_eq!(page.field("WWW-Authenticate"), Some(realm));
    let page = get("/members/a.txt", "someone");
    assert_eq!(
        (page.status, page.text().as_str()),
        (403, "not you, someone")
    );
    let page = get("/members/a.txt", "robin");
    let location = "/login?next=/members/a.txt";
    assert_eq!((page.status, page.field("Location")), (302, Some(location)));

    assert_eq!(get("/members/a.txt", "dies").status, 500);
    assert_eq!(get("/members/a.txt", "kim").status, 200);
    assert_eq!(authorizer.terminate().code, 0);
    for place in ["private", "members"] {
        let page = get(&format!("/{place}/a.txt"), "kim");
        assert_eq!(page.status, 500);
    }
}

/// The application that stands beside the configurations.
#[test]
fn the_example_lets_those_in_who_know_the_password() {
    let text = fs::read_to_string(conf("authorizer/authorizer.py")).unwrap();
    let text = text.replace("change me", "secret");
    let check = |server: &Server| {
        let get = |name| ask(server, "GET", "/private/a.txt", name, b"").status;
        assert_eq!([get("kim"), get("someone"), get("")], [200, 401, 401]);
    };
    let folder = Folder::new();
    let path = folder.write("authorizer.py", &text);
    let path = path.to_str().unwrap();
    if program("lighttpd").is_some() {
        let (authorizer, guarded) = (gateway(path, &[]), gateway("guarded", &[]));
        check(&guarded_lighttpd(&authorizer, &guarded));
        // Where applications stand it is of no use to anybody.
        let request = Request::get("/").param("HTTP_AUTHORIZATION", "Basic a2ltOnNlY3JldA==");
        fetch(authorizer.socket(), &request).expect(404);
    }
    if let Some(server) = guarded_apache(&text) {
        check(&server);
        let authorizer = authorizer_by_tcp(path);
        check(&guarded_apache_before(&authorizer).unwrap());
    }
}

/// lighttpd decides at the Status which fields of an Authorizer's head are the client's: all of them come after it.
#[test]
fn an_authorizers_status_is_its_first_line() {
    let authorizer = Gateway::start("fcgi_head", &[]);
    for count in [0, 10, 2000] {
        let mut connection = Connection::open(authorizer.socket());
        let request = Request::get(&format!("/?{count}")).role(AUTHORIZER);
        connection.write(&request.head());
        let response = connection.response(1);
        let text = String::from_utf8_lossy(&response.raw_stdout).into_owned();
        let (head, _) = text.split_once("\r\n\r\n").expect("the whole head");
        let lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!((lines.len(), lines[0]), (count + 2, "Status: 201 Made"));
    }
}

/// A request of `name`, whose password is right; of nobody where there is none.
fn ask(server: &Server, method: &str, target: &str, name: &str, body: &[u8]) -> Page {
    let mut client = Client::open(server.address());
    let field = format!(
        "Authorization: Basic {}",
        base64(format!("{name}:secret").as_bytes())
    );
    let fields: &[&str] = if name.is_empty() { &[] } else { &[&field] };
    client.begin(method, target, fields, body.len());
    // A server that refuses need not read it all.
    let _ = client.try_write(body);
    client.page(method)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let of = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = (of(0) << 16) | (of(1) << 8) | of(2);
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at)) & 63;
            out.push(if at > three.len() {
                '='
            } else {
                char::from(DIGITS[digit as usize])
            });
        }
    }
    out
}

/// The files that are served.
fn write_files(folder: &Folder) {
    for place in ["private", "members"] {
        folder.write(&format!("files/{place}/a.txt"), "a file\n");
    }
    folder.write("files/open.txt", "for all\n");
}

fn guarded_lighttpd(authorizer: &Gateway, guarded: &Gateway) -> Server {
    lighttpd::start(|start| {
        let folder = &start.folder;
        write_files(folder);
        let text = fs::read(folder.app("guarded")).unwrap();
        folder.write("files/private/program.cgi", text);
        Conf::read("authorizer/lighttpd.conf")
            .put(
                "\"/run/authorizer.sock\"",
                format!("{:?}", authorizer.socket()),
            )
            .put(
                "\"/run/wsgi-gateway.sock\"",
                format!("{:?}", guarded.socket()),
            )
            .put("\"/srv/site/files\"", format!("{:?}", folder.at("files")))
            .put(
                "\"/usr/local/bin/wsgi-gateway\"",
                format!("{:?}", folder.gateway_program()),
            )
    })
}

/// Apache that starts the authorizer, an application of the tests or the one of conf/authorizer.
fn guarded_apache(authorizer: &str) -> Option<Server> {
    apache::serve("event", "cgid", 1, |folder| {
        folder.write("authorizer.py", authorizer);
        let gateway = folder.gateway_program();
        let conf = Conf::read("authorizer/apache-fcgid.conf")
            .put_all("/usr/local/bin/wsgi-gateway", gateway)
            .put_all("/srv/site/authorizer.py", folder.at("authorizer.py"));
        vec![guarded_site(conf, folder)]
    })
}

/// Apache that asks an authorizer which runs by itself.
fn guarded_apache_before(authorizer: &Gateway) -> Option<Server> {
    let module = installed("/usr/lib/apache2/modules/mod_authnz_fcgi.so")?;
    apache::serve("event", "cgid", 1, |folder| {
        let conf = Conf::read("authorizer/apache-authnz-fcgi.conf").put(
            "fcgi://127.0.0.1:9100/",
            format!("fcgi://{}/", authorizer.address()),
        );
        let site = guarded_site(conf, folder);
        vec![format!(
            "LoadModule authnz_fcgi_module {}\n{site}",
            module.display()
        )]
    })
}

/// A site of Apache's with the files and the application that are guarded.
fn guarded_site(conf: Conf, folder: &Folder) -> String {
    write_files(folder);
    folder.app("guarded");
    folder.write_program(
        "app.cgi",
        format!(
            "#!{}\nfrom guarded import application\n",
            folder.gateway_program()
        ),
    );
    conf.put_all("/srv/site/files", folder.at("files"))
        .put_all("/srv/app", folder.at("").trim_end_matches('/'))
        .text()
        .to_owned()
}

/// An application of the tests.
fn app(name: &str) -> String {
    fs::read_to_string(apps().join(format!("{name}.py"))).unwrap()
}

/// A gateway that Apache can ask: mod_authnz_fcgi knows TCP only.
fn authorizer_by_tcp(app: &str) -> Gateway {
    Gateway::builder(app)
        .bind_tcp()
        .args(["--allow", "127.0.0.1", "--workers", "2"])
        .start()
}

/// What the guarded application says that it was told, for `/a%20b?x=1` below its path: with two variables of the authorizer's.
fn told(script_name: &str) -> String {
    format!(
        "MEMBER_OF='staff, caf\\xe9'\nASKED='|{script_name}/a b|x=1'\nSCRIPT_NAME='{script_name}'\nPATH_INFO='/a b'\nQUERY_STRING='x=1'\n\
         FCGI_ROLE=None\n{ALL_OF_BODY}\n"
    )
}
