//! Old scripts end in a line that serves their application themselves: `CGIHandler().run(application)` of Python's
//! wsgiref, or flup's `WSGIServer(application).run()`. While a script is loaded such a line only tells which application
//! is meant, or it would be called a second time, for a request that is not there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::ffi::c_str;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// The classes whose `run()` serves an application by what this process has as standard input and output.
const RUNNERS: [(&str, &str); 7] = [
    // Of which CGIHandler and IISCGIHandler are made.
    ("wsgiref.handlers", "BaseCGIHandler"),
    ("flup.server.cgi", "WSGIServer"),
    ("flup.server.fcgi", "WSGIServer"),
    ("flup.server.fcgi_fork", "WSGIServer"),
    ("flup.server.fcgi_single", "WSGIServer"),
    ("flup.server.scgi", "WSGIServer"),
    ("flup.server.ajp", "WSGIServer"),
];

/// Keeps runners from running, until it is told to stop.
pub(super) struct Runners {
    told: Arc<Told>,
    finder: Py<Finder>,
}

/// What the scripts' runners were told.
#[derive(Default)]
struct Told {
    application: Mutex<Option<Py<PyAny>>>,
    /// The classes that were changed, and the `run` that each had of its own.
    changed: Mutex<Vec<(Py<PyAny>, Option<Py<PyAny>>)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runners {
    /// Begins to keep them. They are changed when they are imported, as importing them costs a CGI request milliseconds.
    ///
    /// # Errors
    /// When Python has no memory left.
    pub(super) fn hold(py: Python<'_>) -> PyResult<Self> {
        let told = Arc::<Told>::default();
        let sys = py.import("sys")?;
        for (module, class) in RUNNERS {
            if let Ok(module) = sys.getattr("modules")?.get_item(module) {
                told.change(&module, class)?;
            }
        }
        let finder = Py::new(
            py,
            Finder {
                told: Arc::clone(&told),
            },
        )?;
        sys.getattr("meta_path")?
            .call_method1("insert", (0, &finder))?;
        Ok(Self { told, finder })
    }

    /// Whether one was told to run.
    pub(super) fn has_run(&self) -> bool {
        locked(&self.told.application).is_some()
    }

    /// Lets them run again; gives the application that the last of them was told.
    ///
    /// # Errors
    /// When a script has made something else of Python's import system, or of the classes.
    pub(super) fn release<'py>(self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let meta_path = py.import("sys")?.getattr("meta_path")?;
        if meta_path.contains(&self.finder)? {
            meta_path.call_method1("remove", (&self.finder,))?;
        }
        for (class, own) in locked(&self.told.changed).drain(..) {
            match own {
                Some(run) => class.setattr(py, "run", run)?,
                None => class.bind(py).delattr("run")?,
            }
        }
        let application = locked(&self.told.application).take();
        Ok(application.map(|application| application.into_bound(py)))
    }
}

impl Told {
    /// Has the class's `run` ask [`Hold`] first.
    fn change(self: &Arc<Self>, module: &Bound<'_, PyAny>, class: &str) -> PyResult<()> {
        let py = module.py();
        // flup's modules have changed their classes over the years.
        let Ok(class) = module.getattr(class) else {
            return Ok(());
        };
        let Ok(run) = class.getattr("run") else {
            return Ok(());
        };
        let own = class.getattr("__dict__")?.get_item("run").ok();
        let hold = Hold {
            told: Arc::clone(self),
        };
        // Functions of Python's own become methods.
        let method = c_str!(
            "lambda hold, run: lambda self, *args, **named: \
             None if hold(self, args, named) else run(self, *args, **named)"
        );
        let method = py.eval(method, None, None)?;
        let method = method.call1((Py::new(py, hold)?, run))?;
        class.setattr("run", method)?;
        locked(&self.changed).push((class.unbind(), own.map(Bound::unbind)));
        Ok(())
    }
}

/// What is asked in the place of `run` whether that is left out.
#[pyclass(frozen, module = "wsgi_gateway")]
struct Hold {
    told: Arc<Told>,
}

#[pymethods]
impl Hold {
    fn __call__(
        &self,
        runner: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        named: &Bound<'_, PyDict>,
    ) -> PyResult<bool> {
        let given = match args.get_item(0) {
            Ok(given) => Some(given),
            Err(_) => named.get_item("application")?,
        };
        // flup's runners are given theirs when they are made.
        let application = given.filter(Bound::is_callable);
        let application = application.or_else(|| runner.getattr("application").ok());
        let application = application.filter(|_| serves_process(runner));
        let is_left_out = application.is_some();
        if let Some(application) = application {
            log::debug!("a script's own run() is left out: its application is served here");
            *locked(&self.told.application) = Some(application.unbind());
        }
        Ok(is_left_out)
    }
}

/// Whether the runner's answer goes to this process's standard output, and not to an object of the script's.
fn serves_process(runner: &Bound<'_, PyAny>) -> bool {
    let Ok(stdout) = runner.getattr("stdout") else {
        return true;
    };
    let number = stdout.call_method0("fileno");
    number.is_ok_and(|number| number.extract::<i32>().is_ok_and(|number| number == 1))
}

/// Finds the modules of runners where Python does, and changes them when they are loaded.
#[pyclass(frozen, module = "wsgi_gateway")]
struct Finder {
    told: Arc<Told>,
}

#[pymethods]
impl Finder {
    #[pyo3(signature = (name, path = None, target = None))]
    fn find_spec<'py>(
        slf: &Bound<'py, Self>,
        name: &str,
        path: Option<Bound<'py, PyAny>>,
        target: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((_, class)) = RUNNERS.iter().find(|(module, _)| *module == name) else {
            return Ok(None);
        };
        let py = slf.py();
        for finder in py.import("sys")?.getattr("meta_path")?.try_iter()? {
            let finder = finder?;
            if finder.is(slf) {
                continue;
            }
            let spec = finder.call_method1("find_spec", (name, &path, &target))?;
            if spec.is_none() {
                continue;
            }
            let loader = Loader {
                told: Arc::clone(&slf.get().told),
                class,
                inner: spec.getattr("loader")?.unbind(),
            };
            spec.setattr("loader", Py::new(py, loader)?)?;
            return Ok(Some(spec));
        }
        Ok(None)
    }
}

/// Loads a module of runners as its own loader does, and changes it.
#[pyclass(frozen, module = "wsgi_gateway")]
struct Loader {
    told: Arc<Told>,
    class: &'static str,
    inner: Py<PyAny>,
}

#[pymethods]
impl Loader {
    fn create_module<'py>(&self, spec: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.inner
            .bind(spec.py())
            .call_method1("create_module", (spec,))
    }

    fn exec_module(&self, module: &Bound<'_, PyAny>) -> PyResult<()> {
        let inner = self.inner.bind(module.py());
        // It has done its work, and its own loader knows more, such as the source.
        module.setattr("__loader__", inner)?;
        module.getattr("__spec__")?.setattr("loader", inner)?;
        inner.call_method1("exec_module", (module,))?;
        self.told.change(module, self.class)
    }
}
