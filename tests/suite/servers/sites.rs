//! Applications that are more than a file, with folders of their own, in every way that a web server and the gateway go together.
//! Knows nothing of what they are then asked.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Conf, Folder, Server, gateway, nginx, program, server_user};
use crate::gateway::{Gateway, apps, venv};

/// The folder of an application, laid out so that nothing has to be said about Python: it is a virtual environment itself.
pub(crate) struct Site(Folder);

impl Site {
    /// With these modules of `tests/apps`. `begin` is Python that is run first; `application` is imported from `module`.
    pub(crate) fn new(modules: &[&str], begin: &str, module: &str) -> Site {
        let site = Site(Folder::new());
        for module in modules {
            copy(&apps().join(module), &site.0.path().join(module));
        }
        site.make_virtual_environment();
        fs::create_dir(site.data()).unwrap();
        let program = site.0.gateway_program();
        let folder = site.data();
        let text = format!(
            "#!{program}\nimport os\n\nFOLDER = {:?}\n{begin}\n\nfrom {module} import application\n",
            folder.to_str().unwrap()
        );
        // One for each: some servers go by the ending.
        for name in ["app.py", "app.cgi", "app.fcgi"] {
            site.0.write_program(name, &text);
        }
        site
    }

    /// `bin`, `lib` and `pyvenv.cfg` of the tests' virtual environment. Where a checkout is in a closed folder, as that of root is,
    /// a web server's user could not follow a link into it.
    fn make_virtual_environment(&self) {
        let open = venv()
            .ancestors()
            .all(|folder| fs::metadata(folder).unwrap().mode() & 0o001 != 0);
        for name in ["bin", "lib", "pyvenv.cfg"] {
            let (from, to) = (venv().join(name), self.0.path().join(name));
            if open {
                symlink(from, to).unwrap();
            } else {
                copy(&from, &to);
            }
        }
    }

    /// Where the application keeps what it writes: FOLDER for its Python.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Leaves the data to the web server's user, who runs the application in some of the ways.
    pub(crate) fn give_away(&self) {
        if let Some(user) = server_user() {
            let data = self.data();
            must(Command::new("chown").arg("-R").arg(user).arg(&data));
        }
    }

    fn file(&self, name: &str) -> String {
        self.0.at(name)
    }
}

/// A whole folder or a file, as links to the same files where both are on one disk.
fn copy(from: &Path, to: &Path) {
    let mut all = vec!["-RL"];
    if fs::metadata(from).unwrap().dev() == fs::metadata(to.parent().unwrap()).unwrap().dev() {
        all.push("--link");
    }
    must(Command::new("cp").args(all).arg(from).arg(to));
}

fn must(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A site that is being served.
pub(crate) struct Served {
    server: Server,
    _gateway: Option<Gateway>,
}

impl Served {
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

/// A way to serve a site at the root (`""`) or at `/app`. `None`: something that it takes is not installed.
pub(crate) type Way = fn(&Site, &str) -> Option<Served>;

/// nginx before a gateway that runs.
pub(crate) fn behind_nginx(site: &Site, prefix: &str) -> Option<Served> {
    program("nginx")?;
    let name = ["nginx.conf", "nginx-prefix.conf"][usize::from(!prefix.is_empty())];
    // The port is not 80, so that its comment applies: the application must be told it.
    let conf = Conf::read(name).put("/etc/nginx/fastcgi_params;", "/etc/nginx/fastcgi.conf;");
    let gateway = running(site);
    Some(Served {
        server: nginx::start(&conf, &gateway),
        _gateway: Some(gateway),
    })
}

/// A gateway that runs, for the servers that want one.
fn running(site: &Site) -> Gateway {
    gateway(&site.file("app.py"), &["--threads", "2"])
}
