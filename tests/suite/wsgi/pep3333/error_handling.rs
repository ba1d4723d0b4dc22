//! "Error Handling": applications that fail, before and after the head has left.

use super::*;

#[test]
fn before_the_head_left_becomes_a_500_page_and_a_traceback_in_the_log() {
    let doors = Doors::open("failing:application");
    for name in ["at_once", "after_start", "in_the_first_step", "in_iter"] {
        for answer in doors.get(&format!("/{name}")) {
            answer
                .is_error_page()
                .logged("Traceback (most recent call last)")
                .logged("RuntimeError: the word that only the log may say");
            // wsgi.errors is where the web server's own log gets it from.
            let told = answer.told_the_web_server();
            assert!(told.contains("RuntimeError: the word"), "{answer:#?}");
        }
    }
    for answer in doors.get("/recursion") {
        answer.is_error_page().logged("RecursionError");
    }
    for answer in doors.get("/message_not_latin1") {
        answer.is_error_page().logged("\u{20ac} and a lone");
    }
    doors.fastcgi(&Request::get("/fine")).is(200, "fine");
}

#[test]
fn with_debug_shows_the_traceback_on_the_page() {
    let doors = Doors::open_with("failing:application", &["--debug"], &[]);
    for answer in doors.get("/at_once") {
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("Traceback"), "{answer:#?}");
        assert!(answer.text().contains("the word that only"), "{answer:#?}");
        assert_eq!(
            answer.header("Content-Type"),
            Some("text/plain; charset=utf-8")
        );
    }
    for answer in doors.get("/message_not_latin1") {
        assert!(answer.text().contains('\u{20ac}'), "{answer:#?}");
    }
}

#[test]
fn after_the_head_left_cuts_the_response() {
    let doors = Doors::open("failing:application");
    for name in ["in_the_middle", "in_the_middle_with_length", "after_write"] {
        for answer in doors.get(&format!("/{name}")) {
            answer
                .is_cut_after(200, "half")
                .logged("RuntimeError: the word that only the log may say");
        }
    }
    doors.fastcgi(&Request::get("/fine")).is(200, "fine");
}

/// The client has all that was promised: it must not be told of a failure that did not touch it.
#[test]
fn after_the_last_promised_byte_takes_nothing_away() {
    let doors = Doors::open("failing:application");
    for answer in doors.get("/after_the_last_block") {
        assert_eq!(answer.status, 200, "{answer:#?}");
        assert_eq!(answer.text(), "whole", "{answer:#?}");
    }
    doors.fastcgi(&Request::get("/fine")).is(200, "fine");
}

/// A kept connection that was cut cannot be used again: it must be closed, not left waiting.
#[test]
fn closes_a_kept_connection_after_a_cut() {
    let gateway = Gateway::start("failing:application", &[]);
    let mut connection = Connection::open(gateway.socket());
    let response = connection.request(&Request::get("/in_the_middle").keep());
    assert_eq!(response.end, None, "{response:#?}");
    assert!(response.closed && !response.stdout_ended, "{response:#?}");
}

#[test]
fn of_an_exit_or_an_interrupt_is_a_failed_request_and_the_worker_lives() {
    let doors = Doors::open("failing:application");
    for (name, word) in [
        ("exits", "SystemExit"),
        ("exits_with_zero", "SystemExit"),
        ("interrupts", "KeyboardInterrupt"),
        ("odd", "Odd"),
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page().logged(word);
        }
        doors.fastcgi(&Request::get("/fine")).is(200, "fine");
    }
    for answer in doors.get("/exits_in_the_middle") {
        answer.is_cut_after(200, "half");
    }
    doors.fastcgi(&Request::get("/fine")).is(200, "fine");
}

#[test]
fn on_a_head_request_has_no_body_in_its_page() {
    let doors = Doors::open("failing:application");
    let request = Request::get("/at_once").param("REQUEST_METHOD", "HEAD");
    for answer in doors.ask(&request) {
        assert_eq!((answer.status, &*answer.text()), (500, ""), "{answer:#?}");
    }
}
