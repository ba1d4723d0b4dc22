//! What an application's file is to Python: under which name it runs, what is on `sys.path` for it, which links are followed,
//! what processes that it spawns find of it, and that it answers once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use crate::support::cgi::{Cgi, Output};
use crate::support::client::{Request, fetch};
use crate::support::gateway::{Builder, Gateway, binary};

/// A folder with files.
struct Site {
    folder: TempDir,
}

/// An application that answers with the value of this expression.
fn answers(expression: &str) -> String {
    format!(
        "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', \
         'text/plain')])\n    return [str({expression}).encode()]\n"
    )
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Site {
        let folder = TempDir::with_prefix("wsgi-gateway-test-files-").unwrap();
        let site = Site { folder };
        for (name, text) in files {
            site.write(name, text);
        }
        site
    }

    /// Without links in it, as Python shows it.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// An application of that expression, in a file of this name.
    fn expression(&self, name: &str, first: &str, expression: &str) -> PathBuf {
        self.write(name, &format!("{first}\n{}", answers(expression)))
    }

    fn link(&self, name: &str, to: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, &path).unwrap();
        path
    }

    fn fastcgi(app: &Path) -> Builder {
        Gateway::builder(app.to_str().unwrap()).cwd("/")
    }
}

fn cgi(app: &Path) -> Cgi {
    Cgi::new(app, &Request::get("/")).cwd("/")
}

#[track_caller]
fn text(output: &Output) -> String {
    assert_eq!(output.code, 0, "{output:#?}");
    let response = output.response();
    assert_eq!(response.status, 200, "{output:#?}");
    String::from_utf8(response.body).unwrap()
}

#[track_caller]
fn answer(app: &Path) -> String {
    text(&cgi(app).run())
}

mod name {
    use super::*;

    /// Flask's guide has shop.wsgi beside the package shop; trac.fcgi and moin.cgi are the same.
    #[test]
    fn is_not_that_of_the_package_beside_it() {
        let import = "from shop import app as application\n";
        let package = answers("'the shop'").replace("application", "app");
        let site = Site::new(&[("shop/__init__.py", &package)]);
        for name in ["shop.wsgi", "shop.fcgi", "shop.cgi", "shop.py", "shop.app"] {
            assert_eq!(answer(&site.write(name, import)), "the shop", "{name}");
        }
        // A module of that name instead of a package.
        let site = Site::new(&[("shop.py", &package)]);
        for name in ["shop.wsgi", "shop.cgi", "shop.2.py"] {
            assert_eq!(answer(&site.write(name, import)), "the shop", "{name}");
        }
        let gateway = Site::fastcgi(&site.path("shop.wsgi")).start();
        let response = fetch(gateway.socket(), &Request::get("/"));
        assert_eq!(response.expect(200).text(), "the shop");
    }

    #[test]
    fn is_not_that_of_a_module_of_python() {
        let site = Site::new(&[]);
        for (name, imports, expression) in [
            (
                "calendar.cgi",
                "import http.cookiejar, calendar",
                "calendar.isleap(2024)",
            ),
            (
                "email.wsgi",
                "import smtplib, email.message",
                "hasattr(email.message, 'Message')",
            ),
            (
                "test.fcgi",
                "import test.support",
                "hasattr(test.support, 'verbose')",
            ),
            ("time.py", "import time", "time.time() > 0"),
            ("site.py", "import site", "hasattr(site, 'getsitepackages')"),
        ] {
            assert_eq!(
                answer(&site.expression(name, imports, expression)),
                "True",
                "{name}"
            );
        }
    }

