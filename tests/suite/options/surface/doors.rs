//! What each door makes of variables and of the file.

use super::*;

/// Wherever it is said, it is SCRIPT_NAME, and not beside what says otherwise.
#[test]
fn a_script_name_is_said_in_any_of_the_places() {
    let site = Site::new("script-name = '/s'");
    let config = site.name();
    let environ = |builder: Builder, request: Request| {
        let gateway = builder.start();
        let text = fetch(gateway.socket(), &request).expect(200).text();
        let find = |name| text.lines().find_map(|line| line.strip_prefix(name));
        (
            find("SCRIPT_NAME=").unwrap().to_owned(),
            find("PATH_INFO=").unwrap().to_owned(),
        )
    };
    let builder = || Gateway::builder("fcgi_environ");
    for builder in [
        builder().args(["--script-name", "/s"]),
        builder().env("WSGI_GATEWAY_SCRIPT_NAME", "/s/"),
        builder().args(["--config", &config]),
    ] {
        let get = Request::get("/env?x").param("SCRIPT_NAME", "/other");
        let (script_name, path_info) = environ(builder, get);
        assert_eq!((&*script_name, &*path_info), ("/s", "/env"));
    }
    // Named by the web server alone, behind a proxy that has taken it away.
    let get = Request::get("/env").param("SCRIPT_NAME", "/s");
    let (script_name, path_info) = environ(builder(), get);
    assert_eq!((&*script_name, &*path_info), ("/s", "/env"));
    let options = ["--config", &config, "--mount", "/a"];
    let output = check("hello").options(options).run();
    is_refused(&output, &["--mount", "--script-name (file", "alone"]);
}

/// As its help says of every path.
#[test]
fn the_log_file_is_seen_from_the_folder_of_chdir() {
    let site = Site::new("");
    let output = Cgi::bare("no_such_module").door("fastcgi").cwd("/");
    let output = output.env("WSGI_GATEWAY_BIND", site.path().join("a.sock"));
    let output = output.env("WSGI_GATEWAY_CHDIR", site.path());
    let output = output.options(["--log-file", "site.log"]).run();
    assert_eq!(output.code, 3, "{output:#?}");
    let log = std::fs::read_to_string(site.path().join("site.log")).unwrap();
    assert!(log.contains("no_such_module"), "{log}");
    assert!(output.stderr.is_empty(), "{output:#?}");
}

#[test]
fn one_file_is_for_all_doors() {
    let site = Site::new("app = 'hello:application'\nworkers = 3\nmin-workers = 1\nbind = '/x'");
    let output = Cgi::bare("").options(["--config", &site.name()]).run();
    assert_eq!(output.response().body, b"Hello, world\n");
    let output = Cgi::bare("")
        .env("WSGI_GATEWAY_CONFIG", site.file())
        .env("WSGI_GATEWAY_THREADS", "3");
    assert_eq!(output.run().response().body, b"Hello, world\n");
}

#[test]
fn a_file_may_be_the_whole_command_of_a_responder() {
    let builder = Gateway::builder("");
    let socket = builder.socket_path();
    let text = format!("bind = 'unix:{}'\napp = 'fcgi_unread'\n", socket.display());
    let site = Site::new(&(text + "max-body = 10\nworkers = 1\nsocket-mode = 0o600"));
    let gateway = builder
        .shell("exec \"$1\" fastcgi")
        .env("WSGI_GATEWAY_CONFIG", site.file())
        .env("WSGI_GATEWAY_MAX_BODY", "5")
        .start();
    let mut connection = Connection::open(gateway.socket());
    let response = connection.request(&Request::get("/here"));
    assert_eq!(response.expect(200).text(), "/here");
    let mut connection = Connection::open(gateway.socket());
    connection
        .request(&Request::post("/", b"123456"))
        .expect(413);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_variable_may_be_the_whole_command_on_a_socket_of_the_web_server_s() {
    let builder = Gateway::builder("");
    let socket = builder.socket_path();
    let listener = UnixListener::bind(&socket).unwrap();
    let gateway = builder
        .auto_door()
        .shell("exec \"$1\"")
        .stdin(OwnedFd::from(listener))
        .env("WSGI_GATEWAY_APP", "fcgi_unread")
        .start();
    let response = Connection::open(gateway.socket()).request(&Request::get("/here"));
    assert_eq!(response.expect(200).text(), "/here");
}

/// RFC 3875 section 4.4: words of the query on the command line, where there is no APP in front of them.
#[test]
fn a_request_chooses_neither_an_option_nor_the_application() {
    let request = |query: &str| Request::get(&format!("/?{query}"));
    let rows = [
        ("-h", &["-h"][..]),
        ("--version", &["--version"]),
        ("hello:app", &["hello:app"]),
        ("--debug+hello:app", &["--debug", "hello:app"]),
        (
            "--venv%3D/nowhere+hello:app",
            &["--venv=/nowhere", "hello:app"],
        ),
        (
            "--pythonpath+/tmp+%7Eevil",
            &["--pythonpath", "/tmp", "\\~evil"],
        ),
        ("--config%3D/nowhere", &["--config=/nowhere"]),
        ("--+hello:app", &["--", "hello:app"]),
        ("--debug+hello:app", &["--debug hello:app"]),
    ];
    for (number, (query, words)) in rows.into_iter().enumerate() {
        let site = Site::new("app = 'hello:application'");
        let by_variable = |cgi: Cgi| cgi.env("WSGI_GATEWAY_APP", "hello:application");
        let by_named_file = |cgi: Cgi| cgi.env("WSGI_GATEWAY_CONFIG", site.file());
        let by_file = |cgi: Cgi| cgi.options(["--config", &site.name()]);
        let told: [&dyn Fn(Cgi) -> Cgi; 3] = [&by_variable, &by_named_file, &by_file];
        // Three rows for each.
        let told = told[number % told.len()];
        for auto in [true, false] {
            let cgi = told(Cgi::new("", &request(query)).words(words));
            let output = if auto { cgi.auto_door() } else { cgi }.run();
            assert_eq!(output.code, 0, "{words:?}: {output:#?}");
            assert_eq!(output.response().body, b"Hello, world\n", "{words:?}");
        }
    }
    // What the operator says still counts, whatever the query is.
    let cgi = Cgi::new("hello:app", &request("word")).words(&["word"]);
    let output = cgi.env("WSGI_GATEWAY_APP", "hello:application").run();
    assert_eq!(output.response().body, b"this is app\n");
}
