//! Deploys by a symbolic link that is pointed at the next release, or by a folder that is put in the place of another:
//! SIGHUP serves what lies under the name then, whichever of the operator's paths goes through it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::client::{Request, fetch};
use crate::support::gateway::{Builder, Gateway};
use crate::support::process_table::send;

/// Releases side by side, and `current`.
struct Releases {
    folder: TempDir,
}

/// Answers with its release, those of what it imports at once and late, and the working directory of its import: an old worker's
/// own may have been removed.
const APPLICATION: &str = "import os, sys\n\
    import library\n\
    HERE = os.path.basename(os.getcwd())\n\
    def application(environ, start_response):\n    \
        start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
        import late\n    \
        return [f'{WORD} {library.WORD} {late.WORD} {HERE}'.encode()]\n\
    WORD = ";

impl Releases {
    fn new() -> Releases {
        let folder = TempDir::with_prefix("wsgi-gateway-test-releases-").unwrap();
        let releases = Releases { folder };
        releases.make("r1");
        releases.point("r1");
        releases
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn make(&self, release: &str) {
        let folder = self.path(release);
        fs::create_dir_all(folder.join("lib")).unwrap();
        fs::write(folder.join("app.py"), format!("{APPLICATION}{release:?}\n")).unwrap();
        fs::write(
            folder.join("app.wsgi"),
            format!("{APPLICATION}{release:?}\n"),
        )
        .unwrap();
        fs::write(
            folder.join("lib/library.py"),
            format!("WORD = {release:?}\n"),
        )
        .unwrap();
        // What is imported with a request only.
        fs::write(folder.join("lib/late.py"), format!("WORD = {release:?}\n")).unwrap();
    }

    /// From one moment to the next.
    fn point(&self, release: &str) {
        symlink(release, self.path("next")).unwrap();
        fs::rename(self.path("next"), self.path("current")).unwrap();
    }

    fn builder(&self, app: &str, options: &[&str]) -> Builder {
        Gateway::builder(app).args(options).cwd(self.folder.path())
    }
}

fn text(gateway: &Gateway) -> String {
    let answer = fetch(gateway.socket(), &Request::get("/"));
    answer.expect(200).text()
}

/// Three releases, of which the first is removed when it has been replaced.
#[track_caller]
fn serves_each_release(releases: &Releases, builder: Builder) {
    let gateway = builder.start();
    let all_of = |release: &str| format!("{release} {release} {release}");
    assert!(
        text(&gateway).starts_with(&all_of("r1")),
        "{}",
        text(&gateway)
    );
    for release in ["r2", "r3"] {
        releases.make(release);
        releases.point(release);
        assert!(gateway.reload(), "{}", gateway.log());
        gateway.wait_for(release, || {
            text(&gateway).starts_with(&all_of(release)).then_some(())
        });
        if release == "r2" {
            fs::remove_dir_all(releases.path("r1")).unwrap();
            // And a worker that is made later.
            let worker = gateway.worker();
            send(worker, Signal::SIGKILL);
            gateway.wait_for("another worker", || {
                (gateway.workers() != [worker]).then_some(())
            });
            assert!(text(&gateway).starts_with(&all_of(release)));
        }
    }
    assert_eq!(gateway.terminate().code, 0);
}

#[test]
fn by_chdir() {
    let releases = Releases::new();
    let current = releases.path("current");
    let options = ["--chdir", current.to_str().unwrap(), "--pythonpath", "lib"];
    serves_each_release(&releases, releases.builder("app", &options));
}

#[test]
fn by_a_relative_chdir_and_preload() {
    let releases = Releases::new();
    let options = ["--chdir", "current", "--pythonpath", "lib", "--preload"];
    serves_each_release(&releases, releases.builder("app", &options));
}

#[test]
fn by_chdir_of_a_file() {
    let releases = Releases::new();
    let options = ["--config", "site.toml"];
    fs::write(
        releases.path("site.toml"),
        "chdir = \"current\"\npythonpath = [\"lib\"]\n",
    )
    .unwrap();
    serves_each_release(&releases, releases.builder("./app.wsgi", &options));
}

/// The shell says in PWD by which name it went there; the kernel does not know.
#[test]
fn by_the_folder_of_the_start() {
    let releases = Releases::new();
    let current = releases.path("current");
    let builder = releases.builder("app", &["--pythonpath", "lib"]);
    serves_each_release(&releases, builder.cwd(&current).env("PWD", &current));
}

#[test]
fn by_the_names_of_app_and_path() {
    let releases = Releases::new();
    let app = releases.path("current/app.wsgi");
    let lib = releases.path("current/lib");
    let builder = releases.builder(
        app.to_str().unwrap(),
        &["--pythonpath", lib.to_str().unwrap()],
    );
    serves_each_release(&releases, builder.cwd("/"));
}

/// A PWD that names another folder, or none, is somebody else's.
#[test]
fn are_not_looked_for_in_a_pwd_that_is_not_the_working_directory() {
    for pwd in ["/", "/nowhere", "current", ""] {
        let releases = Releases::new();
        let builder = releases.builder("app", &["--pythonpath", "lib"]);
        let gateway = builder.cwd(releases.path("r1")).env("PWD", pwd).start();
        assert_eq!(text(&gateway), "r1 r1 r1 r1", "{pwd:?}");
    }
}

/// Unpacked beside it, and renamed.
#[test]
fn by_a_folder_in_the_place_of_another() {
    let releases = Releases::new();
    let exchange = |release: &str| {
        releases.make(release);
        fs::rename(releases.path("site"), releases.path("old")).unwrap();
        fs::rename(releases.path(release), releases.path("site")).unwrap();
        fs::remove_dir_all(releases.path("old")).unwrap();
    };
    for (cwd, options) in [(".", &["--chdir", "site"][..]), ("site", &[])] {
        releases.make("r1");
        fs::rename(releases.path("r1"), releases.path("site")).unwrap();
        let builder = releases
            .builder("app", options)
            .args(["--pythonpath", "lib"]);
        let gateway = builder.cwd(releases.path(cwd)).env("PWD", "").start();
        assert_eq!(text(&gateway), "r1 r1 r1 site");
        exchange("r2");
        assert!(gateway.reload(), "{}", gateway.log());
        gateway.wait_for("r2", || (text(&gateway) == "r2 r2 r2 site").then_some(()));
        drop(gateway);
        fs::remove_dir_all(releases.path("site")).unwrap();
    }
}

/// Nothing lies under the name in the middle of a deploy: what serves goes on, and the log says which folder.
#[test]
fn that_are_not_there_leave_the_old_one_serving() {
    let releases = Releases::new();
    let gateway = releases
        .builder("app", &["--chdir", "current", "--pythonpath", "lib"])
        .start();
    gateway.wait_until_ready(1);
    fs::remove_file(releases.path("current")).unwrap();
    assert!(!gateway.reload(), "{}", gateway.log());
    gateway.wait_for_log(&format!(
        "{} of --chdir",
        releases.path("current").display()
    ));
    assert!(text(&gateway).starts_with("r1 r1"));
    releases.make("r2");
    releases.point("r2");
    assert!(gateway.reload(), "{}", gateway.log());
    gateway.wait_for("r2", || {
        text(&gateway).starts_with("r2 r2 r2").then_some(())
    });
}

/// A folder that only root may enter is no reason not to serve an application that lies elsewhere.
#[test]
fn in_a_folder_of_the_start_that_is_closed_for_the_workers() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let releases = Releases::new();
    let open = |name: &Path| fs::set_permissions(name, fs::Permissions::from_mode(0o755)).unwrap();
    open(releases.folder.path());
    let closed = releases.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let app = releases.path("r1/app.wsgi");
    let lib = releases.path("r1/lib");
    let options = ["--user", "nobody", "--pythonpath", lib.to_str().unwrap()];
    let builder = releases.builder(app.to_str().unwrap(), &options);
    let gateway = builder.cwd(&closed).env("PWD", &closed).start();
    assert_eq!(text(&gateway), "r1 r1 r1 closed");
}
