//! What all workers of a service have in common: their settings, read to the end.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config::{ResponderSettings, WorkerSettings};
use crate::exit::Usage;
use crate::explain;
use crate::fastcgi::{AllowList, Handoff, Limits};

/// What all workers of a service have in common.
#[derive(Debug)]
pub struct FastcgiService {
    settings: WorkerSettings,
    allow: AllowList,
    limits: Limits,
    handoff: Option<Handoff>,
}

impl FastcgiService {
    /// A service of these settings. `handoff`: the channel on which workers pass connections on, where there is a master.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: WorkerSettings, handoff: Option<Handoff>) -> anyhow::Result<Self> {
        Ok(Self {
            allow: allow_list(&settings.responder)?,
            limits: limits(&settings)?,
            settings,
            handoff,
        })
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
            by_program: self.settings.for_cgi,
            mount: self.settings.mount.as_ref(),
        }
    }

    /// Whether the requests are those of CGI programs.
    pub(super) fn is_for_cgi(&self) -> bool {
        self.settings.for_cgi
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
///
/// # Errors
/// What cannot be read, or names nobody.
fn allow_list(settings: &ResponderSettings) -> anyhow::Result<AllowList> {
    let read = |text: &str, what: &str| {
        let list = text
            .parse::<AllowList>()
            .map_err(|error| Usage(format!("{what} cannot be read: {error}")))?;
        if list.is_empty() {
            return Err(Usage(format!(
                "{what} '{text}' names nobody: give addresses such as 127.0.0.1, or leave it out"
            )));
        }
        Ok(list)
    };
    let mut allow = AllowList::default();
    if let Some(text) = &settings.allow {
        allow.extend(read(text, "--allow")?);
    }
    if let Some(text) = std::env::var_os("FCGI_WEB_SERVER_ADDRS") {
        allow.extend(read(&text.to_string_lossy(), "FCGI_WEB_SERVER_ADDRS")?);
    }
    Ok(allow)
}

fn limits(settings: &WorkerSettings) -> anyhow::Result<Limits> {
    let for_cgi = settings.for_cgi;
    let settings = &settings.responder;
    Ok(Limits {
        for_cgi,
        params: usize::try_from(settings.max_params).context("--max-params")?,
        body: settings.max_body,
        buffer: usize::try_from(settings.buffer).context("--buffer")?.max(1),
        connections: settings.max_connections,
        unsent: usize::try_from(settings.max_unsent).context("--max-unsent")?,
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_connection_timeout,
        io_timeout: settings.io_timeout,
    })
}
