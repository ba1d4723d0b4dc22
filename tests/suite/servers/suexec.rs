//! A program with `--persistent` that suEXEC has run as another user: without its web server's environment, but for a list of names that
//! is compiled into it (support/suexec.c, `safe_env_lst`). So its files are in the folder of that user under /tmp.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, geteuid};
use tempfile::TempDir;

use super::{Folder, apache, installed, program};
use crate::support::gateway::apps;
use crate::support::http::Client;
use crate::support::process_table::{self, title};
use crate::support::wait;

/// What suEXEC lets through, beside HTTP_ and SSL_, and sets itself; with it what a request has of these, as Apache's mod_include and
/// mod_rewrite add to it.
const REDUCED: [&str; 43] = [
    "AUTH_TYPE=Basic",
    "CONTENT_TYPE=text/x-secret",
    "CONTEXT_DOCUMENT_ROOT=/secret",
    "CONTEXT_PREFIX=/secret",
    "DATE_GMT=secret",
    "DATE_LOCAL=secret",
    "DOCUMENT_NAME=secret",
    "DOCUMENT_PATH_INFO=/secret",
    "DOCUMENT_ROOT=/secret",
    "DOCUMENT_URI=/secret",
    "GATEWAY_INTERFACE=CGI/1.1",
    "HTTPS=on",
    "HTTP_COOKIE=secret",
    "LAST_MODIFIED=secret",
    "PATH_INFO=/secret",
    "PATH_TRANSLATED=/secret",
    "QUERY_STRING=secret",
    "QUERY_STRING_UNESCAPED=secret",
    "REDIRECT_ERROR_NOTES=secret",
    "REDIRECT_HANDLER=secret",
    "REDIRECT_QUERY_STRING=secret",
    "REDIRECT_REMOTE_USER=secret",
    "REDIRECT_STATUS=200",
    "REDIRECT_URL=/secret",
    "REMOTE_ADDR=192.0.2.1",
    "REMOTE_HOST=secret.example",
    "REMOTE_IDENT=secret",
    "REMOTE_PORT=1",
    "REMOTE_USER=secret",
    "REQUEST_METHOD=GET",
    "REQUEST_SCHEME=https",
    "REQUEST_URI=/app.cgi/secret?secret",
    "SCRIPT_NAME=/app.cgi",
    "SCRIPT_URI=https://secret.example/",
    "SCRIPT_URL=/secret",
    "SERVER_ADDR=192.0.2.2",
    "SERVER_ADMIN=secret",
    "SERVER_NAME=secret.example",
    "SERVER_PROTOCOL=HTTP/1.1",
    "SERVER_SIGNATURE=secret",
    "SSL_CLIENT_S_DN=secret",
    "UNIQUE_ID=secret",
    "USER_NAME=secret",
];

/// The folder of a site that its user owns, below one that suEXEC wants sites in; with what the program in it has started.
struct OwnSite {
    uid: u32,
    gid: u32,
    folder: TempDir,
    /// Everybody may read the gateway there.
    installed: Folder,
}

impl OwnSite {
    fn new(uid: u32, gid: u32, below: &Path) -> OwnSite {
        let folder = TempDir::with_prefix_in("wsgi-gateway-suexec-", below).unwrap();
        let site = OwnSite {
            uid,
            gid,
            folder,
            installed: Folder::new(),
        };
        let text = fs::read_to_string(apps().join("kept_environ.py")).unwrap();
        let first = format!("#!{} --persistent\n", site.installed.gateway_program());
        fs::write(site.app(), first + &text).unwrap();
        for path in [site.folder.path(), &site.app()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        site
    }

    fn app(&self) -> PathBuf {
        self.folder.path().join("app.cgi")
    }

    /// Runs a program as that user, with nothing in its environment but this.
    fn run(&self, program: impl AsRef<Path>, words: &[&str], environment: &[&str]) -> Output {
        let mut command = Command::new(program.as_ref());
        command.args(words).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.envs(environment.iter().map(|it| it.split_once('=').unwrap()));
        command.current_dir(self.folder.path());
        if geteuid() != Uid::from_raw(self.uid) {
            command.uid(self.uid).gid(self.gid);
        }
        command.output().unwrap()
    }

    /// What of the site runs, by the titles.
    fn processes(&self) -> Vec<u32> {
        let folder = self.folder.path().to_str().unwrap();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| title(*pid).contains(folder)).collect()
    }

