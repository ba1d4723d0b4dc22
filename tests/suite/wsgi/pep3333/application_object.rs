//! "The Application/Framework Side": what may be an application, and how it is called.

use super::*;

#[test]
fn any_callable_is_an_application() {
    let doors = Doors::open("shapes:application");
    for name in [
        "function",
        "instance",
        "method",
        "static",
        "class",
        "generator",
        "partial",
        "lambda",
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(200, name);
        }
    }
}

#[test]
fn every_callable_can_be_named_on_the_command_line() {
    for (attribute, body) in [
        ("instance", "instance"),
        ("Class", "class"),
        ("generator", "generator"),
        ("partial", "partial"),
    ] {
        for answer in Doors::open(&format!("shapes:{attribute}")).get("/") {
            answer.is(200, body);
        }
    }
}

#[test]
fn is_invoked_with_two_positional_arguments() {
    let doors = Doors::open("shapes:application");
    for answer in doors.get("/other_names") {
        answer.is(200, "other names");
    }
    for answer in Doors::open("shapes:arguments").get("/") {
        answer.is(200, "2 positional, 0 named");
    }
}

#[test]
fn is_invoked_once_for_each_request_and_can_be_invoked_again() {
    let doors = Doors::open("counting:application");
    for call in 1..=3 {
        let body = format!("call {call}");
        doors.fastcgi(&Request::get("/")).is(200, &body);
        // A process of its own for each request.
        doors.cgi(&Request::get("/")).is(200, "call 1");
    }
}
