//! `close()` of what an application has returned.

use super::*;

/// "If the iterable returned by the application has a close() method, the server or gateway must call
/// that method upon completion of the current request, whether the request was completed normally,
/// or terminated early due to an application error during iteration or an early disconnect".
fn is_called_once(name: &str, check: impl Fn(&Answer)) {
    let doors = Doors::open("closing:application");
    let folder = TempDir::new().unwrap();
    for door in Door::ALL {
        let mark = folder.path().join(format!("{door:?}"));
        let request = get_with(&format!("/{name}"), &mark);
        let answer = doors.through(door, &request);
        check(&answer);
        wait_for_mark(&mark);
        drop(answer);
        assert_eq!(marks(&mark), 1, "{door:?} {name}");
    }
    doors.close();
    for door in Door::ALL {
        // Not a second time at the end of the process either.
        assert_eq!(marks(&folder.path().join(format!("{door:?}"))), 1);
    }
}

#[test]
fn is_called_upon_completion() {
    is_called_once("whole", |answer| {
        answer.is(200, "one,two");
    });
    is_called_once("a_list", |answer| {
        answer.is(200, "one,two");
    });
}

#[test]
fn is_called_when_nothing_was_yielded() {
    is_called_once("nothing", |answer| {
        answer.is(200, "");
    });
}

#[test]
fn is_called_after_an_error_in_the_first_step() {
    is_called_once("error_at_once", |answer| {
        answer.is_error_page().logged("before the first block");
    });
}

#[test]
fn is_called_after_an_error_in_the_middle() {
    is_called_once("error_in_the_middle", |answer| {
        answer
            .is_cut_after(200, "one,")
            .logged("after the first block");
    });
}

#[test]
fn is_called_after_a_block_that_is_not_bytes() {
    is_called_once("a_str_in_the_middle", |answer| {
        answer.is_cut_after(200, "one,");
    });
}

#[test]
fn is_called_when_start_response_never_was() {
    is_called_once("never_started", |answer| {
        answer.is_error_page();
    });
}

#[test]
fn is_called_when_the_body_is_not_sent() {
    is_called_once("no_content", |answer| {
        answer.is(204, "");
    });
}

#[test]
fn is_called_when_the_body_is_longer_than_content_length() {
    is_called_once("too_long", |answer| {
        answer.is(200, "one,");
    });
}

#[test]
fn ends_a_generator() {
    is_called_once("a_generator", |answer| {
        answer.is(200, "one,two");
    });
}

#[test]
fn of_middleware_reaches_the_inner_application() {
    is_called_once("middleware", |answer| {
        answer.is(200, "ONE,TWO");
    });
}

#[test]
fn that_fails_is_logged_and_the_worker_lives() {
    let doors = Doors::open("closing:application");
    let folder = TempDir::new().unwrap();
    let mark = folder.path().join("mark");
    for answer in doors.ask(&get_with("/failing_close", &mark)) {
        answer.logged("close() itself failed");
        assert_eq!((answer.status, &*answer.text()), (200, "one,two"));
    }
    assert_eq!(marks(&mark), Door::ALL.len());
    let next = folder.path().join("next");
    doors.fastcgi(&get_with("/whole", &next)).is(200, "one,two");
}

#[test]
fn is_called_when_the_client_has_left() {
    for name in ["endless", "endless_write"] {
        let folder = TempDir::new().unwrap();
        let mark = folder.path().join("fastcgi");
        let gateway = Gateway::start("closing:application", &[]);
        let mut connection = Connection::open(gateway.socket());
        connection.write(&get_with(&format!("/{name}"), &mark).bytes());
        assert_eq!(connection.read_record().unwrap().kind, STDOUT);
        drop(connection);
        wait_for_mark(&mark);
        // The worker is free again.
        let next = folder.path().join("next");
        let response = fetch(gateway.socket(), &get_with("/whole", &next));
        assert_eq!(response.expect(200).text(), "one,two");
        let log = gateway.terminate().log;
        assert!(
            !log.contains("Traceback"),
            "a client that leaves is no error: {log}"
        );

        let mark = folder.path().join("cgi");
        let request = get_with(&format!("/{name}"), &mark);
        let mut cgi = Cgi::new("closing:application", &request).spawn();
        cgi.wait_for_stdout(b"xxxxxxxx");
        cgi.leave();
        wait_for_mark(&mark);
        let output = cgi.finish();
        assert!(output.code >= 0, "ended by a signal: {output:?}");
        assert!(!output.stderr.contains("Traceback"), "{}", output.stderr);
    }
}

#[test]
fn is_called_for_head_requests_too() {
    let doors = Doors::open("closing:application");
    let folder = TempDir::new().unwrap();
    let mark = folder.path().join("mark");
    let request = get_with("/whole", &mark).param("REQUEST_METHOD", "HEAD");
    for answer in doors.ask(&request) {
        answer.is(200, "");
    }
    doors.close();
    assert_eq!(marks(&mark), Door::ALL.len());
}
