//! The FastCGI door: sockets, and behind them a master with its workers; or this process alone, where the web server
//! manages the processes.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::control;
use super::folder::WorkingFolder;
use super::launcher::Launcher;
use crate::config::{
    Config, IDLE_TIMEOUT, ListenSettings, MasterSettings, Target, TargetError, WorkerSettings,
};
use crate::exit::{Exit, UsageError};
use crate::logging;
use crate::process::{
    self, AccountFile, Address, AddressError, Ending, Identity, IdentityError, Listening, Master,
    PidFile, PidFileError, Plan, SocketOwner,
};
use crate::worker::Failure;

/// How long those who come are told why the application cannot be loaded, before that is tried again.
const FAILURE_SHOWN: Duration = Duration::from_secs(1);

/// Serves on the addresses of `--bind`, or on standard input.
///
/// # Errors
/// What keeps it from serving.
pub(super) fn run(config: &Config) -> Result<Exit, Failure> {
    let listen = &config.listen;
    if listen.bind.is_empty() {
        if !process::is_listening(io::stdin().as_fd()) {
            return Err(UsageError::NoAddress.into());
        }
        return run_spawned(config);
    }
    let addresses = addresses(listen)?;
    know_application(&config.worker)?;
    let owner = socket_owner(listen);
    let (folder, identity) = begin(config)?;
    let launcher = Launcher::new(config, true, folder, &identity)?;
    let listening = Listening::bind(&addresses, listen.backlog, &owner)?;
    serve(listening, identity, &launcher, None)
}

/// The addresses of `--bind`.
///
/// # Errors
/// The first that is none, or stands there already.
pub(super) fn addresses(listen: &ListenSettings) -> Result<Vec<Address>, AddressError> {
    let mut addresses: Vec<Address> = Vec::new();
    for address in &listen.bind {
        let address: Address = address.parse()?;
        if addresses.contains(&address) {
            return Err(AddressError::Twice(address));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Whose a Unix socket is to be.
pub(super) fn socket_owner(listen: &ListenSettings) -> SocketOwner {
    SocketOwner {
        mode: listen.socket_mode,
        user: listen.socket_user.clone(),
        group: listen.socket_group.clone(),
    }
}

/// As whom workers run.
///
/// # Errors
/// When there is no such user or group, or when this process may not become it.
pub(super) fn identity(process: &MasterSettings) -> Result<Identity, IdentityError> {
    let identity = Identity::new(
        process.user.as_deref(),
        process.group.as_deref(),
        process.umask,
        process.max_open_files,
    )?;
    Ok(identity.without_new_privileges(process.no_new_privileges))
}

/// Serves on standard input, the listening socket that the web server started this process with. It manages the
/// processes itself and may have started others, so that there is a master only where `--workers` asks for one.
///
/// # Errors
/// What keeps it from serving.
pub(super) fn run_spawned(config: &Config) -> Result<Exit, Failure> {
    know_application(&config.worker)?;
    let (folder, identity) = begin(config)?;
    let has_master = config.master.workers.is_some();
    let launcher = Launcher::new(config, has_master, folder, &identity)?;
    let listening = Listening::on(process::inherited(0)?);
    if has_master {
        return serve(listening, identity, &launcher, None);
    }
    let pid_file = write_pid_file(&config.master)?;
    warn_of_root(&identity);
    identity.take_on()?;
    let code = launcher.work_alone(listening.into_sockets(), pid_file.as_ref());
    Ok(Exit::from_code(code))
}

/// Serves requests of CGI programs until there are none any more, on the socket that is standard input.
///
/// # Errors
/// What keeps it from serving.
pub(super) fn run_for_cgi(
    config: &Config,
    socket: &Path,
    account: Option<AccountFile>,
) -> Result<Exit, Failure> {
    let own = process::inherited(0)?;
    let listening = Listening::on_own(own, socket)
        .with_context(|| format!("the socket {} cannot be used", socket.display()))?;
    let (folder, identity) = begin(config)?;
    let launcher = Launcher::new(config, true, folder, &identity)?;
    serve(listening, identity, &launcher, account)
}

/// What comes first, with and without a master.
fn begin(config: &Config) -> Result<(WorkingFolder, Identity), Failure> {
    let folder = WorkingFolder::begin(&config.worker)?;
    let identity = identity(&config.master)?;
    Ok((folder, identity))
}

fn warn_of_root(identity: &Identity) {
    if identity.is_root() {
        log::warn!(
            "the application runs as root: give --user, so that a fault of it is not the whole machine's"
        );
    }
}

/// Whether APP names an application, which every process of it would find out else.
///
/// # Errors
/// When it does not.
pub(super) fn know_application(settings: &WorkerSettings) -> Result<(), TargetError> {
    match settings.explain {
        true => Ok(()),
        false => Target::parse(&settings.app).map(drop),
    }
}

fn write_pid_file(process: &MasterSettings) -> Result<Option<PidFile>, PidFileError> {
    let path = process.pid.as_deref();
    path.map(PidFile::write).transpose()
}

fn serve(
    listening: Listening,
    identity: Identity,
    launcher: &Launcher<'_>,
    account: Option<AccountFile>,
) -> Result<Exit, Failure> {
    let (service, process) = (launcher.service(), &launcher.config().master);
    let settings = service.settings();
    let sockets = listening.sockets();
    if !service.has_allow_list() && sockets.iter().any(|bound| bound.tcp) {
        log::warn!(
            "listening on TCP for every host that can reach it: name the web servers with --allow or \
             FCGI_WEB_SERVER_ADDRS"
        );
    }
    let control = control::listen(launcher.config())?;
    let lives_by_itself = settings.for_cgi.is_some();
    let _pid_file = write_pid_file(process)?;
    warn_of_root(&identity);
    let (min, max) = launcher.sizes();
    let plan = Plan {
        name: settings.name(),
        min,
        max,
        threads: settings.threads,
        idle_timeout: process.idle_timeout.unwrap_or(IDLE_TIMEOUT),
        startup_timeout: process.startup_timeout,
        graceful_timeout: settings.times.grace,
        request_timeout: (settings.times.request).map(|limit| limit + settings.times.kill_after),
        has_control: !control.is_empty(),
        ends_when_idle: lives_by_itself,
        failure_shown: lives_by_itself.then_some(FAILURE_SHOWN),
        preload: process.preload && !settings.explain,
        watch_files: service.watches_files(),
        show_trouble: settings.reload && settings.debug,
        worker_output: logging::line_form(process.worker_output),
        identity,
    };
    let passed_on = launcher.passed_on()?;
    let mut master = Master::new(plan, launcher, listening, passed_on, &logging::reopen)
        .context("the master cannot start")?
        .writing_lines_by(launcher.take_line_writer())
        .observed_at(control);
    if let Some(account) = account {
        master = master.accounting_in(account);
    }
    let ending = master.run();
    if matches!(ending, Ending::Finished | Ending::Cut) {
        log::info!("ended");
    }
    Ok(match ending {
        Ending::Finished => Exit::Fine,
        Ending::Cut => Exit::Failed,
        Ending::CannotLoad => Exit::CannotLoad,
        Ending::Failed(code) => Exit::from_code(code),
    })
}
