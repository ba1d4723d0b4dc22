//! The CGI door, byte by byte and descriptor by descriptor: what it writes is what the example gateway of
//! PEP 3333 writes, and how it behaves as a web server's child process.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::cgi::{Cgi, Fifo, Output, Stdin, os};
use crate::support::client::Request;
use crate::support::gateway::{apps, binary};

fn get_with(path: &str, file: &Path) -> Request {
    Request::get(path).param("QUERY_STRING", file.to_str().unwrap())
}

/// The stdout of the PEP's gateway, run by the interpreter itself, for the same request.
fn run_with_cgi(app: &str, request: &Request) -> Vec<u8> {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("run_with_cgi.py").arg(app).current_dir(apps());
    command.env_clear().env("PYTHONDONTWRITEBYTECODE", "1");
    for (name, value) in &request.params {
        command.env(os(name), os(value));
    }
    let folder = TempDir::new().unwrap();
    let body = folder.path().join("body");
    fs::write(&body, &request.stdin).unwrap();
    command.stdin(fs::File::open(body).unwrap());
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// PEP 3333, "The Server/Gateway Side".
#[test]
fn output_is_byte_for_byte_that_of_run_with_cgi() {
    let requests = [
        ("hello:application", Request::get("/")),
        ("shapes:application", Request::get("/class")),
        ("shapes:application", Request::get("/generator")),
        ("bodies:application", Request::get("/a_list")),
        ("bodies:application", Request::get("/empty_list")),
        ("bodies:application", Request::get("/empty_blocks_between")),
        ("bodies:application", Request::get("/no_headers")),
        ("bodies:application", Request::get("/every_byte")),
        ("bodies:application", Request::get("/large_blocks")),
        ("bodies:application", Request::get("/many_blocks_in_a_list")),
        ("writes:application", Request::get("/write_then_blocks")),
        ("writes:application", Request::get("/only_write")),
        ("starts:application", Request::get("/replaced")),
        (
            "starts:application",
            Request::get("/replaced_after_an_empty_block"),
        ),
        ("starts:application", Request::get("/in_the_first_step")),
        ("heads:application", Request::get("/custom_reason")),
        ("heads:application", Request::get("/latin1_reason")),
        ("heads:application", Request::get("/in_order")),
        ("heads:application", Request::get("/latin1_value")),
        ("heads:application", Request::get("/own_date_and_server")),
        ("middleware:application", Request::get("/")),
        (
            "reading:application",
            Request::post("/lines", b"one\ntwo\n"),
        ),
    ];
    for (app, request) in requests {
        let path = String::from_utf8_lossy(&request.params[5].1).into_owned();
        let expected = run_with_cgi(app, &request);
        assert!(expected.starts_with(b"Status: "), "{app} {path}");
        let output = Cgi::new(app, &request).run();
        assert_eq!(output.code, 0, "{app} {path}: {}", output.stderr);
        assert!(
            output.stdout == expected,
            "{app} {path}: {:?} instead of {:?}",
            output.text(),
            String::from_utf8_lossy(&expected)
        );
    }
}

/// The exact bytes once more, written by hand: the example gateway of the tests could be wrong too.
#[test]
fn output_begins_with_status_and_ends_lines_with_crlf() {
    let output = Cgi::new("hello:application", &Request::get("/")).run();
    assert_eq!(
        output.text(),
        "Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n"
    );
    assert_eq!(output.stderr, "", "a good request says nothing");
}

/// The head leaves together with the first block, and every block of a generator by itself.
#[test]
fn every_block_is_one_write_and_the_first_carries_the_head() {
    let packets = |path: &str| -> Vec<String> {
        let output = Cgi::new("bodies:application", &Request::get(path))
            .packets()
            .run();
        let text = |packet: &Vec<u8>| String::from_utf8_lossy(packet).into_owned();
        output.packets.iter().map(text).collect()
    };
    let first = "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\none,";
    assert_eq!(packets("/an_iterator"), [first, "two,", "three"]);
    assert_eq!(
        packets("/empty_list"),
        ["Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n"]
    );
    // A list is there as a whole: one system call may take all of it, but the head is never alone.
    assert!(packets("/a_list")[0].starts_with(first));
}

/// Whatever the application prints, from wherever: the response is clean, and the words are not lost.
#[test]
fn prints_never_reach_the_response() {
    for (name, words) in [
        (
            "prints",
            &["printed in the request", "printed after start_response"][..],
        ),
        ("prints_unflushed", &["never flushed by the application"]),
        ("writes_to_fd_1", &["written in the request"]),
        ("child_process", &["said by a child"]),
        ("prints_in_the_iteration", &["printed between the blocks"]),
        ("closes_stdout", &[]),
    ] {
        let request = Request::get(&format!("/{name}"));
        let output = Cgi::new("polluting:application", &request).run();
        assert_eq!(
            output.text(),
            "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nclean",
            "{name}"
        );
        assert_eq!(output.code, 0, "{name}: {}", output.stderr);
        for word in ["printed at import", "written at import"]
            .iter()
            .chain(words)
        {
            assert!(
                output.stderr.contains(word),
                "{name}: {word:?} is not in {}",
                output.stderr
            );
        }
    }
}

#[test]
fn stdin_of_the_application_is_empty_and_its_input_whole() {
    let output = Cgi::new(
        "polluting:application",
        &Request::post("/reads_stdin", b"the body"),
    )
    .run();
    assert_eq!(
        String::from_utf8_lossy(&output.response().body),
        "(b'', b'the body')"
    );
}

mod exit_code {
    use super::*;

    fn of(app: &str, path: &str) -> i32 {
        Cgi::new(app, &Request::get(path)).run().code
    }

    #[test]
    fn is_0_for_a_response_whatever_its_status() {
        assert_eq!(of("hello:application", "/"), 0);
        // 503 by the application's own decision.
        assert_eq!(of("starts:application", "/replaced"), 0);
        assert_eq!(of("lengths:application", "/no_content"), 0);
    }

    #[test]
    fn is_1_when_the_application_failed() {
        assert_eq!(of("failing:application", "/at_once"), 1);
        assert_eq!(of("failing:application", "/in_the_middle"), 1);
        assert_eq!(of("failing:application", "/exits_with_zero"), 1);
        assert_eq!(of("failing:application", "/str_block"), 1);
        assert_eq!(of("lengths:application", "/shorter_body"), 1);
    }

    #[test]
    fn is_3_when_it_cannot_be_loaded_and_the_visitor_gets_a_page() {
        let output = Cgi::new("no_such_module:application", &Request::get("/")).run();
        assert_eq!(output.code, 3, "{}", output.stderr);
        assert!(output.stderr.contains("no_such_module"), "{output:#?}");
        let response = output.response();
        assert_eq!(response.status, 500);
        assert!(!response.body.is_empty());
        assert!(
            !output.text().contains("no_such_module"),
            "the page is for visitors: {output:#?}"
        );
    }

    #[test]
    fn is_2_for_wrong_usage() {
        let output = Cgi::new("hello:application", &Request::get("/"))
            .option("--no-such-option")
            .run();
        assert_eq!(output.code, 2, "{output:#?}");
        assert!(output.stderr.contains("--no-such-option"), "{output:#?}");
    }
}

mod ending {
    use super::*;

    /// The web server waits for the end of stdout. What Python still has to do then is its own time.
    #[test]
    fn stdout_is_closed_before_the_interpreter_ends() {
        let folder = TempDir::new().unwrap();
        let go = Fifo::new(folder.path().join("go"));
        let request = get_with("/blocks_at_exit", folder.path());
        let mut cgi = Cgi::new("ending:application", &request).spawn();
        let stdout = cgi.wait_for_end_of_stdout();
        assert!(stdout.ends_with(b"\r\n\r\nwhole"), "{stdout:?}");
        assert!(cgi.is_running(), "the atexit function has not run yet");
        go.go();
        let output = cgi.finish();
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(folder.path().join("exited").exists());
    }

    /// lighttpd sends SIGTERM as soon as Content-Length bytes are out.
    #[test]
    fn sigterm_after_the_last_byte_lets_close_and_atexit_finish() {
        let folder = TempDir::new().unwrap();
        let go = Fifo::new(folder.path().join("go"));
        for (name, mark) in [
            ("slow_close", "closed"),
            ("slow_close_of_a_list", "closed"),
            ("blocks_at_exit", "exited"),
        ] {
            let request = get_with(&format!("/{name}"), folder.path());
            let cgi = Cgi::new("ending:application", &request).spawn();
            cgi.wait_for_stdout(b"\r\n\r\nwhole");
            cgi.signal(Signal::SIGTERM);
            go.go();
            let output = cgi.finish();
            assert_eq!(output.code, 0, "{name}: {output:#?}");
            fs::remove_file(folder.path().join(mark)).unwrap();
        }
    }

    /// A child that outlives the request must not hold the response open: the descriptors that were moved
    /// away are close-on-exec.
    #[test]
    fn a_child_left_behind_does_not_hold_the_response_open() {
        let folder = TempDir::new().unwrap();
        let request = get_with("/leaves_a_child", folder.path());
        let cgi = Cgi::new("ending:application", &request).spawn();
        let stdout = cgi.wait_for_end_of_stdout();
        let child = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .find_map(|name| name.strip_prefix("child-")?.parse().ok());
        let child = Pid::from_raw(child.unwrap());
        let alive = kill(child, None).is_ok();
        kill(child, Signal::SIGKILL).unwrap();
        assert!(alive, "the child should have outlived the response");
        assert!(stdout.ends_with(b"\r\n\r\nwhole"), "{stdout:?}");
        assert_eq!(cgi.finish().code, 0);
    }

    #[test]
    fn sigpipe_is_ignored() {
        let output = Cgi::new("ending:application", &Request::get("/handlers")).run();
        let text = String::from_utf8(output.response().body).unwrap();
        assert_eq!(text, "SIGPIPE ignored: True");
    }
}

mod arguments {
    use super::*;

    /// RFC 3875 section 4.4: for a query without `=` servers put its words on the command line. A visitor who
    /// asks for `/?-h` must not see the gateway's help.
    #[test]
    fn after_the_application_are_never_options() {
        let request = Request::get("/?-h");
        for words in [
            &["-h"][..],
            &["--help"],
            &["-V"],
            &["--version"],
            &["--venv", "/nowhere"],
            &["--debug"],
            &["foo", "bar baz"],
            &["--"],
            &["check"],
            &[""],
        ] {
            for auto in [true, false] {
                let mut cgi = Cgi::new("hello:application", &request).words(words);
                if auto {
                    cgi = cgi.auto_door();
                }
                let output = cgi.run();
                assert_eq!(output.code, 0, "{words:?}: {output:#?}");
                assert_eq!(output.response().body, b"Hello, world\n", "{words:?}");
            }
        }
    }

    /// An application given as a file that the web server runs through its first line: argv is the
    /// gateway's line, the file, and then the query's words.
    #[test]
    fn of_a_file_with_the_gateway_in_its_first_line() {
        use std::os::unix::fs::PermissionsExt;
        let folder = TempDir::new().unwrap();
        let script = folder.path().join("program");
        let source = format!(
            "#!{}\n{}",
            binary().display(),
            fs::read_to_string(apps().join("hello.py")).unwrap()
        );
        fs::write(&script, source).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let output = Cgi::new("", &Request::get("/?-h"))
            .program(&script)
            .words(&["-h"])
            .cwd(folder.path())
            .run();
        assert_eq!(output.code, 0, "{output:#?}");
        assert_eq!(output.response().body, b"Hello, world\n");
    }
}

mod door {
    use super::*;

    #[test]
    fn is_cgi_when_request_method_is_set() {
        let output = Cgi::new("hello:application", &Request::get("/"))
            .auto_door()
            .run();
        assert_eq!(output.response().body, b"Hello, world\n");
        assert_eq!(output.code, 0);
    }

    /// Small servers put the client's connected socket on fd 0: "is a socket" would be the wrong question.
    #[test]
    fn is_cgi_with_a_connected_socket_on_stdin() {
        for auto in [true, false] {
            let mut cgi = Cgi::new(
                "reading:application",
                &Request::post("/all_of_it", b"through a socket"),
            )
            .stdin(Stdin::OpenSocket(b"through a socket".to_vec()));
            if auto {
                cgi = cgi.auto_door();
            }
            let output = cgi.run();
            assert_eq!(output.code, 0, "{output:#?}");
            assert_eq!(output.response().body, b"b'through a socket'");
        }
    }

    #[test]
    fn is_neither_without_a_request_and_a_socket() {
        let output = Cgi::bare("hello:application").auto_door().run();
        assert_eq!(output.code, 2, "{output:#?}");
        assert_eq!(output.stdout, b"", "usage is not a response");
        assert!(
            output.stderr.contains("wsgi-gateway cgi APP"),
            "{output:#?}"
        );
    }
}

mod without_variables {
    use super::*;

    fn answers(output: &Output) {
        assert_eq!(output.code, 0, "{output:#?}");
        assert_eq!(output.response().status, 200);
        assert_eq!(output.response().body, b"Hello, world\n");
    }

    #[test]
    fn a_get_of_the_root_is_answered() {
        answers(&Cgi::bare("hello:application").empty_environment().run());
        let output = Cgi::bare("dump:values").empty_environment().run();
        let text = String::from_utf8(output.response().body).unwrap();
        for line in [
            "REQUEST_METHOD='GET'",
            "SCRIPT_NAME=''",
            "PATH_INFO='/'",
            "QUERY_STRING=''",
            "SERVER_NAME='localhost'",
            "SERVER_PORT='80'",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}: {text}");
        }
    }

    #[test]
    fn on_a_terminal() {
        let output = Command::new("/usr/bin/python3")
            .arg("terminal.py")
            .arg(binary())
            .args(["cgi", "reading:all_of_it"])
            .current_dir(apps())
            .env_clear()
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{text}");
        // The terminal turns each LF into CR LF.
        assert!(text.contains("Status: 200 OK\r\r\n"), "{text:?}");
        assert!(text.ends_with("\r\nb''"), "{text:?}");
    }
}

