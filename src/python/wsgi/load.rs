//! Imports the application, and says in one sentence why where it cannot.

use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyAttributeError, PyModuleNotFoundError};
use pyo3::prelude::*;
use pyo3::types::PyModule;

use super::caller::end_child;
use super::errors::traceback;
use super::load_hints;
use super::runners::Runners;
use super::script::Script;
use crate::config::{ApplicationSource, Target};
use crate::exit::CannotLoad;
use crate::gateway::{closed, forked};

/// What the application's own code has raised.
fn raised(py: Python<'_>, error: &PyErr, doing: &str) -> CannotLoad {
    if forked::is_child() {
        end_child(py, Some(error));
    }
    let kind = error
        .get_type(py)
        .name()
        .map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    CannotLoad {
        sentence: format!("{doing} raised {kind}: {}", error.value(py)),
        traceback: Some(traceback(py, error)),
    }
}

/// The application's object, checked to be callable, and the file and type to tell the operator.
pub(super) struct Loaded {
    pub(super) application: Py<PyAny>,
    pub(super) file: String,
    pub(super) kind: String,
}

/// Imports the application.
pub(super) fn load(py: Python<'_>, target: &Target) -> Result<Loaded, CannotLoad> {
    let shown = match &target.source {
        ApplicationSource::Module(name) => format!("module '{name}'"),
        ApplicationSource::File(path) => format!("file '{}'", path.display()),
    };
    let refused = |error: PyErr| raised(py, &error, &format!("loading the {shown}"));
    let runners = Runners::hold(py).map_err(refused)?;
    let module = match &target.source {
        ApplicationSource::Module(name) => import(py, name, target),
        ApplicationSource::File(path) => run_file(py, path, &runners, target),
    };
    let told = runners.release(py);
    let module = module?;
    let told = told.map_err(refused)?;
    let (name, mut object) = match (&target.attribute, told) {
        // What the script itself would have served, were it run without the gateway.
        (None, Some(application)) => ("what it runs by itself".to_owned(), application),
        (_, _) => attribute(py, &module, target, &shown)?,
    };
    if target.is_factory {
        object = object
            .call0()
            .map_err(|error| raised(py, &error, &format!("calling the factory '{name}()'")))?;
    }
    let what = format!("'{name}' of {shown}");
    check_callable(&object, &what, target.is_factory)?;
    if !target.is_factory {
        if let Some(sentence) = load_hints::no_application(&object, &what, &name, target) {
            return Err(CannotLoad::new(sentence));
        }
    }
    let kind = object
        .get_type()
        .fully_qualified_name()
        .map(|name| name.to_string());
    let file = module
        .getattr("__file__")
        .and_then(|file| file.extract::<String>());
    Ok(Loaded {
        application: object.unbind(),
        file: file.unwrap_or_else(|_| "no file".to_owned()),
        kind: kind.unwrap_or_else(|_| "unknown".to_owned()),
    })
}

fn import<'py>(
    py: Python<'py>,
    name: &str,
    target: &Target,
) -> Result<Bound<'py, PyModule>, CannotLoad> {
    py.import(name).map_err(|error| {
        // Only the module itself, or a package above it: one that the application imports is an error inside it.
        let missing = missing(py, &error)
            .filter(|missing| name == missing || name.starts_with(&format!("{missing}.")));
        match missing {
            Some(missing) => CannotLoad::new(match closed_to(py, &missing) {
                Some(closed) => format!("the module '{missing}' is not found, and {closed}"),
                None => format!(
                    "there is no module named '{missing}' in {}: name its folder with --chdir or --pythonpath, or its \
                     virtual environment with --venv{}",
                    searched(py),
                    load_hints::venv_beside(py, target).unwrap_or_default()
                ),
            }),
            None => {
                let mut refused = raised(py, &error, &format!("importing '{name}'"));
                refused.sentence += &hint(py, &error, target);
                refused
            }
        }
    })
}

/// What is probably wrong where the application's own code has raised this.
fn hint(py: Python<'_>, error: &PyErr, target: &Target) -> String {
    let missing = || {
        let missing = missing(py, error)?;
        let closed = closed_to(py, &missing).map(|closed| format!("; {closed}"));
        closed.or_else(|| load_hints::venv_beside(py, target))
    };
    let hint = load_hints::hidden_module(py, error).or_else(missing);
    hint.unwrap_or_default()
}

