//! Every well-behaved application of the tests under `wsgiref.validate`, which checks the gateway's side of PEP 3333 as well as the
//! application's.

use super::*;

/// The application under the validator gives the same answer, and the validator has nothing to say.
fn validated(app: &str, requests: &[Request], options: &[&str]) {
    let plain = Doors::open_with(app, options, &[]);
    let strict = Doors::open_with(
        "validated:application",
        options,
        &[("WSGI_TEST_VALIDATE", app)],
    );
    for request in requests {
        for (expected, answer) in plain.ask(request).iter().zip(&strict.ask(request)) {
            assert_eq!(answer.status, expected.status, "{app}: {answer:#?}");
            assert!(answer.complete, "{app}: {answer:#?}");
            // Two answers need not fall into the same second.
            let without_date = |answer: &Answer| {
                let mut headers = answer.headers.clone();
                headers.retain(|(name, _)| name != "Date");
                headers
            };
            assert_eq!(without_date(answer), without_date(expected), "{answer:#?}");
            assert!(answer.body == expected.body, "{app}: {answer:#?}");
            let said = answer.errors();
            for word in ["AssertionError", "without being closed", "Warning"] {
                assert!(!said.contains(word), "{app}: {answer:#?}");
            }
        }
    }
    let log = strict.close();
    assert!(!log.contains("without being closed"), "{log}");
}

fn gets(names: &[&str]) -> Vec<Request> {
    names
        .iter()
        .map(|name| Request::get(&format!("/{name}")))
        .collect()
}

#[test]
fn the_validator_works_at_all() {
    let doors = Doors::open_with(
        "validated:application",
        &[],
        &[("WSGI_TEST_VALIDATE", "starts:never")],
    );
    for answer in doors.get("/") {
        answer.is_error_page().logged("AssertionError");
    }
}

#[test]
fn validated_shapes_and_bodies() {
    validated("hello:application", &gets(&[""]), &[]);
    validated(
        "shapes:application",
        &gets(&[
            "function",
            "instance",
            "method",
            "class",
            "generator",
            "partial",
            "lambda",
            "arguments",
        ]),
        &[],
    );
    validated(
        "bodies:application",
        &gets(&[
            "a_list",
            "a_tuple",
            "an_iterator",
            "a_map",
            "a_sequence",
            "empty_list",
            "empty_block",
            "empty_generator",
            "empty_blocks_between",
            "every_byte",
            "large_list",
            "large_blocks",
        ]),
        &[],
    );
    validated("middleware:application", &gets(&[""]), &[]);
}

#[test]
fn validated_input_errors_and_heads() {
    let body = b"one\ntwo\nthree";
    validated(
        "polite:application",
        &[
            Request::post("/reads", body),
            Request::post("/iterates", body),
            Request::post("/reads", b""),
            Request::get("/says"),
            Request::get("/writes"),
            Request::get("/fails_politely"),
            Request::get("/no_content"),
            Request::get("/no_content").param("REQUEST_METHOD", "HEAD"),
        ],
        &[],
    );
    validated(
        "reading:application",
        &[
            Request::post("/checksum", &megabytes(1)),
            Request::post("/by_three", body),
            Request::post("/lines_of_four", body),
            Request::post("/while_answering", body),
            Request::post("/partly", body),
            Request::post("/unread", body),
        ],
        &[],
    );
    validated(
        "heads:application",
        &gets(&[
            "custom_reason",
            "latin1_value",
            "in_order",
            "own_date_and_server",
        ]),
        &[],
    );
    validated(
        "starts:application",
        &gets(&["replaced", "in_the_first_step"]),
        &[],
    );
}

