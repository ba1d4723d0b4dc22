//! What is probably meant where an application cannot be loaded, for the end of the sentence that says so.

use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyAttributeError, PyImportError};
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyTuple, PyType};

use crate::config::{ApplicationSource, Target};

/// Names under which people make virtual environments.
const VENVS: [&str; 4] = ["venv", ".venv", "env", ".env"];

/// `; a virtual environment is in ...`, where one lies beside the application that is not this Python's.
pub(super) fn venv_beside(py: Python<'_>, target: &Target) -> Option<String> {
    let sys = py.import("sys").ok()?;
    let prefix: PathBuf = sys.getattr("prefix").ok()?.extract().ok()?;
    let mut folders = target.folders().ok()?;
    let first: Vec<PathBuf> = search_path(py);
    folders.extend(first.into_iter().take(2));
    let mut places = folders
        .iter()
        .flat_map(|folder| VENVS.map(|name| folder.join(name)));
    let found = places.find(|venv| venv.join("pyvenv.cfg").is_file() && *venv != prefix)?;
    let found = found.display();
    Some(format!(
        "; a virtual environment is in {found}: --venv {found}"
    ))
}

/// `; /srv/flask.py hides the package 'flask' of ...`, where the name that the error is about is that of a file which stands in front of
/// what was meant.
pub(super) fn hidden_module(py: Python<'_>, error: &PyErr) -> Option<String> {
    let value = error.value(py);
    let name = if error.is_instance_of::<PyImportError>(py) {
        value.getattr("name").ok()?.extract::<String>().ok()?
    } else if error.is_instance_of::<PyAttributeError>(py) {
        // It has the module's name in its text alone.
        let text = value.to_string();
        let (_, rest) = text.split_once("module '")?;
        rest.split_once('\'')?.0.to_owned()
    } else {
        return None;
    };
    let name = name.split('.').next()?;
    let places = search_path(py);
    let mut found = places.iter().filter_map(|folder| module_in(folder, name));
    let (hides, _) = found.next().filter(|(_, is_package)| !is_package)?;
    let (hidden, is_package) = found.find(|(path, _)| *path != hides)?;
    let kind = if is_package { "package" } else { "module" };
    Some(format!(
        "; the file {} hides the {kind} '{name}' of {}: rename it",
        hides.display(),
        hidden.parent().unwrap_or(&hidden).display()
    ))
}

/// What `import` would find for this name in this folder, and whether it is a package.
fn module_in(folder: &Path, name: &str) -> Option<(PathBuf, bool)> {
    let package = folder.join(name);
    if package.join("__init__.py").is_file() {
        return Some((package, true));
    }
    let file = folder.join(format!("{name}.py"));
    file.is_file().then_some((file, false))
}

fn search_path(py: Python<'_>) -> Vec<PathBuf> {
    let path = py
        .import("sys")
        .and_then(|sys| sys.getattr("path")?.extract());
    path.unwrap_or_default()
}

/// How many arguments without a name something takes.
#[derive(Clone, Copy)]
pub(super) struct ArgumentCount {
    least: usize,
    /// Nothing where there may be any number.
    most: Option<usize>,
    /// Whether there are others that have to be given by name.
    needs_names: bool,
}

impl ArgumentCount {
    /// That of a function or method that is written in Python. Nothing of what may have other ways to be called: a class, an object
    /// with `__call__`, what is written in C.
    pub(super) fn of(object: &Bound<'_, PyAny>) -> Option<Self> {
        let is = |name: &str| {
            let kind = object.get_type();
            kind.fully_qualified_name().is_ok_and(|found| found == name)
        };
        let (function, bound) = match (is("function"), is("method")) {
            (true, _) => (object.clone(), 0),
            (_, true) => (object.getattr("__func__").ok()?, 1),
            _ => return None,
        };
        /// CO_VARARGS (inspect).
        const ANY_NUMBER: u32 = 0x04;
        let code = function.getattr("__code__").ok()?;
        let number = |name: &str| {
            code.getattr(name)
                .and_then(|found| found.extract::<usize>())
                .ok()
        };
        let flags: u32 = code.getattr("co_flags").ok()?.extract().ok()?;
        let defaults = function.getattr("__defaults__").ok()?;
        let defaults = defaults
            .cast::<PyTuple>()
            .map_or(0, |defaults| defaults.len());
        let named = function.getattr("__kwdefaults__").ok()?;
        let named = named.len().unwrap_or(0);
        let all = number("co_argcount")?;
        Some(Self {
            least: all.saturating_sub(defaults).saturating_sub(bound),
            most: (flags & ANY_NUMBER == 0).then(|| all.saturating_sub(bound)),
            needs_names: number("co_kwonlyargcount")? > named,
        })
    }

