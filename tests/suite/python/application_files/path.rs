//! `sys.path`, and links.

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
