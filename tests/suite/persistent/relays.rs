//! One request through the relay: what the web server sees of it, and what the application.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use nix::sys::signal::Signal;

use crate::support::cgi::{Cgi, Fifo, Stdin};
use crate::support::client::Request;
use crate::support::gateway::{apps, binary};
use crate::support::home::{APP, Home, body};

/// What an application sees of a request, and what comes back, is what one request a process has; but for what says that it is not.
#[test]
fn an_application_sees_what_one_shot_cgi_shows_it() {
    let home = Home::new();
    let request = Request::get("/environ?a=b").param("HTTP_COOKIE", "first");
    let own = |cgi: Cgi| {
        cgi.env("XDG_RUNTIME_DIR", home.path())
            .env("SetBySetEnv", "1")
            // As Python sets it in an environment that names no language (PEP 538).
            .env("LC_CTYPE", "C.UTF-8")
    };
    let plain = own(Cgi::new(APP, &request)).run();
    let persistent = own(Cgi::new(APP, &request).option("--persistent")).run();
    assert_eq!(persistent.text(), plain.text());
    assert_eq!((persistent.code, &*persistent.stderr), (0, ""));
    // The second is answered by the same process, and has nothing of the first.
    let next = Request::get("/environ").param("HTTP_ACCEPT", "x");
    let plain = own(Cgi::new(APP, &next)).run();
    let persistent = own(Cgi::new(APP, &next).option("--persistent")).run();
    assert_eq!(persistent.text(), plain.text());
    assert!(!persistent.text().contains("first"));
    assert_eq!(body(&home.get(APP, "/").run()), "3");
    home.end();
}

/// A variable of a request's reaches no other, nor the environment of the process; what the operator has set does.
#[test]
fn the_responders_own_environment_has_nothing_of_a_request() {
    let home = Home::new();
    let request = Request::get("/os.environ")
        .param("HTTP_AUTHORIZATION", "Basic secret")
        .param("REDIRECT_HTTP_AUTHORIZATION", "secret")
        .param("SSL_CLIENT_S_DN", "secret")
        .param("REMOTE_USER", "secret")
        .param("UNIQUE_ID", "secret")
        .param("QUERY_STRING", "secret");
    let output = home.request(APP, &request).env("DATABASE_URL", "db").run();
    let text = body(&output);
    assert!(text.contains("DATABASE_URL=db"), "{text}");
    assert!(
        !text.contains("secret") && !text.contains("REQUEST_METHOD"),
        "{text}"
    );
    let row = home.only();
    for pid in crate::support::process_table::children(row.pid)
        .into_iter()
        .chain([row.pid])
    {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert!(
            !String::from_utf8_lossy(&environ).contains("secret"),
            "{pid}"
        );
    }
    home.end();
}

/// A body of any size goes through whole, and so does an answer, also where the web server reads nothing before it has given all
/// (mod_cgi), and the answer begins before that.
#[test]
fn bodies_and_answers_of_any_size_go_through() {
    let home = Home::new();
    for size in [0, 1, 4096, 65_527, 65_536, 200_000, 5_000_000] {
        let request = Request::post("/length", &vec![b'x'; size]);
        assert_eq!(body(&home.request(APP, &request).run()), size.to_string());
    }
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let output = home.request(APP, &Request::post("/echo", &sent)).run();
    assert_eq!(output.response().body, sent);
    for size in ["1", "70000", "30000000"] {
        let output = home.get(APP, &format!("/big?{size}")).run();
        assert_eq!(output.response().body.len().to_string(), size);
    }
    home.end();
}

/// RFC 3875 section 4.2: what follows on a client's socket is its next request.
#[test]
fn nothing_is_read_behind_the_body() {
    let home = Home::new();
    let request = Request::post("/length", b"12345");
    let open = Stdin::OpenPipe(b"12345GET /next HTTP/1.1".to_vec());
    assert_eq!(body(&home.request(APP, &request).stdin(open).run()), "5");
    let open = Stdin::OpenSocket(b"GET /next HTTP/1.1".to_vec());
    assert_eq!(body(&home.get(APP, "/length").stdin(open).run()), "0");
    // Apache undoes a chunked body and ends it.
    let chunked = Request::get("/length")
        .param("REQUEST_METHOD", "POST")
        .param("HTTP_TRANSFER_ENCODING", "chunked")
        .param("SERVER_SOFTWARE", "Apache/2.4");
    let piped = Stdin::Pipe(vec![b'x'; 100_000]);
    assert_eq!(
        body(&home.request(APP, &chunked).stdin(piped).run()),
        "100000"
    );
    for stdin in [Stdin::Closed, Stdin::Null] {
        assert_eq!(body(&home.get(APP, "/length").stdin(stdin).run()), "0");
    }
    home.end();
}

/// A web server waits for the end of standard error, too (mod_cgi): nobody but the relay has its pipes.
#[test]
fn the_responder_has_nothing_of_the_web_server_s() {
    let home = Home::new();
    let first = home.get(APP, "/descriptors").run();
    assert_eq!(first.response().status, 200);
    let text = body(&home.get(APP, "/descriptors").run());
    // That nobody has the web server's is what the end of a request's output says: it is waited for.
    let pipes: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("pipe:"))
        .collect();
    // Its own: for output, for signals, and for stacks.
    assert!(pipes.len() <= 3, "{text}");
    let own = nix::unistd::getsid(None).unwrap();
    assert_eq!(
        body(&home.get(APP, &format!("/session?{own}")).run()),
        "True"
    );
    home.end();
}