    /// So that what is imported from it elsewhere is this module, and not its code once more.
    #[test]
    fn is_its_own_where_python_could_import_it_so() {
        let counts = "import builtins, sys\nbuiltins.count = getattr(builtins, 'count', 0) + 1\n\
                      def again(): import importlib; return importlib.import_module(__name__)\n";
        let expression = "(__name__, again() is sys.modules[__name__], count, __spec__.name)";
        let site = Site::new(&[
            ("package/__init__.py", ""),
            ("package/inner/__init__.py", ""),
        ]);
        for (name, module) in [
            ("plain.py", "plain"),
            ("my-site.py", "my-site"),
            ("class.py", "class"),
            ("test.py", "test"),
            ("alone/__init__.py", "alone"),
            ("package/inner/site.py", "package.inner.site"),
            ("package/__main__.py", "package.__main__"),
        ] {
            let file = site.expression(name, counts, expression);
            let expected = format!("('{module}', True, 1, '{module}')");
            assert_eq!(answer(&file), expected, "{name}");
        }
    }

    /// What Python itself and libraries look up by `__module__`: in dataclasses, type hints, pickles and tracebacks.
    #[test]
    fn finds_the_module_of_every_file() {
        let code = "from __future__ import annotations\n\
                    import dataclasses, inspect, pickle, sys, traceback, typing\n\
                    @dataclasses.dataclass\n\
                    class Item:\n    size: typing.ClassVar[int] = 3\n    other: Item = None\n\
                    def fails(): raise LookupError\n\
                    def facts():\n    \
                        try: fails()\n    \
                        except LookupError: trace = traceback.format_exc()\n    \
                        return [__name__ != '__main__', sys.modules[__name__].Item is Item,\n        \
                            len(dataclasses.fields(Item)), typing.get_type_hints(Item)['other'] is Item,\n        \
                            pickle.loads(pickle.dumps(Item(Item()))) == Item(Item()),\n        \
                            inspect.getsource(fails), inspect.getmodule(fails) is sys.modules[__name__],\n        \
                            f'File \"{__file__}\", line 7, in fails' in trace, 'raise LookupError' in trace]\n";
        let site = Site::new(&[("package/__init__.py", "")]);
        let expected =
            "[True, True, 1, True, True, 'def fails(): raise LookupError\\n', True, True, True]";
        for name in [
            "plain.py",
            "site.wsgi",
            "app",
            "site.2.cgi",
            "package/site.py",
        ] {
            assert_eq!(
                answer(&site.expression(name, code, "facts()")),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn leaves_a_guarded_end_alone() {
        let site = Site::new(&[]);
        for name in ["plain.py", "site.wsgi"] {
            let app = answers("'served'") + "if __name__ == '__main__':\n    raise SystemExit(5)\n";
            assert_eq!(answer(&site.write(name, &app)), "served", "{name}");
        }
    }

    /// Where it has none, relative imports fail in Python's own words for a script.
    #[test]
    fn of_a_script_has_no_package() {
        let site = Site::new(&[("other.py", "")]);
        let output = cgi(&site.write("site.wsgi", "from . import other\n")).run();
        assert!(
            output
                .stderr
                .contains("attempted relative import with no known parent package"),
            "{output:#?}"
        );
    }
}

mod package {
    use super::*;

    /// Django's mysite/wsgi.py: a module of its package, as `python -m mysite.wsgi` has it.
    #[test]
    fn is_imported_with_the_folder_above_on_the_path_and_its_inside_not() {
        let site = Site::new(&[
            ("mysite/__init__.py", "LOADED = True\n"),
            (
                "mysite/email.py",
                "raise RuntimeError('a module of the package in the place of one of Python')\n",
            ),
            ("mysite/settings.py", "WORD = 'relative'\n"),
            ("mysite/deep/__init__.py", ""),
        ]);
        let expression = "(__name__, __package__, settings.WORD, sys.path[0], [p for p in sys.path if 'mysite' in p])";
        let first = "import sys, smtplib\nfrom mysite import LOADED\n";
        let root = site
            .path("")
            .to_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        let file = site.expression(
            "mysite/wsgi.py",
            &format!("{first}from . import settings"),
            expression,
        );
        let expected = format!("('mysite.wsgi', 'mysite', 'relative', '{root}', [])");
        assert_eq!(answer(&file), expected);
        assert_eq!(
            text(&cgi(Path::new("mysite/wsgi.py")).cwd(site.path("")).run()),
            expected
        );
        assert_eq!(
            text(&cgi(Path::new("./wsgi.py")).cwd(site.path("mysite")).run()),
            expected
        );
        // Without a way out by --chdir, and with one.
        let chdir = cgi(Path::new("mysite/wsgi.py"))
            .option("--chdir")
            .option(site.path(""));
        assert_eq!(text(&chdir.run()), expected);
        let file = site.expression(
            "mysite/deep/wsgi.py",
            &format!("{first}from .. import settings"),
            expression,
        );
        let expected = expected
            .replace("mysite.wsgi", "mysite.deep.wsgi")
            .replace("'mysite'", "'mysite.deep'");
        assert_eq!(answer(&file), expected);
    }

    /// A folder that `import` would not take for the package: one of that name is imported already, or it can be none.
    #[test]
    fn is_a_folder_of_scripts_where_its_name_is_taken() {
        for folder in ["site", "my.site", "my-site"] {
            let site = Site::new(&[
                (&format!("{folder}/__init__.py"), ""),
                (&format!("{folder}/helper.py"), "WORD = 'helped'\n"),
            ]);
            let file = site.expression(&format!("{folder}/app.py"), "import helper", "helper.WORD");
            assert_eq!(answer(&file), "helped", "{folder}");
        }
    }

    /// What a script in the folder of a package imports may lie beside it, or be the package.
    #[test]
    fn has_scripts_that_find_both() {
        let site = Site::new(&[
            ("shop/__init__.py", "NAME = 'shop'\n"),
            ("shop/helper.py", "WORD = 'helped'\n"),
        ]);
        let file = site.expression(
            "shop/shop.wsgi",
            "import helper\nfrom shop import NAME",
            "NAME + helper.WORD",
        );
        assert_eq!(answer(&file), "shophelped");
    }

    #[test]
    fn tells_how_to_import_what_lies_in_it() {
        let site = Site::new(&[("shop/__init__.py", ""), ("shop/config.py", "")]);
        let output = cgi(&site.write("shop/app.py", "import config\n")).run();
        for word in [
            "No module named 'config'",
            "'shop.config'",
            "__init__.py",
            "--pythonpath",
        ] {
            assert!(output.stderr.contains(word), "{word}: {}", output.stderr);
        }
    }
}

mod path {
    use super::*;

    #[test]
    fn has_the_working_directory_where_chdir_names_it() {
        let site = Site::new(&[
            ("project/settings.py", "WORD = 'found'\n"),
            ("project/pick.py", "WHERE = 'chdir'\n"),
            ("project/scripts/pick.py", "WHERE = 'beside'\n"),
        ]);
        let file = site.expression(
            "project/scripts/site.wsgi",
            "import pick, settings",
            "settings.WORD + pick.WHERE",
        );
        let word = |cgi: Cgi| text(&cgi.run());
        let project = site.path("project");
        assert_eq!(
            word(cgi(&file).option("--chdir").option(&project)),
            "foundbeside"
        );
        assert_eq!(
            word(
                cgi(Path::new("scripts/site.wsgi"))
                    .option("--chdir")
                    .option(&project)
            ),
            "foundbeside"
        );
        // A web server starts programs wherever it likes: without the option that folder is nobody's.
        assert_ne!(cgi(&file).cwd(&project).run().code, 0);
    }

    /// As Python does for `python FILE`; nothing is where the link is.
    #[test]
    fn has_the_folder_of_the_real_file() {
        let site = Site::new(&[("srv/helper.py", "WORD = 'helped'\n")]);
        let file = site.expression(
            "srv/app.cgi",
            "import sys, helper",
            "(helper.WORD, sys.path[0], __file__)",
        );
        let link = site.link("cgi-bin/app.cgi", &file);
        let expected = |link: &Path| {
            format!(
                "('helped', '{}', '{}')",
                site.path("srv").display(),
                link.display()
            )
        };
        assert_eq!(answer(&link), expected(&link));
        let relative = site.link("cgi-bin/relative.py", "../srv/app.cgi");
        assert_eq!(answer(&relative), expected(&relative));
        let chain = site.link("cgi-bin/chain", "relative.py");
        assert_eq!(answer(&chain), expected(&chain));
        let gateway = Site::fastcgi(&link).start();
        let response = fetch(gateway.socket(), &Request::get("/"));
        assert_eq!(response.expect(200).text(), expected(&link));
        // Run by the web server.
        let source = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("#!{}\n{source}", binary().display())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let run = Cgi::new("", &Request::get("/"))
            .program(&link)
            .cwd("/")
            .run();
        assert_eq!(text(&run), expected(&link));
    }

    /// A module by its real name; a link into a package runs the module that it leads to.
    #[test]
    fn and_name_are_those_of_the_real_file() {
        let site = Site::new(&[
            ("srv/mysite/__init__.py", ""),
            ("srv/other.py", "import real; NAME = real.__name__\n"),
        ]);
        let file = site.expression(
            "srv/real.py",
            "import builtins\nbuiltins.n = getattr(builtins, 'n', 0) + 1",
            "(__name__, n)",
        );
        let late = fs::read_to_string(&file)
            .unwrap()
            .replace("    start_response", "    import other\n    start_response");
        fs::write(&file, late).unwrap();
        assert_eq!(
            answer(&site.link("cgi-bin/linked.cgi", &file)),
            "('real', 1)"
        );
        let file = site.expression(
            "srv/mysite/wsgi.py",
            "from . import __name__ as package",
            "package + __name__",
        );
        assert_eq!(
            answer(&site.link("cgi-bin/django.cgi", &file)),
            "mysitemysite.wsgi"
        );
    }
}

mod spawned_process {
    use super::*;

    const SQUARES: &str = "import multiprocessing\n\
                           class Number:\n    def __init__(self, n): self.n = n\n    def square(self): return Number(self.n * self.n)\n\
                           def squares(method):\n    \
                               with multiprocessing.get_context(method).Pool(1) as pool:\n        \
                                   found = pool.map_async(Number.square, [Number(3)]).get(20)\n        \
                                   return [type(n) is Number and n.n for n in found]\n";

    /// multiprocessing's 'spawn' and 'forkserver' start sys.executable, which has to find what the file defines.
    #[test]
    fn finds_what_the_file_defines() {
        let site = Site::new(&[("mysite/__init__.py", "")]);
        let link = site.expression("srv/real.py", SQUARES, "squares('spawn')");
        let mut files = vec![site.link("linked.cgi", link)];
        for name in [
            "plain.py",
            "site.wsgi",
            "my-site.py",
            "app",
            "mysite/wsgi.py",
        ] {
            files.push(site.expression(name, SQUARES, "squares('spawn')"));
        }
        files.push(site.expression("server.wsgi", SQUARES, "squares('forkserver')"));
        thread::scope(|scope| {
            let mut asked = Vec::new();
            for file in &files {
                asked.push(scope.spawn(move || (file, cgi(file).run())));
            }
            for asked in asked {
                let (file, output) = asked.join().unwrap();
                assert_eq!(text(&output), "[9]", "{}", file.display());
            }
        });
    }

    #[test]
    fn of_a_worker_finds_it_too() {
        let site = Site::new(&[]);
        let file = site.expression("site.wsgi", SQUARES, "squares('spawn')");
        for options in [&[][..], &["--preload"]] {
            let gateway = Site::fastcgi(&file).args(options).start();
            let response = fetch(gateway.socket(), &Request::get("/"));
            assert_eq!(response.expect(200).text(), "[9]", "{options:?}");
        }
    }
}

mod old_script {
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
}
