//! What the operator has said as what the program needs: from here on nobody sees a command line.

use std::io::ErrorKind;
use std::path::Path;

use super::control::{StopOptions, act};
use super::options::{Cli, DoorCommand, DoorOptions, FastcgiOptions, ResponderOptions};
use super::process::ProcessOptions;
use crate::config::{
    self, Config, ControlChoice, ControlSettings, Invocation, ListenSettings, LogSettings,
    MasterSettings, Operation, PythonSettings, RecyclingSettings, ResponderSettings,
    SettingOrigins, TimeSettings, WorkerSettings,
};

/// The parts of one door, or those that a door does without as they are without a word.
struct Parts {
    door: config::Door,
    app: Option<std::ffi::OsString>,
    general: DoorOptions,
    process: ProcessOptions,
    responder: ResponderOptions,
    explain: bool,
    persistent: bool,
    shows_all: bool,
    listen: ListenSettings,
    control: ControlSettings,
}

/// Of what the command line, the environment and the file say.
pub(super) fn invocation(cli: Cli) -> Invocation {
    match cli.door {
        Some(DoorCommand::Ps(options)) => operate(Operation::Ps { json: options.json }),
        Some(DoorCommand::Status(options)) => operate(options.operation()),
        Some(DoorCommand::Top(which)) => operate(Operation::Top {
            gateway: which.gateway,
        }),
        Some(DoorCommand::Reload(which)) => operate(act(which, "reload")),
        Some(DoorCommand::Stacks(options)) => operate(options.operation()),
        Some(DoorCommand::Resize(options)) => operate(options.operation()),
        Some(DoorCommand::Reopen(which)) => operate(act(which, "reopen")),
        Some(DoorCommand::Stop(StopOptions { gateway, all })) => {
            operate(Operation::Stop { gateway, all })
        }
        Some(DoorCommand::Conf(options)) => Invocation::Conf(Box::new(options.settings())),
        Some(DoorCommand::Get(options)) => Invocation::Get(Box::new(options.settings())),
        Some(DoorCommand::Try(options)) => Invocation::Try(Box::new(options.settings())),
        _ => Invocation::Serve(Box::new(config(cli))),
    }
}

fn operate(operation: Operation) -> Invocation {
    Invocation::Operate(operation)
}

fn config(cli: Cli) -> Config {
    let Cli {
        door,
        app,
        persistence,
        general,
        process,
        responder,
        told,
        file,
        mut warnings,
        mistyped,
    } = cli;
    let nowhere = ListenSettings {
        bind: Vec::new(),
        backlog: 0,
        socket_mode: 0,
        socket_user: None,
        socket_group: None,
    };
    let unsaid = Parts {
        door: config::Door::Unsaid,
        app,
        general,
        process,
        responder,
        explain: false,
        persistent: persistence.persistent,
        shows_all: false,
        listen: nowhere,
        control: ControlSettings {
            place: ControlChoice::Usual,
            ..ControlSettings::off()
        },
    };
    let parts = match door {
        None => unsaid,
        Some(DoorCommand::Cgi(options)) => Parts {
            door: config::Door::Cgi,
            app: Some(options.application.app),
            general: options.application.general,
            process: options.process,
            responder: options.responder,
            persistent: options.persistence.persistent,
            ..unsaid
        },
        Some(DoorCommand::Explain(options)) => Parts {
            door: config::Door::Explain,
            app: None,
            general: options.general,
            explain: true,
            persistent: false,
            ..unsaid
        },
        Some(DoorCommand::Fastcgi(options)) => fastcgi(config::Door::Fastcgi, *options),
        Some(DoorCommand::Check(options)) => Parts {
            persistent: options.persistence.persistent,
            shows_all: options.all,
            ..fastcgi(config::Door::Check, options.fastcgi)
        },
        // No doors.
        Some(_) => unsaid,
    };
    warn_of_missing(&parts.general, &mut warnings);
    let origins = SettingOrigins::of(&told);
    let worker = worker(&parts, origins);
    let mut config = Config {
        door: parts.door,
        listen: parts.listen,
        control: parts.control,
        persistent: parts.persistent,
        master: master(parts.process),
        shows_all: parts.shows_all,
        worker,
        in_force: told,
        file,
        warnings,
        mistyped,
    };
    config.worker.gateway = config.name();
    config
}

/// Warns of folders that are not there: Python says nothing of them.
fn warn_of_missing(general: &DoorOptions, warnings: &mut Vec<String>) {
    let start = general.chdir.as_deref().unwrap_or(Path::new(""));
    for named in &general.pythonpath {
        let found = std::fs::metadata(start.join(named));
        if found.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            warnings.push(format!(
                "there is no folder {} of --pythonpath: name another, or leave it out",
                named.display()
            ));
        }
    }
}

fn fastcgi(door: config::Door, options: FastcgiOptions) -> Parts {
    Parts {
        door,
        app: Some(options.application.app),
        general: options.application.general,
        process: options.process,
        responder: options.responder,
        explain: options.explain,
        persistent: false,
        control: options.control.settings(),
        shows_all: false,
        listen: ListenSettings {
            bind: options.bind,
            backlog: options.backlog,
            socket_mode: options.socket_mode,
            socket_user: options.socket_user,
            socket_group: options.socket_group,
        },
    }
}

fn master(options: ProcessOptions) -> MasterSettings {
    MasterSettings {
        workers: options.workers.map(usize::from),
        min_workers: options.min_workers.map(usize::from),
        idle_timeout: options.idle_timeout,
        preload: options.preload,
        startup_timeout: options.startup_timeout,
        worker_output: options.worker_output,
        pid: options.pid,
        user: options.user,
        group: options.group,
        no_new_privileges: options.no_new_privileges,
        umask: options.umask,
        max_open_files: options.max_open_files,
    }
}

fn worker(parts: &Parts, origins: SettingOrigins) -> WorkerSettings {
    let Parts {
        general,
        process,
        responder,
        ..
    } = parts;
    WorkerSettings {
        gateway: String::new(),
        app: parts.app.clone().unwrap_or_default(),
        explain: parts.explain,
        for_cgi: None,
        python: PythonSettings {
            program: general.python.clone(),
            venv: general.venv.clone(),
            path: general.pythonpath.clone(),
        },
        chdir: general.chdir.clone(),
        mount: general
            .script_name
            .as_ref()
            .or(general.mount.as_ref())
            .cloned(),
        debug: general.debug,
        log: LogSettings {
            level: general.log_level,
            name: (parts.control.name.clone())
                .or_else(|| Some(parts.app.as_ref()?.to_string_lossy().into_owned()))
                .unwrap_or_default(),
            format: general.log_format,
            file: general.log_file.clone(),
            limit: None,
        },
        access_log: responder.access_log.settings(),
        threads: usize::from(responder.threads),
        responder: ResponderSettings {
            buffer: responder.buffer,
            max_params: responder.max_params,
            max_body: responder.max_body,
            max_unsent: responder.max_unsent,
            max_connections: usize::try_from(responder.max_connections).unwrap_or(usize::MAX),
            header_timeout: responder.header_timeout,
            idle_connection_timeout: responder.idle_connection_timeout,
            io_timeout: responder.io_timeout,
            allow: responder.allow.clone(),
        },
        times: TimeSettings {
            request: process.request_timeout,
            kill_after: process.kill_after,
            slow: process.slow_log,
            grace: process.graceful_timeout,
        },
        recycling: RecyclingSettings {
            requests: process.max_requests,
            jitter: process.max_requests_jitter,
            lifetime: process.max_lifetime,
            rss: process.max_rss,
        },
        reload: process.reload,
        origins,
    }
}
