//! `--reload`, for developers: saved files take effect, and mistakes in them are shown.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::client::{Request, Response, fetch};
use crate::support::gateway::{Builder, Gateway, READY};
use crate::support::process_table::send;

/// An application of two files in the gateway's folder: `site.py` imports `part.py`, whose word it answers with.
fn application() -> Builder {
    let builder = Gateway::builder("site.py");
    let folder = builder.folder();
    let path = folder.path();
    fs::write(
        path.join("site.py"),
        "import part\n\n\ndef application(environ, start_response):\n    \
         start_response(\"200 OK\", [])\n    return [part.WORD]\n",
    )
    .unwrap();
    fs::write(path.join("part.py"), "WORD = b\"first\"\n").unwrap();
    builder.cwd(path).arg("--reload")
}

fn save(gateway: &Gateway, source: &str) {
    fs::write(gateway.folder().join("part.py"), source).unwrap();
}

fn get(gateway: &Gateway) -> Response {
    fetch(gateway.socket(), &Request::get("/"))
}

fn wait_for_text(gateway: &Gateway, text: &str) {
    gateway.wait_for(text, || {
        let answer = get(gateway);
        (answer.status == 200 && answer.text() == text).then_some(())
    });
}

#[test]
fn a_saved_file_takes_effect() {
    let gateway = application().start();
    gateway.wait_until_ready(1);
    wait_for_text(&gateway, "first");
    save(&gateway, "WORD = b\"second\"\n");
    wait_for_text(&gateway, "second");
    let line = gateway.wait_for_line(&["reload: begun"]);
    assert!(line.contains("part.py"), "{line}");
    // As editors save: another file under the same name.
    let next = gateway.folder().join("part.py.new");
    fs::write(&next, "WORD = b\"third\"\n").unwrap();
    fs::rename(next, gateway.folder().join("part.py")).unwrap();
    wait_for_text(&gateway, "third");
}

/// Django for one imports what a URL leads to with the first request for it.
#[test]
fn a_file_that_was_imported_late_is_watched_too() {
    let builder = application().args(["--log-level", "debug"]);
    let site = builder.folder().path().join("site.py");
    fs::write(
        site,
        "def application(environ, start_response):\n    import part\n    \
         start_response(\"200 OK\", [])\n    return [part.WORD]\n",
    )
    .unwrap();
    let gateway = builder.start();
    gateway.wait_until_ready(1);
    wait_for_text(&gateway, "first");
    gateway.wait_for_count("files are watched", 2);
    save(&gateway, "WORD = b\"second\"\n");
    wait_for_text(&gateway, "second");
}

/// A large application's files are more than one message holds; what was imported last is the developer's own.
#[test]
fn the_last_of_many_files_is_watched() {
    for option in [None, Some("--preload")] {
        let builder = application().args(option);
        let site = builder.folder().path().join("site.py");
        let served = fs::read_to_string(&site).unwrap();
        // Of modules only the names of their files count here.
        let many = "import sys, types\nfor number in range(1000):\n    module = types.ModuleType(f\"many_{number}\")\n    \
                    module.__file__ = f\"/nowhere/{'long' * 40}/{number}.py\"\n    \
                    sys.modules[module.__name__] = module\n";
        fs::write(site, format!("{many}{served}")).unwrap();
        let gateway = builder.start();
        gateway.wait_until_ready(1);
        wait_for_text(&gateway, "first");
        save(&gateway, "WORD = b\"second\"\n");
        wait_for_text(&gateway, "second");
    }
}

#[test]
fn a_mistake_keeps_the_old_code_serving_and_is_in_the_log() {
    let gateway = application().start();
    gateway.wait_until_ready(1);
    save(&gateway, "WORD = (\n");
    gateway.wait_for_log("reload: failed");
    assert!(gateway.log().contains("SyntaxError"), "{}", gateway.log());
    assert_eq!(get(&gateway).expect(200).text(), "first");
    // Mended, without a word from the developer.
    save(&gateway, "WORD = b\"mended\"\n");
    wait_for_text(&gateway, "mended");
}

#[test]
fn with_debug_a_mistake_is_on_the_page() {
    let gateway = application().arg("--debug").start();
    gateway.wait_until_ready(1);
    save(&gateway, "WORD = undefined_word\n");
    gateway.wait_for_log("reload: failed");
    let page = gateway.wait_for("a page that tells", || {
        Some(get(&gateway)).filter(|page| page.status == 500)
    });
    let page = page.expect(500).text();
    assert!(
        page.contains("NameError") && page.contains("part.py"),
        "{page}"
    );
    save(&gateway, "WORD = b\"mended\"\n");
    wait_for_text(&gateway, "mended");
}

/// Workers that come later say so as well: from the template, they have the old code.
#[test]
fn with_debug_a_mistake_is_on_the_page_of_workers_that_come_later() {
    let gateway = application().args(["--debug", "--preload"]).start();
    let worker = gateway.wait_until_ready(1)[0];
    save(&gateway, "WORD = undefined_word\n");
    gateway.wait_for_log("reload: failed");
    send(worker, Signal::SIGKILL);
    gateway.wait_for_count(READY, 2);
    gateway.wait_for("a page that tells", || {
        (get(&gateway).status == 500).then_some(())
    });
    save(&gateway, "WORD = b\"mended\"\n");
    wait_for_text(&gateway, "mended");
}

/// A file that was not there when it was imported: the one that cannot be imported is watched as well.
#[test]
fn a_mistake_in_a_new_file_can_be_mended() {
    let gateway = application().start();
    gateway.wait_until_ready(1);
    let new = gateway.folder().join("new.py");
    fs::write(&new, "WORD = (\n").unwrap();
    save(&gateway, "from new import WORD\n");
    gateway.wait_for_log("reload: failed");
    fs::write(&new, "WORD = b\"new\"\n").unwrap();
    wait_for_text(&gateway, "new");
}

/// The first import as well as any other: a developer who starts the gateway in the middle of an edit saves the file again.
#[test]
fn a_mistake_in_the_first_import_waits_for_a_change() {
    for options in [
        &[][..],
        &["--preload"],
        &["--min-workers", "0", "--startup-timeout", "4s"],
        &["--debug"],
    ] {
        let builder = application().args(options);
        let part = builder.folder().path().join("part.py");
        fs::write(&part, "WORD = (\n").unwrap();
        let mut gateway = builder.start();
        let answer = get(&gateway);
        let is_shown = options == ["--debug"];
        assert_eq!(
            answer.status,
            if is_shown { 500 } else { 503 },
            "{answer:?}"
        );
        let page = answer.text();
        assert_eq!(page.contains("SyntaxError"), is_shown, "{page}");
        // Another mistake, and a word of the operator's.
        fs::write(&part, "WORD = undefined_word\n").unwrap();
        gateway.wait_for_log("NameError");
        assert!(gateway.is_running());
        save(&gateway, "WORD = b\"mended\"\n");
        gateway.wait_for_log("ready on ");
        wait_for_text(&gateway, "mended");
        save(&gateway, "WORD = b\"again\"\n");
        wait_for_text(&gateway, "again");
        assert_eq!(gateway.terminate().code, 0);
    }
}

/// Nothing is imported that could be changed.
#[test]
fn an_application_that_is_not_there_is_not_waited_for() {
    let exit = Gateway::builder("no_such_module_here")
        .arg("--reload")
        .run();
    assert_eq!(exit.code, 3, "{}", exit.log);
}
