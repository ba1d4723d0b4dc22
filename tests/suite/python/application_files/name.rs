//! `__name__` of an application's file, and the modules that it is there as.

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