/// What is closed where the module would be looked for: Python takes it for what does not exist.
fn closed_to(py: Python<'_>, name: &str) -> Option<String> {
    let path = py
        .import("sys")
        .and_then(|sys| sys.getattr("path")?.extract::<Vec<PathBuf>>());
    let inside: PathBuf = name.split('.').collect();
    path.unwrap_or_default().into_iter().find_map(|folder| {
        let package = folder.join(&inside).join("__init__.py");
        closed::to_read(&folder).or_else(|| closed::on_the_way(&package))
    })
}

/// The first folders of `sys.path`, which are those that an operator can mend.
fn searched(py: Python<'_>) -> String {
    let path = py
        .import("sys")
        .and_then(|sys| sys.getattr("path")?.extract::<Vec<String>>());
    path.unwrap_or_default().join(", ")
}

fn run_file<'py>(
    py: Python<'py>,
    path: &Path,
    runners: &Runners,
    target: &Target,
) -> Result<Bound<'py, PyModule>, CannotLoad> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        let reason = closed::to_read(path).unwrap_or_else(|| error.to_string());
        CannotLoad::new(format!(
            "the application file '{shown}' cannot be read: {reason}"
        ))
    };
    let source = std::fs::read(path).map_err(unreadable)?;
    let script = Script::find(path).map_err(unreadable)?;
    script
        .run(py, &source, &|| runners.has_run())
        .map_err(|error| {
            let mut refused = raised(py, &error, &format!("running the file '{shown}'"));
            let own = missing(py, &error).and_then(|name| script.hint(&name));
            refused.sentence += &match own {
                Some(own) => format!("; {own}"),
                None => hint(py, &error, target),
            };
            refused
        })
}

/// The module that was not found, where that is the error.
fn missing(py: Python<'_>, error: &PyErr) -> Option<String> {
    if !error.is_instance_of::<PyModuleNotFoundError>(py) {
        return None;
    }
    let name = error.value(py).getattr("name");
    name.and_then(|name| name.extract::<String>()).ok()
}

fn attribute<'py>(
    py: Python<'py>,
    module: &Bound<'py, PyModule>,
    target: &Target,
    shown: &str,
) -> Result<(String, Bound<'py, PyAny>), CannotLoad> {
    if let Some(name) = target.attribute.as_deref() {
        let mut object = module.as_any().clone();
        for part in name.split('.') {
            object = match object.getattr(part) {
                Ok(object) => object,
                Err(error) if !error.is_instance_of::<PyAttributeError>(py) => {
                    return Err(raised(
                        py,
                        &error,
                        &format!("looking up '{name}' in {shown}"),
                    ));
                }
                Err(_) => {
                    let near = load_hints::names_instead(py, &object, part, target);
                    return Err(CannotLoad::new(format!(
                        "{shown} has no attribute '{name}'{near}"
                    )));
                }
            };
        }
        return Ok((name.to_owned(), object));
    }
    for name in ["application", "app"] {
        if let Ok(object) = module.getattr(name) {
            return Ok((name.to_owned(), object));
        }
    }
    let near = load_hints::names_instead(py, module, "application", target);
    let way = match near.contains("looks like") {
        true => "",
        false => ": name the attribute behind a colon",
    };
    Err(CannotLoad::new(format!(
        "{shown} has neither 'application' nor 'app'{near}{way}"
    )))
}

fn check_callable(
    object: &Bound<'_, PyAny>,
    what: &str,
    is_factory: bool,
) -> Result<(), CannotLoad> {
    let what = if is_factory {
        format!("what {what} returned")
    } else {
        what.to_owned()
    };
    if !object.is_callable() {
        let kind = object
            .get_type()
            .name()
            .map_or_else(|_| "?".to_owned(), |name| name.to_string());
        return Err(CannotLoad::new(format!(
            "{what} is not a WSGI application: it is of type '{kind}', which cannot be called"
        )));
    }
    // Not by the inspect module, whose import costs a CGI request ten milliseconds.
    const CO_COROUTINE: u32 = 0x80;
    let is_async = |object: &Bound<'_, PyAny>| {
        let flags = object
            .getattr("__code__")
            .and_then(|code| code.getattr("co_flags"));
        flags
            .and_then(|flags| flags.extract::<u32>())
            .is_ok_and(|flags| flags & CO_COROUTINE != 0)
    };
    let call = object.get_type().getattr("__call__");
    // Its first answer would be a coroutine that nobody awaits.
    if is_async(object) || call.is_ok_and(|call| is_async(&call)) {
        return Err(CannotLoad::new(format!(
            "{what} is an asynchronous (ASGI) application: wrap it, for example with a2wsgi.ASGIMiddleware"
        )));
    }
    Ok(())
}
