//! A web server that this machine has, and the folder in which it is started for as long as somebody tries an application.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::WebServer;
use crate::process::{self, LocalUser};
use crate::webserver::Trial;

/// Where the administrator's programs are, which PATH need not have.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Where Apache's modules are: on Debian, and elsewhere.
const MODULES: [&str; 3] = [
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
];

/// Ports below it are root's.
const PORTS: u16 = 1024;

/// What files are by their names.
const TYPES: &str = "text/html html\ntext/css css\ntext/javascript js\nimage/svg+xml svg\nimage/png png\nimage/jpeg jpg jpeg\n";

/// A web server and its program.
pub(super) struct Installed {
    server: WebServer,
    program: PathBuf,
}

impl Installed {
    pub(super) fn find(server: WebServer) -> Option<Self> {
        let program = Self::programs(server)
            .iter()
            .find_map(|name| in_path(name))?;
        Some(Self { server, program })
    }

    /// The names that a web server's program has, the first of them also that of Debian's package.
    pub(super) fn programs(server: WebServer) -> &'static [&'static str] {
        match server {
            WebServer::Apache => &["apache2", "httpd"],
            WebServer::Nginx => &["nginx"],
            WebServer::Lighttpd => &["lighttpd"],
            WebServer::Caddy => &["caddy"],
            WebServer::Haproxy => &["haproxy"],
            WebServer::H2o => &["h2o"],
        }
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_absolute() && process::may_execute(program))
}

/// Whom the web server is started as: whoever starts it, but for root.
pub(super) fn user() -> Option<LocalUser> {
    match process::own_user() {
        0 => process::first_user(&["www-data", "http", "nobody"]),
        _ => None,
    }
}

/// A web server, and where it has its files.
pub(super) struct ServerFolder {
    installed: Installed,
    folder: PathBuf,
    user: Option<LocalUser>,
    /// Whether root starts it, and it becomes the user itself: for a port that is root's.
    by_root: bool,
}

impl ServerFolder {
    /// Makes what must be there before the web server is, in a folder below this one.
    pub(super) fn make(
        installed: Installed,
        above: &Path,
        listen: Option<&(String, u16)>,
        user: Option<LocalUser>,
    ) -> io::Result<Self> {
        let folder = above.join(installed.server.word());
        let by_root = listen.is_some_and(|(_, port)| *port < PORTS);
        let made = Self {
            installed,
            folder,
            user,
            by_root,
        };
        for name in ["", "empty", "uploads"] {
            let path = made.folder.join(name);
            fs::create_dir(&path)?;
            made.give(&path)?;
        }
        made.write("mime.types", TYPES)?;
        Ok(made)
    }

    /// Gives a path to the web server's user, whatever the umask is.
    fn give(&self, path: &Path) -> io::Result<()> {
        match &self.user {
            Some(user) => chown(path, Some(user.uid), Some(user.gid)),
            None => Ok(()),
        }
    }

    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        self.give(&path)?;
        Ok(path)
    }

    pub(super) fn server(&self) -> WebServer {
        self.installed.server
    }

    pub(super) fn program(&self) -> &Path {
        &self.installed.program
    }

    /// What its configuration is to keep to.
    pub(super) fn trial(&self) -> Trial {
        let user = self.user.as_ref().filter(|_| self.by_root);
        Trial {
            folder: self.folder.display().to_string(),
            user: user.map(|user| (user.user.clone(), user.group.clone())),
        }
    }

    /// What starts it with this configuration, and the file of what it says.
    pub(super) fn command(&self, conf: &str) -> io::Result<(Command, PathBuf)> {
        let file = self.write("configuration", &self.with_modules(conf))?;
        let mut command = Command::new(&self.installed.program);
        match self.installed.server {
            WebServer::Nginx => {
                command.args(["-e", "stderr", "-g", "daemon off;", "-p"]);
                command.arg(&self.folder).arg("-c")
            }
            WebServer::Apache => command.args(["-DFOREGROUND", "-f"]),
            WebServer::Lighttpd => command.args(["-D", "-f"]),
            WebServer::Caddy => command.args(["run", "--adapter", "caddyfile", "--config"]),
            WebServer::Haproxy => command.args(["-db", "-f"]),
            WebServer::H2o => command.arg("-c"),
        };
        // Not by itself later: the kernel would not know any more that it is to end with this process.
        if let Some(user) = self.user.as_ref().filter(|_| !self.by_root) {
            command.uid(user.uid).gid(user.gid);
        }
        // Apache opens it once more by /dev/stderr.
        let path = self.write("log", "")?;
        let log = File::options().append(true).open(&path)?;
        command
            .arg(file)
            .env("HOME", &self.folder)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok((command, path))
    }

    /// Apache's configuration with its modules where this machine has them.
    fn with_modules(&self, conf: &str) -> String {
        let found = MODULES.iter().find(|folder| Path::new(folder).exists());
        match (self.installed.server, found) {
            (WebServer::Apache, Some(folder)) => conf.replace(MODULES[0], folder),
            _ => conf.to_owned(),
        }
    }
}
