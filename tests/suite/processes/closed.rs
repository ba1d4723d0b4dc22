//! Folders that are closed for the user that the workers run as: what is in them is there, and the message says who may not get
//! at it, and where.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::gateway::{Builder, Gateway};

/// A folder that everybody may enter, with one in it that only root may.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Option<Site> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: this user is not root");
            return None;
        }
        let folder = TempDir::with_prefix("wsgi-gateway-test-closed-").unwrap();
        let site = Site { folder };
        open(site.folder.path(), 0o755);
        fs::create_dir(site.at("private")).unwrap();
        open(&site.at("private"), 0o700);
        Some(site)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    fn write_application(&self, name: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(crate::support::gateway::apps().join("hello.py"), path).unwrap();
    }

    fn make_venv(&self, name: &str) -> PathBuf {
        let venv = self.at(name);
        let made = Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(&venv)
            .status();
        assert!(made.unwrap().success());
        venv
    }

    fn builder(&self, app: &str) -> Builder {
        let builder = Gateway::builder(app).cwd(self.folder.path());
        builder.args(["--user", "nobody"])
    }
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The start fails for want of permission, as the log says with the user's name and what is closed.
#[track_caller]
fn refused(builder: Builder, closed: &str) {
    let exit = builder.run();
    assert_ne!(exit.code, 0);
    let mut lines = exit.log.lines();
    let line = lines.find(|line| line.contains("permission denied: user 'nobody' may not "));
    let line = line.unwrap_or_else(|| panic!("no word of permission: {}", exit.log));
    assert!(line.contains(&format!(" {closed} (chmod ")), "{line}");
    assert!(!exit.log.contains("there is no"), "{}", exit.log);
}

#[test]
fn a_closed_virtual_environment_is_told() {
    let Some(site) = Site::new() else {
        return;
    };
    site.write_application("hello.py");
    let private = site.text("private");
    let venv = site.make_venv("private/venv");
    refused(site.builder("hello").arg("--venv").arg(&venv), &private);
    refused(site.builder("hello").env("VIRTUAL_ENV", &venv), &private);
    // Through a link, and its Python only, as where a tool has put that below /root.
    symlink("private/venv", site.at("current")).unwrap();
    refused(site.builder("hello").args(["--venv", "current"]), &private);
    fs::create_dir(site.at("private/bin")).unwrap();
    symlink("/usr/bin/python3", site.at("private/bin/python3")).unwrap();
    let venv = site.make_venv("venv");
    for name in ["python3", "python"] {
        fs::remove_file(venv.join("bin").join(name)).unwrap();
        symlink(site.at("private/bin/python3"), venv.join("bin").join(name)).unwrap();
    }
    refused(site.builder("hello").arg("--venv").arg(&venv), &private);
}

#[test]
fn closed_code_is_told() {
    let Some(site) = Site::new() else {
        return;
    };
    let private = site.text("private");
    site.write_application("private/code/hello.py");
    let code = site.text("private/code");
    refused(site.builder("hello").args(["--chdir", &code]), &private);
    refused(site.builder("hello").args(["--chdir", &private]), &private);
    refused(site.builder("hello").cwd(site.at("private")), &private);
    refused(
        site.builder("hello").args(["--pythonpath", &code]),
        &private,
    );
    refused(site.builder(&format!("{code}/hello.py")), &private);
    refused(site.builder("private/code/hello.py"), &private);
    // A file, a package, and a folder that may be entered and not read.
    site.write_application("file.py");
    open(&site.at("file.py"), 0o600);
    refused(site.builder("./file.py"), &site.text("file.py"));
    site.write_application("shop/hello.py");
    open(&site.at("shop"), 0o700);
    refused(site.builder("shop.hello"), &site.text("shop"));
    site.write_application("lib/hello.py");
    open(&site.at("lib"), 0o711);
    let lib = site.text("lib");
    refused(site.builder("hello").args(["--pythonpath", &lib]), &lib);
}

/// With `--preload` it is the template that says so.
#[test]
fn closed_code_is_told_by_the_template() {
    let Some(site) = Site::new() else {
        return;
    };
    site.write_application("private/hello.py");
    let builder = site.builder("private/hello.py").arg("--preload");
    refused(builder, &site.text("private"));
}

/// Here it is the user who starts the gateway.
#[test]
fn a_closed_folder_of_the_socket_is_told() {
    let Some(site) = Site::new() else {
        return;
    };
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let uid = nobody.uid.as_raw();
    for (socket, words) in [
        ("private/gateway.sock", "may not enter the folder"),
        ("gateway.sock", "may not write to its folder"),
    ] {
        let socket = site.at(socket);
        let exit = Gateway::builder("hello").uid(uid).socket(&socket).run();
        assert_eq!(exit.code, 2, "{}", exit.log);
        let folder = socket.parent().unwrap().display();
        let line = format!("user 'nobody' {words} {folder}");
        assert!(exit.log.contains(&line), "{}", exit.log);
    }
    chown(site.at("private"), Some(uid), None).unwrap();
}