mod stdin {
    use super::*;

    #[test]
    fn may_be_a_file_a_pipe_or_a_socket() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("body");
        fs::write(&file, "the body").unwrap();
        let body = || b"the body".to_vec();
        for stdin in [
            Stdin::File(file),
            Stdin::Pipe(body()),
            Stdin::OpenPipe(body()),
            Stdin::OpenSocket(body()),
        ] {
            let output = Cgi::new(
                "reading:application",
                &Request::post("/all_of_it", b"the body"),
            )
            .stdin(stdin)
            .run();
            assert_eq!(output.code, 0, "{output:#?}");
            assert_eq!(output.response().body, b"b'the body'");
        }
    }

    /// mini_httpd, merecat and Python's own server give the client's socket: it ends when the client does.
    #[test]
    fn that_never_ends_is_not_waited_for_after_content_length() {
        for name in ["all_of_it", "at_the_end", "iterated", "lines", "unread"] {
            for body in [Stdin::OpenPipe, Stdin::OpenSocket] {
                let request = Request::post(&format!("/{name}"), b"one\ntwo");
                let output = Cgi::new("reading:application", &request)
                    .stdin(body(b"one\ntwo".to_vec()))
                    .run();
                assert_eq!(output.code, 0, "{name}: {output:#?}");
            }
        }
    }

    /// RFC 3875 section 4.2: "The script MUST NOT attempt to read more than CONTENT_LENGTH bytes, even if more
    /// data is available": on a client's own socket those are the next request.
    #[test]
    fn is_not_read_past_content_length() {
        for name in [
            "all_of_it",
            "lines",
            "iterated",
            "by_three",
            "partly",
            "at_the_end",
        ] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(b"one\ntwo\nGET /next").unwrap();
            let mut left = theirs.try_clone().unwrap();
            let request = Request::post(&format!("/{name}"), b"one\ntwo\n");
            let output = Cgi::new("reading:application", &request)
                .stdin(Stdin::Fd(theirs.into()))
                .run();
            assert_eq!(output.code, 0, "{name}: {output:#?}");
            drop(ours);
            let mut rest = String::new();
            left.read_to_string(&mut rest).unwrap();
            assert!(rest.ends_with("GET /next"), "{name}: only {rest:?} is left");
        }
    }

    #[test]
    fn that_never_ends_does_not_stop_a_get() {
        for request in [
            Request::get("/all_of_it"),
            Request::get("/all_of_it").without("CONTENT_LENGTH"),
            Request::get("/all_of_it").param("CONTENT_LENGTH", "0"),
        ] {
            for stdin in [
                Stdin::OpenPipe(Vec::new()),
                Stdin::OpenSocket(b"of the next request".to_vec()),
            ] {
                let output = Cgi::new("reading:application", &request).stdin(stdin).run();
                assert_eq!(output.response().body, b"b''", "{output:#?}");
            }
        }
    }

    /// RFC 3875 section 4.2: no message body unless CONTENT_LENGTH says so. Small servers hand on the chunks
    /// as they came, which is no body either.
    #[test]
    fn of_unknown_length_is_not_read() {
        for (length, chunked, software) in [
            (None, false, "Apache/2.4.71 (Debian)"),
            (Some(""), true, "nginx/1.26.3"),
            (None, true, "lighttpd/1.4.69"),
            (Some("-1"), true, "mini_httpd/1.30"),
            (Some("many"), false, "Apache/2.4.71"),
        ] {
            let mut request = Request::post("/all_of_it", b"3\r\nabc\r\n0\r\n\r\n")
                .param("SERVER_SOFTWARE", software);
            request = match length {
                Some(length) => request.param("CONTENT_LENGTH", length),
                None => request.without("CONTENT_LENGTH"),
            };
            if chunked {
                request = request.param("HTTP_TRANSFER_ENCODING", "chunked");
            }
            let stdin = Stdin::OpenPipe(request.stdin.clone());
            let output = Cgi::new("reading:application", &request).stdin(stdin).run();
            assert_eq!(output.response().body, b"b''", "{software}: {output:#?}");
        }
    }

    /// Apache's mod_cgi and mod_cgid decode the chunks and end stdin with the body.
    #[test]
    fn of_a_chunked_body_behind_apache_is_read_to_its_end() {
        for length in [None, Some("")] {
            let mut request = Request::post("/all_of_it", b"decoded by Apache")
                .param("SERVER_SOFTWARE", "Apache/2.4.71 (Debian)")
                .param("HTTP_TRANSFER_ENCODING", "chunked");
            request = match length {
                Some(length) => request.param("CONTENT_LENGTH", length),
                None => request.without("CONTENT_LENGTH"),
            };
            let output = Cgi::new("reading:application", &request).run();
            assert_eq!(
                output.response().body,
                b"b'decoded by Apache'",
                "{output:#?}"
            );
        }
    }

    /// Some servers start their programs with descriptors closed; the next file opened would be fd 0.
    #[test]
    fn may_be_closed() {
        let output = Cgi::new("reading:application", &Request::get("/all_of_it"))
            .stdin(Stdin::Closed)
            .run();
        assert_eq!(output.code, 0, "{output:#?}");
        assert_eq!(output.response().body, b"b''");
    }

    #[test]
    fn of_a_large_body_in_a_file_is_read_whole() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("body");
        let body: Vec<u8> = (0..251).cycle().take(20_000_000).collect();
        fs::write(&file, &body).unwrap();
        let request = Request::get("/checksum")
            .param("REQUEST_METHOD", "POST")
            .param("CONTENT_LENGTH", body.len().to_string());
        let output = Cgi::new("reading:application", &request)
            .stdin(Stdin::File(file))
            .run();
        let expected = format!("20000000 {}", crate::support::digest::adler32(&body));
        assert_eq!(
            String::from_utf8_lossy(&output.response().body),
            expected,
            "{}",
            output.stderr
        );
    }
}