#[test]
fn validated_files() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digits");
    fs::write(&file, digits(100_003)).unwrap();
    let get = |path: &str| Request::get(path).param("QUERY_STRING", file.to_str().unwrap());
    validated("polite:application", &[get("/sends_a_file")], &[]);
    validated(
        "files:application",
        &[
            get("/plain"),
            get("/after_five"),
            get("/bytes_io"),
            get("/only_read"),
            get("/zipped"),
            get("/plain_open_file"),
            get("/through_middleware"),
        ],
        &[],
    );
    let mark = folder.path().join("mark");
    let get = |path: &str| Request::get(path).param("QUERY_STRING", mark.to_str().unwrap());
    validated(
        "closing:application",
        &[get("/whole"), get("/a_generator"), get("/middleware")],
        &[],
    );
}

#[test]
fn validated_frameworks() {
    let venv = venv();
    let options = ["--venv", venv.to_str().unwrap()];
    validated("wsgiref.simple_server:demo_app", &[], &[]);
    for (app, requests) in [
        (
            "flask_site:app",
            // No POST: trusting wsgi.input_terminated, Werkzeug calls read() without a size, which the
            // validator does not let an application do.
            vec![
                Request::get("/"),
                Request::get("/hello/you?q=1"),
                Request::get("/stream"),
                Request::get("/memory"),
                Request::get("/nowhere"),
            ],
        ),
        (
            "bottle_site:application",
            vec![
                Request::get("/"),
                Request::get("/hello/you?q=1"),
                Request::get("/stream"),
                Request::get("/nowhere"),
                form("/form", "first=1&second=2"),
                upload("/upload", b"small"),
            ],
        ),
        (
            "asgi_site:application",
            vec![Request::get("/"), Request::post("/", b"body")],
        ),
    ] {
        validated(app, &requests, &options);
    }
    let folder = django_folder();
    let environment = [
        ("WSGI_TEST_VALIDATE", "django_site.wsgi:application"),
        ("DJANGO_FOLDER", folder.path().to_str().unwrap()),
    ];
    let doors = Doors::open_with("validated:application", &options, &environment);
    for answer in doors.get("/hello/you?q=1") {
        answer.is(200, r#"{"name": "you", "query": "1", "secure": false}"#);
    }
    for answer in doors.get("/admin/login/") {
        answer.has_status(200);
    }
    for answer in doors.ask(&upload("/upload", b"small")) {
        answer.is(200, &format!("big.bin 5 {} well", adler32(b"small")));
    }
}

/// CPython's development mode warns of what is not closed, and of much else. An application that closes
/// everything must hear nothing, so nothing that is the gateway's own is left open.
#[test]
fn development_mode_has_nothing_to_say_about_the_gateway() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digits");
    fs::write(&file, digits(100_003)).unwrap();
    for (app, requests) in [
        ("hello:application", vec![Request::get("/")]),
        (
            "files:application",
            ["/plain", "/bytes_io", "/marked", "/plain_open_file"]
                .map(|path| Request::get(path).param("QUERY_STRING", file.to_str().unwrap()))
                .into(),
        ),
        (
            "reading:application",
            vec![
                Request::post("/all_of_it", b"body"),
                Request::post("/partly", b"body"),
            ],
        ),
        (
            "failing:application",
            vec![Request::get("/at_once"), Request::get("/in_the_middle")],
        ),
        ("errors:application", vec![Request::get("/printed")]),
        ("writes:application", vec![Request::get("/only_write")]),
    ] {
        let environment = [("PYTHONDEVMODE", "1"), ("PYTHONTRACEMALLOC", "5")];
        let doors = Doors::open_with(app, &[], &environment);
        for request in requests {
            for answer in doors.ask(&request) {
                let said = answer.errors();
                assert!(!said.contains("Warning"), "{app} {request:?}: {said}");
            }
        }
        let log = doors.close();
        assert!(!log.contains("Warning"), "{app}: {log}");
    }
    // The mode was on, or all of this said nothing.
    let output = Cgi::new("interpreter:application", &Request::get("/facts"))
        .env("PYTHONDEVMODE", "1")
        .run();
    assert!(
        output.text().contains("dev_mode=True"),
        "PYTHONDEVMODE has no effect: {output:#?}"
    );
}
