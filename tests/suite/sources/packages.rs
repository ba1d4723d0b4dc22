//! The wheel that `scripts/wheel.py` packs, with what the tests have built in place of what `scripts/package` builds: pip installs
//! it, and the program finds its core beside it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::cgi::Cgi;
use crate::support::client::Request;
use crate::support::gateway::{apps, binary, venv};

const PYTHON: &str = "/usr/bin/python3";

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The tree that packages are made of, with this version as the core's name has it.
fn tree(root: &Path, version: &str) -> PathBuf {
    let tree = root.join("tree");
    let core = format!("lib/wsgi-gateway/core-cp{version}.so");
    let files = [
        (binary(), "bin/wsgi-gateway", 0o755),
        (
            binary().with_file_name("deps/libwsgi_gateway_core.so"),
            &*core,
            0o644,
        ),
        (
            apps().join("hello.py"),
            "share/man/man1/wsgi-gateway.1.gz",
            0o644,
        ),
    ];
    for (from, at, mode) in files {
        let to = tree.join(at);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        // Without what is for debuggers, which is most of it: it would take longer to pack than all else.
        if at.starts_with("share/") {
            fs::copy(from, &to).unwrap();
        } else {
            run(Command::new("strip").arg("-o").args([&to, &from]));
        }
        fs::set_permissions(&to, Permissions::from_mode(mode)).unwrap();
    }
    tree
}

fn pack(tree: &Path, folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    run(Command::new(PYTHON)
        .arg("scripts/wheel.py")
        .args([tree, folder])
        .arg("1.2.3")
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    folder.join("wsgi_gateway-1.2.3-py3-none-manylinux_2_17_x86_64.whl")
}

#[test]
fn pip_installs_the_wheel_and_the_program_finds_its_core_and_its_python() {
    let root = TempDir::with_prefix("wsgi-gateway-test-wheel-").unwrap();
    let version = "import sys; print('%d%d' % sys.version_info[:2])";
    let version = run(Command::new(PYTHON).args(["-c", version]));
    let tree = tree(root.path(), version.trim());
    let wheel = pack(&tree, root.path());
    let again = pack(&tree, &root.path().join("again"));
    assert!(
        fs::read(&wheel).unwrap() == fs::read(again).unwrap(),
        "the same tree makes other bytes"
    );

    let site = root.path().join("site");
    run(Command::new(PYTHON)
        .args(["-m", "venv", "--without-pip"])
        .arg(&site));
    run(Command::new(venv().join("bin/pip"))
        .args(["--disable-pip-version-check", "--quiet", "--python"])
        .arg(site.join("bin/python3"))
        .args(["install", "--no-index", "--no-deps"])
        .arg(&wheel));
    let program = site.join("bin/wsgi-gateway");
    let hello = apps().join("hello.py");
    let words = |door| [door, hello.to_str().unwrap()];
    let checked = Cgi::bare("").program(&program).words(&words("check")).run();
    assert_eq!(checked.code, 0, "{checked:#?}");
    let expected = format!(
        "interpreter: {} (the environment of this program)\n",
        site.join("bin/python3").display()
    );
    assert!(checked.text().contains(&expected), "{checked:#?}");
    let request = Cgi::new("", &Request::get("/"));
    let answered = request.program(&program).words(&words("cgi")).run();
    assert_eq!(answered.response().status, 200, "{answered:#?}");
}