    /// The folder that suEXEC leaves the program.
    fn directory(&self) -> PathBuf {
        format!("/tmp/wsgi-gateway-{}", self.uid).into()
    }

    /// The user ends it, and nothing but its log is left.
    fn end(&self) {
        let program = self.installed.gateway_program();
        let name = self.folder.path().to_str().unwrap();
        let shown = self.run(&program, &["ps"], &[]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(shown.matches(name).count(), 1, "{shown}");
        let stopped = self.run(&program, &["stop", name], &[]);
        assert!(stopped.status.success(), "{stopped:?}");
        let otherwise = || format!("{:?}", self.processes());
        wait::until(|| self.processes().is_empty(), otherwise);
    }
}

impl Drop for OwnSite {
    fn drop(&mut self) {
        for pid in self.processes() {
            process_table::send(pid, Signal::SIGKILL);
        }
        // Nobody else is that user.
        if User::from_uid(Uid::from_raw(self.uid)).is_ok_and(|user| user.is_none()) {
            let _ = fs::remove_dir_all(self.directory());
        }
        // Each run has another folder, and so another log.
        for entry in fs::read_dir(self.directory())
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            if text.contains(self.folder.path().to_str().unwrap()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// What an answer of the application has of its process, and of the process's own environment.
fn own_environment(page: &str) -> (&str, Vec<&str>) {
    let (process, environment) = page.split_once('\n').unwrap();
    let names = environment.lines();
    // What Python itself sets.
    let names = names.filter(|line| !line.starts_with("LC_CTYPE="));
    (process, names.collect())
}

#[test]
fn what_suexec_leaves_of_the_environment_is_enough() {
    // One that has no name, and so no home.
    let uid = if geteuid().is_root() {
        61_843
    } else {
        geteuid().as_raw()
    };
    let site = OwnSite::new(
        uid,
        nix::unistd::getegid().as_raw().max(100),
        &std::env::temp_dir(),
    );
    let environment = [&REDUCED[..], &["TZ=Europe/Rome"]].concat();
    let ask = || {
        let output = site.run(site.app(), &[], &environment);
        assert!(output.status.success(), "{output:?}");
        let page = String::from_utf8(output.stdout).unwrap();
        page.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let page = ask();
    let (process, own) = own_environment(&page);
    assert!(process.ends_with(" False"), "{process}");
    assert_eq!(own, ["PATH=/usr/local/bin:/usr/bin:/bin", "TZ=Europe/Rome"]);
    assert_eq!(ask(), page);
    site.end();
}

#[test]
fn behind_suexec() {
    let sites = Path::new("/var/www");
    // What it says goes there, or it does not start.
    let log = Path::new("/var/log/apache2");
    if program("apache2").is_none() || installed("/usr/lib/apache2/suexec").is_none() {
        return;
    }
    if !geteuid().is_root() {
        eprintln!("skipped: only root's web server has suEXEC");
        return;
    }
    let _ = fs::create_dir(log);
    let user = User::from_name("nobody").unwrap().unwrap();
    let site = OwnSite::new(user.uid.as_raw(), user.gid.as_raw(), sites);
    let server = apache::serve("event", "cgid", 1, |_| {
        let site = apache::cgi("").replace("/srv/app", site.folder.path().to_str().unwrap());
        let host = "<VirtualHost *:80>";
        let set = format!(
            "LoadModule suexec_module {}/mod_suexec.so\n{host}\nSuexecUserGroup nobody nogroup\nSetEnv DATABASE_URL here",
            apache::MODULES
        );
        vec![site.replace(host, &set)]
    });
    let server = server.expect("asked for before");
    let page = Client::open(server.address()).fetch("GET", "/secret?secret", b"");
    let text = page.text();
    assert_eq!(page.status, 200, "{text}");
    let (process, own) = own_environment(&text);
    assert!(process.ends_with(" False"), "{process}");
    assert_eq!(own, ["PATH=/usr/local/bin:/usr/bin:/bin"]);
    let pid: u32 = process.split(' ').next().unwrap().parse().unwrap();
    let uid = process_table::status(pid, "Uid").unwrap();
    assert_eq!(uid.split_whitespace().next(), Some(&*site.uid.to_string()));
    assert_eq!(
        Client::open(server.address()).fetch("GET", "/", b"").text(),
        text
    );
    site.end();
}
