//! An application's file: under which module name it runs, and which folders are on `sys.path` for it. As `python FILE`
//! does it, but for `__name__`, so that what stands behind `if __name__ == "__main__"` does not run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyModule, PyType};

use crate::config::ScriptFile;

/// What the module of a file is called that Python could not import by a name. multiprocessing gives the program's main
/// file this name in the processes that it spawns, so that what is defined there is found here, too, and the other way.
const MAIN: &str = "__mp_main__";

/// An application's file, which is run as a module.
pub(super) struct Script(ScriptFile);

impl Script {
    /// Looks where the file is. Nothing is read of it.
    ///
    /// # Errors
    /// When there is no such file, or a folder on the way to it is closed.
    pub(super) fn find(named: &Path) -> std::io::Result<Self> {
        ScriptFile::find(named).map(Self)
    }

    /// Runs the file with its folder at the front of `sys.path`. `may_exit`: asked when it has called `sys.exit()` without
    /// an error, whether that is its end and none.
    ///
    /// # Errors
    /// What it raised.
    pub(super) fn run<'py>(
        &self,
        py: Python<'py>,
        source: &[u8],
        may_exit: &dyn Fn() -> bool,
    ) -> PyResult<Bound<'py, PyModule>> {
        put_first(py, &self.0.folder)?;
        match self.module_name(py)? {
            // The packages around it are imported first, as relative imports need them.
            Some(name) if !self.0.packages.is_empty() => py.import(&*name),
            Some(name) => self.run_as(py, &name, source, may_exit),
            None => {
                if let Some(own) = self.0.real.parent() {
                    put_first(py, own)?;
                }
                self.run_as(py, MAIN, source, may_exit)
            }
        }
    }

    /// The name under which `import` would find this very file. Not that of a file without `.py`, nor one that another
    /// module has: `import shop` in shop.wsgi or shop.py means the package beside it, and `import calendar` in
    /// calendar.cgi Python's own.
    fn module_name(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let stem = self.0.real.file_stem().and_then(OsStr::to_str);
        let stem = stem.filter(|stem| !stem.contains('.'));
        let Some(stem) = stem.filter(|_| self.0.real.extension() == Some(OsStr::new("py"))) else {
            return Ok(None);
        };
        let mut name = String::new();
        let mut folder = self.0.folder.clone();
        for package in &self.0.packages {
            let within = (!name.is_empty()).then(|| folder.clone());
            name = dotted(&name, package);
            folder.push(package);
            if !is_found(py, &name, within.as_deref(), &folder.join("__init__.py"))? {
                return Ok(None);
            }
        }
        if stem == "__init__" && !name.is_empty() {
            return Ok(Some(name));
        }
        let within = (!name.is_empty()).then_some(&*folder);
        let is_imported = within.is_none() && modules(py)?.contains(stem)?;
        name = dotted(&name, stem);
        Ok((!is_imported && is_found(py, &name, within, &self.0.real)?).then_some(name))
    }

    /// Runs the source as this module, with the attributes that an import would give it. Not by importlib.util, whose own
    /// imports cost a CGI request two milliseconds.
    fn run_as<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        source: &[u8],
        may_exit: &dyn Fn() -> bool,
    ) -> PyResult<Bound<'py, PyModule>> {
        let modules = modules(py)?;
        let module = PyModule::new(py, name)?;
        // multiprocessing looks for the main file there, and makes an alias of it.
        let names: &[&str] = if name == MAIN {
            &[MAIN, "__main__"]
        } else {
            &[name]
        };
        let before = modules.call_method0("copy")?;
        for name in names {
            modules.set_item(name, &module)?;
        }
        match self.execute(&module, name, source) {
            Err(error) if !(is_good_exit(py, &error) && may_exit()) => {
                for name in names {
                    let _ = match before.get_item(name) {
                        Ok(other) => modules.set_item(name, other),
                        Err(_) => modules.del_item(name),
                    };
                }
                return Err(error);
            }
            _ => {}
        }
        // As an import does: a module may have put something else in its place.
        Ok(modules.get_item(name)?.cast_into()?)
    }

    fn execute(&self, module: &Bound<'_, PyModule>, name: &str, source: &[u8]) -> PyResult<()> {
        let py = module.py();
        // As a str: a Path would become a pathlib object, and import that module.
        let file = self.0.file.as_os_str();
        let machinery = py.import("importlib.machinery")?;
        let loader = machinery.getattr("SourceFileLoader")?.call1((name, file))?;
        let spec = if name == MAIN {
            main_spec(&machinery, &loader)?
        } else {
            machinery.getattr("ModuleSpec")?.call1((name, &loader))?
        };
        spec.setattr("origin", file)?;
        spec.setattr("has_location", true)?;
        module.setattr("__file__", file)?;
        module.setattr("__loader__", &loader)?;
        module.setattr("__spec__", spec)?;
        module.setattr("__package__", "")?;
        if self.0.file.extension() == Some(OsStr::new("py")) {
            loader.call_method1("exec_module", (module,))?;
        } else {
            // No cache of the compiled code: its name would be the same for app.cgi as for app.py beside it.
            let code = loader.call_method1("source_to_code", (PyBytes::new(py, source), file))?;
            py.import("builtins")?
                .call_method1("exec", (code, module.dict()))?;
        }
        Ok(())
    }

    /// Where a file of a package did not find a module that lies beside it: how to import it.
    pub(super) fn hint(&self, missing: &str) -> Option<String> {
        let own = self.0.real.parent()?;
        let beside = own.join(missing);
        let is_beside = beside.is_dir() || own.join(format!("{missing}.py")).is_file();
        (is_beside && !self.0.packages.is_empty()).then(|| {
            let package = self.0.packages.join(".");
            format!(
                "'{missing}' lies in the package '{package}' (its folder has an __init__.py): import it as \
                 '{package}.{missing}', or name {} with --pythonpath",
                own.display()
            )
        })
    }
}

