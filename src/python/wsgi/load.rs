//! Imports the application, and says in one sentence why where it cannot.

use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyAttributeError, PyModuleNotFoundError};
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyType};

use super::caller::end_child;
use super::errors::traceback;
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
        ApplicationSource::Module(name) => import(py, name),
        ApplicationSource::File(path) => run_file(py, path, &runners),
    };
    let told = runners.release(py);
    let module = module?;
    let told = told.map_err(refused)?;
    let (name, mut object) = match (&target.attribute, told) {
        // What the script itself would have served, were it run without the gateway.
        (None, Some(application)) => ("what it runs by itself".to_owned(), application),
        (named, _) => attribute(py, &module, named.as_deref(), &shown)?,
    };
    if target.is_factory {
        object = object
            .call0()
            .map_err(|error| raised(py, &error, &format!("calling the factory '{name}()'")))?;
    }
    check_callable(&object, &format!("'{name}' of {shown}"), target.is_factory)?;
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

fn import<'py>(py: Python<'py>, name: &str) -> Result<Bound<'py, PyModule>, CannotLoad> {
    py.import(name).map_err(|error| {
        // Only the module itself, or a package above it: one that the application imports is an error inside it.
        let missing = missing(py, &error)
            .filter(|missing| name == missing || name.starts_with(&format!("{missing}.")));
        match missing {
            Some(missing) => CannotLoad::new(match closed_to(py, &missing) {
                Some(closed) => format!("the module '{missing}' is not found, and {closed}"),
                None => format!(
                    "there is no module named '{missing}' in {}: name its folder with --chdir or --pythonpath, or its \
                     virtual environment with --venv",
                    searched(py)
                ),
            }),
            None => raised(py, &error, &format!("importing '{name}'")),
        }
    })
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
            if let Some(hint) = missing(py, &error).and_then(|name| script.hint(&name)) {
                refused.sentence = format!("{}; {hint}", refused.sentence);
            }
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
    named: Option<&str>,
    shown: &str,
) -> Result<(String, Bound<'py, PyAny>), CannotLoad> {
    if let Some(name) = named {
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
                    let near = near_names(py, &object, part);
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
    let near = near_names(py, module, "application");
    Err(CannotLoad::new(format!(
        "{shown} has neither 'application' nor 'app'{near}: name the attribute behind a colon"
    )))
}

/// `; near it are 'a' and 'b'`, of the object's callables.
fn near_names(py: Python<'_>, object: &Bound<'_, PyAny>, name: &str) -> String {
    let names = || -> PyResult<Vec<String>> {
        let callables: Vec<String> = object
            .dir()?
            .iter()
            .filter_map(|name| name.extract::<String>().ok())
            .filter(|name| !name.starts_with('_'))
            .filter(|name| {
                object
                    .getattr(name.as_str())
                    .is_ok_and(|value| value.is_callable() && !is_class(&value))
            })
            .collect();
        let close = py.import("difflib")?.getattr("get_close_matches")?;
        let close: Vec<String> = close.call1((name, &callables))?.extract()?;
        Ok(if close.is_empty() {
            callables.into_iter().take(5).collect()
        } else {
            close
        })
    };
    match names() {
        Ok(names) if !names.is_empty() => format!("; it has '{}'", names.join("', '")),
        _ => String::new(),
    }
}

fn is_class(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyType>()
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
