//! What all workers of a service have in common: their settings, read to the end.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use crate::config::WorkerSettings;
use crate::explain;
use crate::fastcgi::{AllowError, AllowList, Handoff, Limits};

/// What all workers of a service have in common.
#[derive(Debug)]
pub struct FastcgiService {
    settings: WorkerSettings,
    allow: AllowList,
    limits: Limits,
    handoff: Option<Handoff>,
    lines: Option<Arc<OwnedFd>>,
}

impl FastcgiService {
    /// A service of these settings. `handoff`: the channel on which workers pass connections on, where there is a master.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: WorkerSettings, handoff: Option<Handoff>) -> Result<Self, Failure> {
        Ok(Self {
            allow: allow_list(&settings)?,
            limits: limits(&settings)?,
            settings,
            handoff,
            lines: None,
        })
    }

    /// The same whose workers send lines of requests there, as the access log wants them; without a master they write them
    /// themselves.
    pub fn sending_lines(self, lines: Option<Arc<OwnedFd>>) -> Self {
        Self { lines, ..self }
    }

    /// Where workers send lines of requests.
    pub fn line_sender(&self) -> Option<&OwnedFd> {
        self.lines.as_deref()
    }

    /// The same with no more connections than so many open files allow, which is said here, once.
    pub fn fit(&mut self, open_files: impl FnOnce(u64) -> u64) {
        // A slow web server's connection may have a file beside it, with what it has not taken yet.
        let wanted = 2 * self.limits.connections as u64 + 128;
        self.limits.fit(open_files(wanted));
        self.settings.responder.max_connections = self.limits.connections;
    }

    /// What the operator has decided.
    pub fn settings(&self) -> &WorkerSettings {
        &self.settings
    }

    /// Whether only some hosts may connect over TCP.
    pub fn has_allow_list(&self) -> bool {
        !self.allow.is_empty()
    }

    pub(super) fn allow(&self) -> AllowList {
        self.allow.clone()
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// The channel on which workers pass connections on.
    pub fn handoff(&self) -> Option<&Handoff> {
        self.handoff.as_ref()
    }

    pub(super) fn threads(&self) -> usize {
        self.settings.threads
    }

    /// What explains requests has to know.
    pub(super) fn gateway(&self) -> explain::Gateway<'_> {
        explain::Gateway {
            by_program: self.is_for_cgi(),
            mount: self.settings.mount.as_ref(),
        }
    }

    /// Whether the requests are those of CGI programs.
    pub(super) fn is_for_cgi(&self) -> bool {
        self.settings.for_cgi.is_some()
    }

    /// Whether the master wants to know the application's files, to reload when they change. It takes them for an attack
    /// where it does not.
    pub fn watches_files(&self) -> bool {
        self.settings.reload && !self.settings.explain
    }

    /// Whether this file lies where the operator says that the application does.
    pub(super) fn is_own(&self, file: &str) -> bool {
        let settings = &self.settings;
        let beside = Path::new(&settings.app).parent().map(Path::to_owned);
        let mut folders = vec![PathBuf::from(".")];
        folders.extend(beside.filter(|folder| !folder.as_os_str().is_empty()));
        folders.extend(settings.python.path.iter().cloned());
        let absolute = folders
            .iter()
            .filter_map(|folder| std::path::absolute(folder).ok());
        absolute
            .into_iter()
            .any(|folder| Path::new(file).starts_with(folder))
    }
}

/// Who may connect over TCP.
fn allow_list(settings: &WorkerSettings) -> Result<AllowList, AllowError> {
    let mut allow = AllowList::of_user(settings.for_cgi);
    let settings = &settings.responder;
    if let Some(text) = &settings.allow {
        allow.extend(AllowList::read("--allow", text)?);
    }
    let variable = "FCGI_WEB_SERVER_ADDRS";
    if let Some(text) = std::env::var_os(variable) {
        allow.extend(AllowList::read(variable, &text.to_string_lossy())?);
    }
    Ok(allow)
}

fn limits(settings: &WorkerSettings) -> Result<Limits, Failure> {
    let for_cgi = settings.for_cgi.is_some();
    let settings = &settings.responder;
    let bytes = |option, number: u64| {
        usize::try_from(number).map_err(|error| Failure::Number { option, error })
    };
    Ok(Limits {
        for_cgi,
        params: bytes("--max-params", settings.max_params)?,
        body: settings.max_body,
        buffer: bytes("--buffer", settings.buffer)?.max(1),
        connections: settings.max_connections,
        unsent: bytes("--max-unsent", settings.max_unsent)?,
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_connection_timeout,
        io_timeout: settings.io_timeout,
    })
}