fn is_good_exit(py: Python<'_>, error: &PyErr) -> bool {
    let code = || error.value(py).getattr("code")?.extract::<Option<i32>>();
    error.is_instance_of::<PySystemExit>(py) && code().is_ok_and(|code| code.unwrap_or(0) == 0)
}

fn dotted(package: &str, name: &str) -> String {
    if package.is_empty() {
        name.to_owned()
    } else {
        format!("{package}.{name}")
    }
}

fn modules(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("sys")?.getattr("modules")
}

/// Puts a folder at the front of `sys.path`.
fn put_first(py: Python<'_>, folder: &Path) -> PyResult<()> {
    let path = py.import("sys")?.getattr("path")?;
    let folder = folder.as_os_str();
    while path.contains(folder)? {
        path.call_method1("remove", (folder,))?;
    }
    path.call_method1("insert", (0, folder)).map(drop)
}

/// Whether this module is that file, imported already or where `import` would look: in `sys.path`, or `within` a package.
fn is_found(py: Python<'_>, name: &str, within: Option<&Path>, file: &Path) -> PyResult<bool> {
    let is_file = |found: &Bound<'_, PyAny>, attribute: &str| {
        let found = found
            .getattr(attribute)
            .and_then(|found| found.extract::<PathBuf>());
        let real = |path: &Path| path.canonicalize().ok();
        found.is_ok_and(|found| real(&found).is_some_and(|found| Some(found) == real(file)))
    };
    if let Ok(module) = modules(py)?.get_item(name) {
        return Ok(is_file(&module, "__file__"));
    }
    if let Some(within) = within {
        let finder = py.import("importlib.machinery")?.getattr("PathFinder")?;
        let spec = finder.call_method1("find_spec", (name, [within.as_os_str()]))?;
        return Ok(is_file(&spec, "origin"));
    }
    for finder in py.import("sys")?.getattr("meta_path")?.try_iter()? {
        let spec = finder?.call_method1("find_spec", (name, py.None()))?;
        if !spec.is_none() {
            return Ok(is_file(&spec, "origin"));
        }
    }
    Ok(false)
}

/// The spec of a file without a name of its own. Where the main module's has a name, multiprocessing's children import
/// that; else they run its file.
fn main_spec<'py>(
    machinery: &Bound<'py, PyModule>,
    loader: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = machinery.py();
    let class = machinery.getattr("ModuleSpec")?;
    // What it derives from the name that is not there, and relative imports ask for.
    let attributes = PyDict::new(py);
    attributes.set_item("parent", "")?;
    let class = py
        .get_type::<PyType>()
        .call1(("ModuleSpec", (class,), attributes))?;
    class.call1((py.None(), loader))
}
