//! Files in folders that are packages.

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