#[test]
fn what_the_application_tells_is_told_on_standard_error() {
    let home = Home::new();
    let output = home.get(APP, "/stderr").run();
    assert_eq!(
        (&*body(&output), &*output.stderr),
        ("told", "told the web server\n")
    );
    let output = home.get(APP, "/raise").run();
    assert_eq!((output.code, output.response().status), (1, 500));
    assert!(
        output
            .stderr
            .contains("RuntimeError: raised by the application"),
        "{output:#?}"
    );
    // What it prints belongs to no request, and is in the log beside the socket.
    assert_eq!(body(&home.get(APP, "/print").run()), "said");
    home.wait_for("what was printed", || {
        let log = home.log();
        (log.contains("printed by the application") && log.contains("on standard error"))
            .then_some(())
    });
    home.end();
}

/// A generator's block leaves when it is made, and a client that goes away ends it.
#[test]
fn an_answer_comes_as_it_is_made() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let fifo = Fifo::new(folder.path().join("fifo"));
    let path = folder.path().join("site.py");
    let mark = folder.path().join("closed");
    fs::write(
        &path,
        format!(
            "def application(environ, start_response):\n    start_response('200 OK', [])\n    return made()\n\n\
             def made():\n    try:\n        yield b'first'\n        while True:\n            open({:?}, 'rb', buffering=0).read(1)\n            \
             yield b'next'\n    finally:\n        open({:?}, 'w').close()\n",
            fifo.path(),
            mark
        ),
    )
    .unwrap();
    let running = home.get(&path, "/").spawn();
    running.wait_for_stdout(b"first");
    fifo.go();
    running.wait_for_stdout(b"next");
    assert!(!mark.exists());
    running.signal(Signal::SIGTERM);
    home.wait_for("close() of the generator", || {
        fifo.go();
        mark.exists().then_some(())
    });
    assert_eq!(running.finish().code, -(Signal::SIGTERM as i32));
    home.end();
}

/// A #! line passes one word.
#[test]
fn a_script_s_first_line_is_enough() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("app.cgi");
    let text = fs::read_to_string(apps().join("persistent.py")).unwrap();
    fs::write(
        &script,
        format!("#!{} --persistent\n{text}", binary().display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let ask = |path: &str, words: &[&str]| {
        let mut cgi = Cgi::new("", &Request::get(path))
            .program(&script)
            .words(words);
        cgi = cgi.env("XDG_RUNTIME_DIR", home.path());
        body(&cgi.cwd(folder.path()).run())
    };
    let pid = ask("/pid", &[]);
    // With the words of a query behind it, which are nobody's options.
    assert_eq!(ask("/pid?--help", &["--help"]), pid);
    assert_eq!(home.only().application, script.to_str().unwrap());
    home.end();
}

#[test]
fn it_can_be_switched_on_by_a_variable_and_by_a_file() {
    let home = Home::new();
    let run = |cgi: Cgi| body(&cgi.env("XDG_RUNTIME_DIR", home.path()).run());
    let cgi = || Cgi::new(APP, &Request::get("/master"));
    let pid = run(cgi().env("WSGI_GATEWAY_PERSISTENT", "1"));
    assert_eq!(pid, home.only().pid.to_string());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, "persistent = true\n").unwrap();
    let pid = run(cgi().option("--config").option(&file));
    assert!(home.ps().iter().any(|row| row.pid.to_string() == pid));
    home.end();
}

/// One that cannot use a directory answers as without the option, and says why.
#[test]
fn without_a_directory_one_request_is_one_process() {
    let output = Cgi::new(APP, &Request::get("/around"))
        .option("--persistent")
        .env("XDG_RUNTIME_DIR", "/proc/nothing")
        .env("TMPDIR", "/proc/nothing")
        .option("--chdir")
        .option(apps())
        .run();
    // Root's home is there, or anybody's.
    if output.stderr.is_empty() {
        let ended = Cgi::bare("").program(binary()).words(&["stop", APP]);
        assert_eq!(ended.env("TMPDIR", "/proc/nothing").run().code, 0);
        return;
    }
    assert!(
        output.stderr.contains("answered without --persistent"),
        "{output:#?}"
    );
    assert!(body(&output).ends_with("True"), "{output:#?}");
}

/// Many at once find one responder between them, whose import they wait for.
#[test]
fn a_cold_start_of_many_is_one_import() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.py");
    fs::write(
        &path,
        "import os, time\ntime.sleep(0.3)\nopen(os.path.join(os.path.dirname(__file__), f'imported-{os.getpid()}'), 'w').close()\n\
         def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'%d' % os.getppid()]\n",
    )
    .unwrap();
    let answers: Vec<String> = thread::scope(|scope| {
        let asking: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| body(&home.get(&path, "/").run())))
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let master = home.only().pid.to_string();
    assert!(
        answers.iter().all(|answer| *answer == master),
        "{answers:?}"
    );
    let imports = fs::read_dir(folder.path()).unwrap().flatten();
    let imports = imports.filter(|it| it.file_name().to_string_lossy().starts_with("imported"));
    // A second worker may have been wanted by the load.
    assert!((1..=2).contains(&imports.count()), "{}", home.log());
    home.end();
}
