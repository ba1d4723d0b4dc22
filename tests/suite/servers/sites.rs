//! Applications that are more than a file, with folders of their own, in every way that a web server and the gateway go together.
//! Knows nothing of what they are then asked.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use super::{Conf, Folder, Server, apache, gateway, lighttpd, nginx, program, server_user};
use crate::support::gateway::{Gateway, apps, venv};

/// The folder of an application, laid out so that nothing has to be said about Python: it is a virtual environment itself.
pub(crate) struct Site {
    folder: Folder,
    _packages: Option<Arc<Folder>>,
}

impl Site {
    /// With these modules of `tests/apps`. `begin` is Python that is run first; `application` is imported from `module`.
    pub(crate) fn new(modules: &[&str], begin: &str, module: &str) -> Site {
        let folder = Folder::new();
        for module in modules {
            copy(&apps().join(module), &folder.path().join(module));
        }
        let packages = (!is_open(&venv())).then(copy_of_venv);
        for name in VENV {
            let from = match &packages {
                Some(copy) => copy.path().join(name),
                None => venv().join(name),
            };
            symlink(from, folder.path().join(name)).unwrap();
        }
        let site = Site {
            folder,
            _packages: packages,
        };
        fs::create_dir(site.data()).unwrap();
        let program = site.folder.gateway_program();
        let folder = site.data();
        let text = format!(
            "#!{program}\nimport os\n\nFOLDER = {:?}\n{begin}\n\nfrom {module} import application\n",
            folder.to_str().unwrap()
        );
        // One for each: some servers go by the ending.
        for name in ["app.py", "app.cgi", "app.fcgi"] {
            site.folder.write_program(name, &text);
        }
        site
    }

    /// Where the application keeps what it writes: FOLDER for its Python.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Leaves the data to the web server's user, who runs the application in some of the ways.
    pub(crate) fn give_away(&self) {
        if let Some(user) = server_user() {
            let data = self.data();
            must(Command::new("chown").arg("-R").arg(user).arg(&data));
        }
    }

    fn at(&self, name: &str) -> String {
        self.folder.at(name)
    }

    /// A gateway that runs, for the servers that want one.
    fn running(&self) -> Gateway {
        gateway(&self.at("app.py"), &["--threads", "2"])
    }
}

/// What a virtual environment is made of.
const VENV: [&str; 3] = ["bin", "lib", "pyvenv.cfg"];

/// Whether everybody may enter a folder. Not below that of root, for example.
fn is_open(folder: &Path) -> bool {
    folder
        .ancestors()
        .all(|folder| fs::metadata(folder).unwrap().mode() & 0o001 != 0)
}

/// The tests' virtual environment where a web server's user can read it. Made once for all who need it at a time.
fn copy_of_venv() -> Arc<Folder> {
    static COPY: Mutex<Weak<Folder>> = Mutex::new(Weak::new());
    let mut copied = COPY.lock().unwrap();
    if let Some(folder) = copied.upgrade() {
        return folder;
    }
    let folder = Arc::new(Folder::new());
    for name in VENV {
        copy(&venv().join(name), &folder.path().join(name));
    }
    *copied = Arc::downgrade(&folder);
    folder
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
    let conf = of(prefix, "nginx.conf", "nginx-prefix.conf");
    let gateway = site.running();
    Some(Served {
        server: nginx::start(&conf, &gateway),
        _gateway: Some(gateway),
    })
}

/// Apache before a gateway that runs.
pub(crate) fn behind_mod_proxy_fcgi(site: &Site, prefix: &str) -> Option<Served> {
    let gateway = site.running();
    let way = match prefix {
        "" => apache::PROXY_PASS,
        _ => apache::PROXY_PASS_BELOW,
    };
    let conf = apache::proxy_fcgi(&[way])
        .replace("/run/wsgi-gateway.sock", gateway.socket().to_str().unwrap());
    Some(Served {
        server: apache::serve("event", "cgid", 1, |_| vec![conf.clone()])?,
        _gateway: Some(gateway),
    })
}

/// Apache that starts gateways and keeps them.
pub(crate) fn behind_mod_fcgid(site: &Site, prefix: &str) -> Option<Served> {
    started_by_apache(site, &apache::fcgid(prefix, false))
}

/// Apache that starts a gateway for each request.
pub(crate) fn behind_mod_cgid(site: &Site, prefix: &str) -> Option<Served> {
    started_by_apache(site, &apache::cgi(prefix))
}

/// Apache that runs `app.cgi` or `app.fcgi` itself.
fn started_by_apache(site: &Site, conf: &str) -> Option<Served> {
    let conf = conf.replace("/srv/app", site.folder.path().to_str().unwrap());
    Some(Served {
        server: apache::serve("event", "cgid", 1, |_| vec![conf.clone()])?,
        _gateway: None,
    })
}

/// lighttpd before a gateway that runs.
pub(crate) fn behind_lighttpd(site: &Site, prefix: &str) -> Option<Served> {
    program("lighttpd")?;
    let gateway = site.running();
    let conf = of(prefix, "lighttpd.conf", "lighttpd-prefix.conf");
    Some(Served {
        server: lighttpd::external(&conf, &gateway),
        _gateway: Some(gateway),
    })
}

/// The file of `conf/` for an application that has the whole site, or for one that is at `/app`.
fn of(prefix: &str, whole: &'static str, below: &'static str) -> Conf {
    Conf::read(if prefix.is_empty() { whole } else { below })
}