    /// Whether it can be called with so many.
    fn takes(self, count: usize) -> bool {
        !self.needs_names && self.least <= count && self.most.is_none_or(|most| count <= most)
    }
}

/// What to say of what is to be called as an application, `environ` and `start_response` being given to it, and cannot be.
pub(super) fn no_application(
    object: &Bound<'_, PyAny>,
    what: &str,
    name: &str,
    target: &Target,
) -> Option<String> {
    let count = ArgumentCount::of(object)?;
    if !count.takes(2) {
        return Some(match count.takes(0) {
            true => format!(
                "{what} takes no environ and start_response: for a factory write '{}'",
                call(target, name)
            ),
            false => format!(
                "{what} takes {}, and an application takes two, environ and start_response",
                counted(count)
            ),
        });
    }
    // One that has its arguments' defaults: nobody writes an application so.
    if count.takes(0) && count.most.is_some() && is_named_like_a_factory(name) {
        log::warn!(
            "{what} can be called without environ and start_response: if it is a factory, write '{}'",
            call(target, name)
        );
    }
    None
}

fn counted(count: ArgumentCount) -> String {
    match count.least {
        _ if count.needs_names => "arguments by name".to_owned(),
        1 => "1 argument".to_owned(),
        least => format!("{least} arguments"),
    }
}

/// The APP that calls this factory.
fn call(target: &Target, name: &str) -> String {
    let source = match &target.source {
        ApplicationSource::Module(module) => module.clone(),
        ApplicationSource::File(path) => path.display().to_string(),
    };
    format!("{source}:{name}()")
}

fn is_named_like_a_factory(name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    let makes = ["create", "make", "build", "get"]
        .iter()
        .any(|verb| name.starts_with(verb));
    (makes
        && ["app", "site", "wsgi"]
            .iter()
            .any(|what| name.contains(what)))
        || name.ends_with("factory")
}

/// What a module has that may be meant, where it has not what is wanted: the end of a sentence.
pub(super) fn names_instead(
    py: Python<'_>,
    object: &Bound<'_, PyAny>,
    wanted: &str,
    target: &Target,
) -> String {
    let callables = own_callables(object).unwrap_or_default();
    let factory = callables.iter().find(|(name, value)| {
        is_named_like_a_factory(name)
            && ArgumentCount::of(value).is_some_and(|count| count.takes(0))
    });
    if let Some((name, _)) = factory.filter(|_| target.attribute.is_none()) {
        return format!("; '{name}' looks like a factory: '{}'", call(target, name));
    }
    let names: Vec<&String> = callables.iter().map(|(name, _)| name).collect();
    let close = || -> PyResult<Vec<String>> {
        let close = py.import("difflib")?.getattr("get_close_matches")?;
        close.call1((wanted, &names))?.extract()
    };
    let close = close().unwrap_or_default();
    let names: Vec<String> = match close.is_empty() {
        true => names.into_iter().take(5).cloned().collect(),
        false => close,
    };
    match names.is_empty() {
        true => String::new(),
        false => format!("; it has '{}'", names.join("', '")),
    }
}

/// What can be called and is no class, and was not imported from elsewhere.
fn own_callables<'py>(object: &Bound<'py, PyAny>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    let module: Option<String> = match object.cast::<PyModule>() {
        Ok(module) => module.name().ok().map(|name| name.to_string()),
        Err(_) => None,
    };
    let is_own = |value: &Bound<'_, PyAny>| {
        // Of an object it is that of its class.
        let has_its_own = value.hasattr("__name__").unwrap_or(false);
        let from = value
            .getattr("__module__")
            .and_then(|from| from.extract::<String>());
        !has_its_own || module.is_none() || from.ok() == module
    };
    let mut found = Vec::new();
    for name in object.dir()? {
        let Ok(name) = name.extract::<String>() else {
            continue;
        };
        if name.starts_with('_') {
            continue;
        }
        if let Ok(value) = object.getattr(name.as_str()) {
            if value.is_callable() && !value.is_instance_of::<PyType>() && is_own(&value) {
                found.push((name, value));
            }
        }
    }
    Ok(found)
}
