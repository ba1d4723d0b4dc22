//! Scripts that run themselves as CGI programs or servers.

use super::*;

/// Writes down each call, with the body that it read.
fn orders(site: &Site, name: &str, before: &str, end: &str) -> PathBuf {
    let text = format!(
        "{before}\ndef application(environ, start_response):\n    \
         body = environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))\n    \
         open('{}', 'ab').write(b'[' + body + b']')\n    \
         start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'thank you']\n{end}\n",
        site.path("orders").display()
    );
    site.write(name, &text)
}

#[track_caller]
fn answers_once(site: &Site, file: &Path, options: &[&str]) {
    let request = Request::post("/", b"1 pizza");
    let output = Cgi::new(file, &request).options(options).run();
    assert_eq!(text(&output), "thank you", "{}", file.display());
    let orders = site.path("orders");
    assert_eq!(
        fs::read_to_string(&orders).unwrap(),
        "[1 pizza]",
        "{}",
        file.display()
    );
    fs::remove_file(orders).unwrap();
}

const ENDS: [(&str, &str); 8] = [
    (
        "from wsgiref.handlers import CGIHandler",
        "CGIHandler().run(application)",
    ),
    (
        "import wsgiref.handlers",
        "wsgiref.handlers.CGIHandler().run(application=application)",
    ),
    (
        "from wsgiref.handlers import IISCGIHandler",
        "IISCGIHandler().run(application)",
    ),
    (
        "import os, sys\nfrom wsgiref.handlers import BaseCGIHandler",
        "BaseCGIHandler(sys.stdin.buffer, sys.stdout.buffer, sys.stderr, os.environ).run(application)",
    ),
    (
        "import sys",
        "from wsgiref.handlers import CGIHandler\nsys.exit(CGIHandler().run(application))",
    ),
    // One that is not called by any of the two names.
    (
        "from wsgiref.handlers import CGIHandler",
        "served = application\ndel application\nCGIHandler().run(served)",
    ),
    // Which the script serves is not always the one that is called so.
    (
        "from wsgiref.handlers import CGIHandler",
        "inner = application\ndef application(*args): raise LookupError\nCGIHandler().run(inner)",
    ),
    (
        "from wsgiref.handlers import CGIHandler",
        "if True:\n    def main(): CGIHandler().run(application)\n    main()",
    ),
];

#[test]
fn that_ends_in_a_cgi_handler_answers_once() {
    let site = Site::new(&[]);
    for (before, end) in ENDS {
        answers_once(&site, &orders(&site, "order.cgi", before, end), &[]);
    }
    let (before, end) = ENDS[0];
    // Called by an importable name, and by another module.
    answers_once(&site, &orders(&site, "order.py", before, end), &[]);
    let chdir = ["--chdir", site.path("").to_str().unwrap()].map(str::to_owned);
    let chdir: Vec<&str> = chdir.iter().map(String::as_str).collect();
    answers_once(&site, Path::new("order"), &chdir);
    answers_once(
        &site,
        &site.write("by.cgi", "import order\nfrom order import application\n"),
        &[],
    );
}

#[test]
fn that_ends_in_a_cgi_handler_is_served_by_fastcgi() {
    let site = Site::new(&[]);
    let (before, end) = ENDS[5];
    let file = orders(&site, "order.fcgi", before, end);
    let gateway = Site::fastcgi(&file).start();
    for _ in 0..2 {
        let response = fetch(gateway.socket(), &Request::post("/", b"1 pizza"));
        assert_eq!(response.expect(200).text(), "thank you");
    }
    assert_eq!(
        fs::read_to_string(site.path("orders")).unwrap(),
        "[1 pizza][1 pizza]"
    );
}

/// flup's servers answer as CGI where they find no listening socket, and end the process.
#[test]
fn that_ends_in_a_server_of_flup_answers_once() {
    let server = "import os, sys\nclass WSGIServer:\n    \
                  def __init__(self, application, **options): self.application = application\n    \
                  def run(self):\n        \
                      import io\n        \
                      self.application({'wsgi.input': io.BytesIO()}, lambda *args: None)\n        \
                      sys.exit(0)\n";
    let site = Site::new(&[
        ("flup/__init__.py", ""),
        ("flup/server/__init__.py", ""),
        ("flup/server/fcgi.py", server),
    ]);
    let import =
        "import sys\nsys.path.insert(0, FOLDER)\nfrom flup.server.fcgi import WSGIServer\n";
    let import = import.replace("FOLDER", &format!("{:?}", site.path("").to_str().unwrap()));
    answers_once(
        &site,
        &orders(&site, "wiki.fcgi", &import, "WSGIServer(application).run()"),
        &[],
    );
}

/// The hgweb.cgi that comes with Mercurial, whose imports are lazy by finders around all others.
#[test]
fn that_ends_in_a_launch_of_mercurial_answers_once() {
    let launch = "def launch(application):\n    \
                  import io\n    \
                  application({'wsgi.input': io.BytesIO()}, lambda *args: None)\n";
    let site = Site::new(&[
        ("mercurial/__init__.py", ""),
        ("mercurial/hgweb/__init__.py", ""),
        ("mercurial/hgweb/wsgicgi.py", launch),
    ]);
    let import = "import sys\n\
                  class Around:\n    \
                      def __init__(self, finder): self.finder = finder\n    \
                      def find_spec(self, *args): return self.finder.find_spec(*args)\n\
                  sys.meta_path[:] = [Around(finder) for finder in sys.meta_path]\n\
                  from mercurial.hgweb import wsgicgi\n";
    let end = "wsgicgi.launch(application)";
    answers_once(&site, &orders(&site, "hgweb.cgi", import, end), &[]);
}

/// The handlers are Python's again when requests come, and are not disturbed where they answer into a file.
#[test]
fn may_use_handlers_for_itself() {
    let site = Site::new(&[]);
    let code = "import io, wsgiref.handlers\n\
                def inner(environ, start_response):\n    start_response('200 OK', [])\n    return [b'inner']\n\
                def ask():\n    \
                    out = io.BytesIO()\n    \
                    wsgiref.handlers.BaseCGIHandler(io.BytesIO(), out, io.StringIO(), {}).run(inner)\n    \
                    return out.getvalue().endswith(b'inner')\n\
                before = ask()\n";
    let expression = "(before, ask(), 'run' in vars(wsgiref.handlers.BaseCGIHandler), wsgiref.handlers.__loader__)";
    let told = answer(&site.expression("site.cgi", code, expression));
    assert!(
        told.starts_with("(True, True, False, <_frozen_importlib_external."),
        "{told}"
    );
}

#[test]
fn that_exits_with_an_error_is_not_served() {
    let site = Site::new(&[]);
    let (before, end) = ENDS[0];
    for exit in ["raise SystemExit(5)", "raise LookupError"] {
        let file = orders(&site, "order.cgi", before, &format!("{end}\n{exit}"));
        assert_eq!(cgi(&file).run().code, 3, "{exit}");
    }
}
