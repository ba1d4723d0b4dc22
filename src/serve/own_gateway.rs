//! A gateway of a command's own: in a folder that goes with it, on a socket there, with the options that the command was given for it.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use tempfile::TempDir;

use super::core::Installation;
use crate::process::Attended;

/// The gateway and its folder, in this order: the process ends before the folder goes.
pub(super) struct OwnGateway {
    gateway: Attended,
    /// Where it says that it is ready, as it says it to systemd (sd_notify(3)).
    ready: UnixDatagram,
    is_ready: bool,
    folder: TempDir,
}

impl OwnGateway {
    /// Starts `wsgi-gateway fastcgi` with the options that were told, and those of `usual` about which nothing was. What it logs goes to
    /// standard error. `group`: whose processes may connect, too.
    ///
    /// # Errors
    /// When there can be no folder, or no more processes.
    pub(super) fn start(
        app: &OsString,
        told: &[OsString],
        usual: &[&str],
        group: Option<&str>,
    ) -> io::Result<Self> {
        let folder = TempDir::with_prefix("wsgi-gateway-")?;
        if group.is_some() {
            fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
        }
        let notices = folder.path().join("notices.sock");
        let ready = UnixDatagram::bind(&notices)?;
        ready.set_nonblocking(true)?;
        let mut command = Command::new(Installation::find().program());
        let mut bind = OsString::from("--bind=unix:");
        bind.push(folder.path().join(SOCKET));
        command.arg("fastcgi").arg(bind).args(told);
        let is_told = |option: &str| {
            let name = option.split('=').next().unwrap_or(option);
            let mut names = told.iter().map(|word| word.to_string_lossy());
            names.any(|word| word.split('=').next() == Some(name))
        };
        command.args(usual.iter().filter(|option| !is_told(option)));
        command.args(group.map(|group| format!("--socket-group={group}")));
        // Whatever the file of --config and the environment say of it.
        command.env_remove("WSGI_GATEWAY_BIND").arg(app);
        command
            .env("NOTIFY_SOCKET", notices)
            .env_remove("WATCHDOG_USEC");
        let gateway = Attended::start(command)?;
        Ok(Self {
            gateway,
            ready,
            is_ready: false,
            folder,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Whether the application is loaded, so that a request is one for it.
    pub(super) fn is_ready(&mut self) -> bool {
        let mut bytes = [0; 4096];
        while let Ok(count) = self.ready.recv(&mut bytes) {
            let mut lines = bytes[..count].split(|byte| *byte == b'\n');
            self.is_ready |= lines.any(|line| line == b"READY=1");
        }
        self.is_ready
    }

    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.gateway.ended()
    }
}

const SOCKET: &str = "gateway.sock";
