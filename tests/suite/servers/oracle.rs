//! The reference: the same application on a plain WSGI server (`reference.py`), asked the same things.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::gateway::apps;

/// A running reference server. Dropping it ends it.
pub(crate) struct Oracle {
    child: Child,
    address: SocketAddr,
}

impl Oracle {
    pub(crate) fn start(app: &str, mount: &str) -> Oracle {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/servers/reference.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(apps().join(app).with_extension("py"))
            .arg(mount)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It says its port once it listens.
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the reference server's port");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Oracle { child, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
