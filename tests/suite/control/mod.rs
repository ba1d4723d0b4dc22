//! The control socket: who answers there, whatever the workers do, and who may ask for what.

mod asks;
mod looks;
mod shows;
mod trusts;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::client::{Request, Response, fetch};
use crate::support::gateway::{Builder, Gateway, binary};

/// A gateway with a control socket in its own folder.
fn begin(builder: Builder) -> (Gateway, Control) {
    let socket = builder.folder().path().join("it.ctl");
    let gateway = builder.arg("--control").arg(&socket).start();
    let control = Control { socket };
    gateway.wait_for("it serves", || {
        (control.run(&["status"]).code == 0).then_some(())
    });
    (gateway, control)
}

/// What a command has said.
#[derive(Debug)]
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A control socket, as its user has it.
struct Control {
    socket: PathBuf,
}

/// Runs the program with these words.
fn run(words: &[&str]) -> Said {
    said(Command::new(binary()).args(words))
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Control {
    fn name(&self) -> &str {
        self.socket.to_str().unwrap()
    }

    /// Runs a command on this gateway: 'resize 3' of it is `&["resize", "3"]`.
    fn run(&self, words: &[&str]) -> Said {
        run(&[words, &[self.name()]].concat())
    }

    /// The same as another user.
    fn run_as(&self, uid: u32, gid: u32, words: &[&str]) -> Said {
        let mut command = Command::new(binary());
        said(command.args(words).arg(self.name()).uid(uid).gid(gid))
    }

    fn json(&self) -> Value {
        let said = self.run(&["status", "--json"]);
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
    }

    /// Asks by FastCGI, as a web server does.
    fn fetch(&self, path: &str) -> Response {
        fetch(&self.socket, &Request::get(path))
    }
}
