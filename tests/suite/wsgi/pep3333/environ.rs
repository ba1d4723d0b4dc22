//! "environ Variables": what is in it and of which types, behind both doors. The web server's variables are in `wsgi::environ`.

use super::*;

#[test]
fn is_a_builtin_dict_of_native_strings() {
    for answer in Doors::open("dump:application").get("/types") {
        let text = answer.has_status(200).text();
        let types: Vec<&str> = text.lines().collect();
        for line in [
            "type(environ)='dict'",
            "type(name)=['str']",
            "PATH_INFO='str'",
            "QUERY_STRING='str'",
            "REQUEST_METHOD='str'",
            "SCRIPT_NAME='str'",
            "SERVER_NAME='str'",
            "SERVER_PORT='str'",
            "SERVER_PROTOCOL='str'",
            "wsgi.version='tuple'",
            "wsgi.url_scheme='str'",
            "wsgi.multithread='bool'",
            "wsgi.multiprocess='bool'",
            "wsgi.run_once='bool'",
            "wsgi.file_wrapper='type'",
        ] {
            assert!(types.contains(&line), "{line} is not in {answer:#?}");
        }
        for name in ["wsgi.input", "wsgi.errors"] {
            assert!(text.contains(&format!("\n{name}=")), "{answer:#?}");
        }
        for line in types {
            let (name, kind) = line.split_once('=').unwrap();
            if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
                assert_eq!(kind, "'str'", "{name}");
            }
        }
    }
}

/// "The environ dictionary ... must be a builtin Python dictionary ... and the application is allowed to
/// modify the dictionary in any way it desires."
#[test]
fn belongs_to_one_request() {
    let gateway = Gateway::start("dump:application", &[]);
    let mut connection = Connection::open(gateway.socket());
    let mut seen = Vec::new();
    for _ in 0..3 {
        let response = connection.request(&Request::get("/spoils").keep());
        seen.push(response.expect(200).text());
    }
    assert!(seen[0].starts_with("[] False "), "{seen:?}");
    assert!(seen[0].ends_with(" */*"), "{seen:?}");
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[1], seen[2]);
    let response = connection.request(&Request::get("/values").keep());
    let values = response.expect(200).text();
    assert!(values.contains("wsgi.version=(1, 0)"), "{values}");
    assert!(values.contains("HTTP_USER_AGENT='suite'"), "{values}");
}

#[test]
fn tells_about_threads_and_processes() {
    let flags = |answer: &Answer| {
        answer
            .has_status(200)
            .text()
            .lines()
            .filter(|line| line.starts_with("wsgi.mult") || line.starts_with("wsgi.run_once"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let [fastcgi, cgi, _] = Doors::open("dump:application").get("/values");
    assert_eq!(
        flags(&fastcgi),
        "wsgi.multiprocess=True wsgi.multithread=False wsgi.run_once=False"
    );
    assert_eq!(
        flags(&cgi),
        "wsgi.multiprocess=True wsgi.multithread=False wsgi.run_once=True"
    );
    let gateway = Gateway::start("dump:application", &["--threads", "2"]);
    let values = fetch(gateway.socket(), &Request::get("/values"));
    let values = values.expect(200).text();
    assert!(values.contains("wsgi.multithread=True"), "{values}");
    // Also of one worker: its successor is there before it leaves.
    assert!(values.contains("wsgi.multiprocess=True"), "{values}");
}

/// "URL Reconstruction".
#[test]
fn is_enough_to_rebuild_the_url() {
    let doors = Doors::open("dump:application");
    let base = || Request::get("/rebuilt_url/a%20b").param("QUERY_STRING", "x=1&y=%20");
    for (request, urls) in [
        (
            base(),
            "http://localhost/ http://localhost/rebuilt_url/a%20b?x=1&y=%20",
        ),
        (
            base()
                .param("SCRIPT_NAME", "/mount")
                .param("REQUEST_URI", "/mount/rebuilt_url/a%20b?x=1&y=%20")
                .param("HTTPS", "on")
                .param("SERVER_PORT", "8443")
                .without("HTTP_HOST"),
            "https://localhost:8443/mount https://localhost:8443/mount/rebuilt_url/a%20b?x=1&y=%20",
        ),
        (
            base().param("HTTP_HOST", "example.org:81"),
            "http://example.org:81/ http://example.org:81/rebuilt_url/a%20b?x=1&y=%20",
        ),
    ] {
        for answer in doors.ask(&request) {
            answer.is(200, urls);
        }
    }
}
