//! Requests that take too long and need not cost their process: what gets the application out of them, and what does not.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::cgi::Cgi;
use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Gateway, READY};
use crate::support::load::Load;

const BACK: &str = "its worker goes on serving";

fn gateway(options: &[&str]) -> Gateway {
    let gateway = Gateway::builder("timed_out.py")
        .args(["--workers", "1"])
        .args(options)
        .start();
    gateway.wait_until_ready(1);
    gateway
}

fn asks(gateway: &Gateway, path: &str) -> Connection {
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get(path).bytes());
    connection
}

fn served_by(gateway: &Gateway) -> u32 {
    let answer = fetch(gateway.socket(), &Request::get("/"));
    answer.expect(200).text().parse().unwrap()
}

/// On its main thread Python is interrupted in nearly all that it can wait for.
#[test]
fn a_worker_outlives_a_request_that_takes_too_long() {
    for options in [&[][..], &["--preload"]] {
        let gateway = gateway(&[options, &["--request-timeout", "200ms"]].concat());
        let worker = gateway.worker();
        let paths = [
            "/sleeps",
            "/spins",
            "/deadlocks",
            "/waits_for_a_socket",
            "/cleans_up",
        ];
        let paths = &paths[..if options.is_empty() { paths.len() } else { 1 }];
        for (count, path) in paths.iter().enumerate() {
            let page = asks(&gateway, path).response(1).expect(504).text();
            assert!(page.contains("did not answer in time"), "{page}");
            let left = format!("{path} left on main: wsgi_gateway.RequestTimeout");
            gateway.wait_for_log(&left);
            gateway.wait_for_count(BACK, count + 1);
            assert_eq!(served_by(&gateway), worker, "{path}");
        }
        let log = gateway.log();
        for word in ["timeout: GET /sleeps runs for", "timed_out.py\", line"] {
            assert!(log.contains(word), "{word}: {log}");
        }
        assert_eq!(
            log.contains("cleaned up"),
            options.is_empty(),
            "{options:?}: {log}"
        );
        // It was told where the request was, and once is enough.
        assert!(!log.contains("Traceback"), "{log}");
    }
}

/// What waits in C code, or catches all there is, ends with its process.
#[test]
fn a_request_that_does_not_end_costs_its_worker() {
    let options = ["--request-timeout", "200ms", "--kill-after", "200ms"];
    let gateway = gateway(&options);
    for (count, path) in ["/keeps_the_lock_of_c", "/goes_on"].iter().enumerate() {
        let worker = gateway.worker();
        asks(&gateway, path).response(1).expect(504);
        gateway.wait_for_line(&["timeout: GET", path, "does not end"]);
        gateway.wait_for_line(&[&format!("(pid {worker})"), "ended after"]);
        gateway.wait_for_count(READY, count + 2);
        assert_ne!(served_by(&gateway), worker);
    }
    gateway.wait_for_log("/goes_on left on main: wsgi_gateway.RequestTimeout");
    assert!(!gateway.log().contains(BACK));
}

/// On other threads Python is interrupted when it runs Python code again.
#[test]
fn a_thread_is_interrupted_in_python_code() {
    let options = ["--threads", "2", "--request-timeout", "200ms"];
    let gateway = gateway(&options);
    let worker = gateway.worker();
    let mut both = ["/spins", "/spins"].map(|path| asks(&gateway, path));
    for stuck in &mut both {
        stuck.response(1).expect(504);
    }
    gateway.wait_for_log("/spins left on main: wsgi_gateway.RequestTimeout");
    gateway.wait_for_log("/spins left on other: wsgi_gateway.RequestTimeout");
    gateway.wait_for_count(BACK, 2);
    assert_eq!(served_by(&gateway), worker);
    // A read of a body is over when the request is.
    let mut both = [(), ()].map(|()| {
        let mut connection = Connection::open(gateway.socket());
        let wire = Request::post("/reads", &[b'x'; 100_000]).bytes();
        connection.write(&wire[..wire.len() - 20_000]);
        connection
    });
    for stuck in &mut both {
        stuck.response(1).expect(504);
    }
    gateway.wait_for_log("/reads left on main: ");
    gateway.wait_for_log("/reads left on other: ");
    gateway.wait_for_count(BACK, 4);
    assert_eq!(served_by(&gateway), worker);
}

