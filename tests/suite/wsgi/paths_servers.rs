//! What web servers were seen to send (`tests/captures/`), through the real binary: the whole of `environ`, and what
//! `--mount` turns away.

use std::collections::BTreeSet;

use crate::support::captures::{Captured, Environ, Setup, Verdict, setups};
use crate::support::cgi::{Cgi, os};
use crate::support::client::{Connection, Request};
use crate::support::doors::Doors;
use crate::support::gateway::Gateway;

/// Shows environ whatever the path is.
const APP: &str = "dump:values";

/// The request with these variables and a body as long as it says.
fn request(captured: &Captured) -> Request {
    let mut request = Request::get("/");
    request.params.clone_from(&captured.sent);
    let announced = captured
        .sent
        .iter()
        .find(|(name, _)| name == b"CONTENT_LENGTH");
    let length = announced.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
    request.stdin = vec![b'b'; length.unwrap_or(0)];
    request
}

/// `environ` as the dump application shows it, but for what is the gateway's own.
fn seen(text: &str) -> Environ {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.starts_with("wsgi") || *name == "wsgi.url_scheme")
        .map(|(name, value)| (name.into(), unquoted(value)))
        .collect()
}

/// The bytes of a string that Python's `ascii()` has quoted.
fn unquoted(quoted: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = quoted[1..quoted.len() - 1].bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().unwrap() {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            quote @ (b'\\' | b'\'' | b'"') => quote,
            other => panic!("an escape of {other:?} in {quoted}"),
        });
    }
    bytes
}

/// What is wrong with an answer, in a few lines. `status` and `text` are the response's.
fn fault(
    setup: &Setup,
    captured: &Captured,
    mounted: bool,
    status: u16,
    text: &str,
) -> Option<String> {
    let place = &captured.place;
    let path_info = match (&captured.verdict, mounted) {
        (Verdict::Always(path), _) | (Verdict::WithMount(path), true) => path,
        (Verdict::OutsideMount, true) => {
            let is_turned_away = status == 404 && !text.contains("wsgi.");
            return (!is_turned_away).then(|| format!("{place}: {status}, and not 404"));
        }
        // Whatever it is, it is answered.
        _ => return (status != 200).then(|| format!("{place}: {status}")),
    };
    if captured
        .sent
        .contains(&(b"REQUEST_METHOD".to_vec(), b"HEAD".to_vec()))
    {
        return (status != 200).then(|| format!("{place}: {status}"));
    }
    let expected = captured.environ(&setup.mount, path_info);
    let mut got = seen(text);
    // What Python gives itself in an environment that is poor (PEP 538).
    if !expected.contains_key(&b"LC_CTYPE"[..]) {
        got.remove(&b"LC_CTYPE"[..]);
    }
    if status == 200 && got == expected {
        return None;
    }
    let only = |one: &Environ, other: &Environ| {
        let only = one
            .iter()
            .filter(|(name, value)| other.get(*name) != Some(value));
        let shown: Vec<String> = only
            .map(|(name, value)| {
                let (name, value) = (name.escape_ascii(), value.escape_ascii());
                format!("\n        {name}={value}")
            })
            .collect();
        shown.concat()
    };
    Some(format!(
        "{place}: {status}\n    seen:{}\n    expected:{}",
        only(&got, &expected),
        only(&expected, &got)
    ))
}

#[track_caller]
fn none_of(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{}\n{} wrong",
        faults.join("\n"),
        faults.len()
    );
}

/// Everything that FastCGI web servers sent, on one connection for each gateway.
fn through_fastcgi(setups: &[Setup], mount: Option<&str>) -> Vec<String> {
    let options: Vec<&str> = mount.iter().flat_map(|mount| ["--mount", *mount]).collect();
    let gateway = Gateway::start(APP, &options);
    let mut connection = Connection::open(gateway.socket());
    let mut faults = Vec::new();
    for setup in setups {
        if setup.is_cgi || mount.is_some_and(|mount| mount != setup.mount) {
            continue;
        }
        for captured in &setup.requests {
            let response = connection.request(&request(captured).keep());
            let text = response.text();
            faults.extend(fault(
                setup,
                captured,
                mount.is_some(),
                response.status,
                &text,
            ));
        }
    }
    faults
}

#[test]
fn fastcgi_makes_environ_of_what_every_server_sends() {
    none_of(&through_fastcgi(&setups(), None));
}

#[test]
fn fastcgi_under_a_mount_makes_environ_of_what_every_server_sends() {
    let setups = setups();
    let mounts: BTreeSet<&str> = setups
        .iter()
        .filter(|setup| !setup.is_cgi)
        .map(|setup| &*setup.mount)
        .collect();
    let faults: Vec<String> = mounts
        .into_iter()
        .flat_map(|mount| through_fastcgi(&setups, Some(mount)))
        .collect();
    none_of(&faults);
}

/// A process for each of them takes too long: some of every server, and `paths_rules` has all.
#[test]
fn cgi_makes_environ_of_what_every_server_sends() {
    let mut faults = Vec::new();
    let mut count = 0;
    for setup in setups().iter().filter(|setup| setup.is_cgi) {
        for (at, captured) in setup.requests.iter().enumerate() {
            // Others on each server.
            if at % 16 != count % 16 && at != 0 {
                continue;
            }
            for mounted in [false, true] {
                let mut cgi = Cgi::new(APP, &request(captured)).empty_environment();
                for (name, value) in &captured.sent {
                    cgi = cgi.env(os(name), os(value));
                }
                if mounted {
                    cgi = cgi.option("--mount").option(&setup.mount);
                }
                let response = cgi.run().response();
                let text = String::from_utf8(response.body).unwrap();
                faults.extend(fault(setup, captured, mounted, response.status, &text));
            }
        }
        count += 1;
    }
    assert!(count > 10, "{count} set-ups");
    none_of(&faults);
}

/// A page of the gateway's own, whatever comes with the request; what is inside is answered on the same connection.
#[test]
fn outside_the_mount_the_application_is_not_called() {
    let doors = Doors::open_with(APP, &["--mount", "/shop/"], &[]);
    let outside = || Request::get("/shopping?x");
    for request in [
        outside(),
        Request::post("/", b"a body that nobody reads"),
        Request::get("/shop/../admin"),
    ] {
        for answer in doors.ask(&request) {
            let text = answer.has_status(404).text();
            assert!(text.contains("begins at /shop/"), "{answer:#?}");
            assert!(!text.contains("wsgi."), "{answer:#?}");
        }
    }
    for answer in doors.ask(&outside().param("REQUEST_METHOD", "HEAD")) {
        assert_eq!(answer.has_status(404).text(), "");
    }
    let mut connection = Connection::open(doors.gateway().socket());
    let body = vec![b'b'; 300_000];
    connection
        .request(&Request::post("/", &body).keep())
        .expect(404);
    let inside = connection.request(&Request::get("/shop/a").keep());
    let seen = seen(&inside.expect(200).text());
    assert_eq!(seen[&b"SCRIPT_NAME"[..]], b"/shop");
    assert_eq!(seen[&b"PATH_INFO"[..]], b"/a");
}
