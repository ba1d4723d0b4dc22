//! The control socket of a gateway: where it is, and the process that answers there.

use crate::config::{Config, ControlChoice};
use crate::control::{About, ControlPlace, observe};
use crate::process::{self, Address, BindError, Bound, ObserverArgs, SocketOwner};
use crate::worker::Failure;

/// Connections that may wait to be taken.
const BACKLOG: i32 = 64;

/// Makes the control socket, and the sockets for figures alone. One that nobody has named is done without where it cannot be made.
///
/// # Errors
/// Why one cannot be made that was named.
pub(super) fn listen(config: &Config) -> Result<Vec<Bound>, Failure> {
    let control = &config.control;
    let place = match &control.place {
        ControlChoice::Off => ControlPlace::Off,
        ControlChoice::At(path) => ControlPlace::At(path.clone()),
        ControlChoice::Usual => ControlPlace::Usual(config.name()),
    };
    let owner = SocketOwner {
        mode: if control.group.is_some() {
            0o660
        } else {
            0o600
        },
        user: None,
        group: control.group.clone(),
    };
    let mut sockets = match (control_socket(&place, &owner), &place) {
        (Ok(sockets), _) => sockets,
        (Err(error), ControlPlace::Usual(_)) if control.group.is_none() => {
            log::warn!(
                "there is no control socket, so that 'wsgi-gateway status' and the others cannot ask: {error}; name a place with \
                 --control, or say --control off"
            );
            Vec::new()
        }
        (Err(error), _) => return Err(error),
    };
    for address in &control.metrics {
        sockets.extend(process::bind(&address.parse()?, BACKLOG, &owner)?);
    }
    Ok(sockets)
}

/// Looks whether the sockets could be made that were named.
///
/// # Errors
/// Why one could not.
pub(super) fn look(config: &Config) -> Result<(), Failure> {
    let owner = SocketOwner {
        mode: 0o600,
        user: None,
        group: None,
    };
    if let ControlChoice::At(path) = &config.control.place {
        process::look_at(&Address::Unix(path.clone()), &owner)?;
    }
    for address in &config.control.metrics {
        process::look_at(&address.parse()?, &owner)?;
    }
    Ok(())
}

fn control_socket(place: &ControlPlace, owner: &SocketOwner) -> Result<Vec<Bound>, Failure> {
    let paths = place.paths().map_err(anyhow::Error::from)?;
    let mut taken = Vec::new();
    for path in paths {
        match process::bind(&Address::Unix(path), BACKLOG, owner) {
            Err(error @ BindError::Taken { .. }) => taken.push(error),
            bound => return Ok(bound?),
        }
    }
    match taken.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(Vec::new()),
    }
}

/// Answers there. Gives the process's exit code.
pub(super) fn run(config: &Config, args: ObserverArgs) -> i32 {
    let about = About {
        name: config.name(),
        application: config.worker.name(),
        uid: args.owner,
    };
    match observe(args, about) {
        Ok(()) => 0,
        Err(error) => {
            log::error!("{error}");
            1
        }
    }
}