/// A sleep of a thread that is not Python's main one cannot be ended, and the other thread is none the worse for it.
#[test]
fn one_thread_is_interrupted_and_another_lost() {
    let options = [
        "--threads",
        "2",
        "--request-timeout",
        "200ms",
        "--kill-after",
        "500ms",
    ];
    let gateway = gateway(&options);
    let mut both = ["/sleeps", "/sleeps"].map(|path| asks(&gateway, path));
    for stuck in &mut both {
        stuck.response(1).expect(504);
    }
    gateway.wait_for_count(BACK, 1);
    gateway.wait_for_line(&["timeout: GET /sleeps does not end"]);
    gateway.wait_for_count(READY, 2);
    served_by(&gateway);
    let log = gateway.log();
    assert!(log.contains("/sleeps left on main"), "{log}");
    assert!(!log.contains("/sleeps left on other"), "{log}");
}

/// A response that has begun is cut then, and its iterable closed.
#[test]
fn a_response_that_takes_too_long_is_left_in_order() {
    let gateway = gateway(&["--request-timeout", "200ms"]);
    let worker = gateway.worker();
    let answer = asks(&gateway, "/streams").response(1);
    assert_eq!((answer.end, answer.text().as_str()), (None, "one"));
    for word in ["the generator was left", "close() was called", BACK] {
        gateway.wait_for_log(word);
    }
    let answer = asks(&gateway, "/hard").response(1);
    // The response would have ended behind close().
    assert_eq!((answer.end, answer.text().as_str()), (None, "onetwo"));
    gateway.wait_for_log("close() was left");
    gateway.wait_for_count(BACK, 2);
    assert_eq!(served_by(&gateway), worker);
    let log = gateway.log();
    assert!(log.contains("its response has begun and is cut"), "{log}");
    assert!(!log.contains("Traceback"), "{log}");
}

/// What comes too late for one request is not for the next.
#[test]
fn an_interruption_reaches_no_other_request() {
    let options = ["--threads", "4", "--request-timeout", "60ms"];
    let gateway = gateway(&options);
    let worker = gateway.worker();
    let ((), tally) = Load::on(&gateway, "/fast").clients(2).during(|_| {
        for step in 0..20 {
            let seconds = Duration::from_millis(60 + 7 * step).as_secs_f64();
            let path = format!("/edge?{seconds}");
            for mut edge in [(); 2].map(|()| asks(&gateway, &path)) {
                edge.response(1);
            }
        }
    });
    eprintln!("{tally}");
    let log = gateway.log();
    assert!(log.contains("GET /edge"), "none was too slow: {log}");
    assert!(!log.contains("astray"), "{log}");
    assert_eq!(served_by(&gateway), worker, "{log}");
}

/// Whoever writes its name means the gateway's module, whatever lies beside the application.
#[test]
fn the_exception_can_be_imported_everywhere() {
    let folder = TempDir::with_prefix("wsgi-gateway-test-module-").unwrap();
    fs::write(folder.path().join("wsgi_gateway.py"), "THEIRS = True\n").unwrap();
    let app = folder.path().join("site.py");
    let source = "import pickle, wsgi_gateway\n\
                  raised = wsgi_gateway.RequestTimeout\n\
                  def application(environ, start_response):\n    \
                      start_response('200 OK', [])\n    \
                      kind = pickle.loads(pickle.dumps(raised('x')))\n    \
                      return [repr((kind, raised.__mro__[1], hasattr(wsgi_gateway, 'THEIRS'))).encode()]\n";
    fs::write(&app, source).unwrap();
    let output = Cgi::new(&app, &Request::get("/")).run();
    let body = String::from_utf8(output.response().body).unwrap();
    let expected = "(RequestTimeout('x'), <class 'BaseException'>, False)";
    assert_eq!(body, expected, "{output:?}");
}
