//! Old scripts end in a line that serves their application themselves: `CGIHandler().run(application)` of Python's wsgiref,
//! flup's `WSGIServer(application).run()`, Mercurial's `wsgicgi.launch(application)`. While a script is loaded such a line only tells which application
//! is meant, or it would be called a second time, for a request that is not there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::ffi::c_str;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// What serves an application by this process's standard input and output.
struct Runner {
    module: &'static str,
    /// The class that it is a method of; none: it is a function.
    class: Option<&'static str>,
    name: &'static str,
}

const fn run_of(module: &'static str, class: &'static str) -> Runner {
    Runner {
        module,
        class: Some(class),
        name: "run",
    }
}

const RUNNERS: [Runner; 8] = [
    // Of which CGIHandler and IISCGIHandler are made.
    run_of("wsgiref.handlers", "BaseCGIHandler"),
    run_of("flup.server.cgi", "WSGIServer"),
    run_of("flup.server.fcgi", "WSGIServer"),
    run_of("flup.server.fcgi_fork", "WSGIServer"),
    run_of("flup.server.fcgi_single", "WSGIServer"),
    run_of("flup.server.scgi", "WSGIServer"),
    run_of("flup.server.ajp", "WSGIServer"),
    // Of the hgweb.cgi that comes with Mercurial.
    Runner {
        module: "mercurial.hgweb.wsgicgi",
        class: None,
        name: "launch",
    },
];

/// Keeps runners from running, until it is told to stop.
pub(super) struct Runners {
    told: Arc<RunnerCalls>,
    finder: Py<Finder>,
}

/// What the scripts' runners were told.
#[derive(Default)]
struct RunnerCalls {
    application: Mutex<Option<Py<PyAny>>>,
    changed: Mutex<Vec<Changed>>,
    /// Whether a runner's module is being looked for, or none is any more. A script may have wrapped the finder, as
    /// Mercurial's lazy imports do, so that it finds itself among the others, and is not to be removed.
    is_busy: AtomicBool,
}

/// What has been changed for the time.
struct Changed {
    /// The class, or the module.
    owner: Py<PyAny>,
    name: &'static str,
    /// What it had, where it had one of its own and not by inheritance.
    own: Option<Py<PyAny>>,
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
        let told = Arc::<RunnerCalls>::default();
        let sys = py.import("sys")?;
        for runner in &RUNNERS {
            if let Ok(module) = sys.getattr("modules")?.get_item(runner.module) {
                told.change(&module, runner)?;
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
        self.told.is_busy.store(true, Ordering::Relaxed);
        let meta_path = py.import("sys")?.getattr("meta_path")?;
        if meta_path.contains(&self.finder)? {
            meta_path.call_method1("remove", (&self.finder,))?;
        }
        let changed = std::mem::take(&mut *locked(&self.told.changed));
        for Changed { owner, name, own } in changed {
            match own {
                Some(own) => owner.setattr(py, name, own)?,
                None => owner.bind(py).delattr(name)?,
            }
        }
        let application = locked(&self.told.application).take();
        Ok(application.map(|application| application.into_bound(py)))
    }
}

impl RunnerCalls {
    /// Has the runner ask [`Hold`] first.
    fn change(self: &Arc<Self>, module: &Bound<'_, PyAny>, runner: &Runner) -> PyResult<()> {
        let py = module.py();
        let owner = match runner.class {
            Some(class) => module.getattr(class),
            None => Ok(module.clone()),
        };
        // Versions of flup differ in what they have.
        let Ok((owner, run)) = owner.and_then(|owner| {
            let run = owner.getattr(runner.name)?;
            Ok((owner, run))
        }) else {
            return Ok(());
        };
        let own = owner.getattr("__dict__")?.get_item(runner.name).ok();
        let hold = Hold {
            told: Arc::clone(self),
        };
        // Functions of Python's own become methods.
        let asking = match runner.class {
            Some(_) => c_str!(
                "lambda hold, run: lambda self, *args, **named: \
                 None if hold(self, args, named) else run(self, *args, **named)"
            ),
            None => c_str!(
                "lambda hold, run: lambda *args, **named: \
                 None if hold(None, args, named) else run(*args, **named)"
            ),
        };
        let asking = py.eval(asking, None, None)?;
        owner.setattr(runner.name, asking.call1((Py::new(py, hold)?, run))?)?;
        locked(&self.changed).push(Changed {
            owner: owner.unbind(),
            name: runner.name,
            own: own.map(Bound::unbind),
        });
        Ok(())
    }
}

/// What is asked in the place of `run` whether that is left out.
#[pyclass(frozen, module = "wsgi_gateway")]
struct Hold {
    told: Arc<RunnerCalls>,
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
    told: Arc<RunnerCalls>,
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
        let Some(runner) = RUNNERS.iter().find(|runner| runner.module == name) else {
            return Ok(None);
        };
        let told = &slf.get().told;
        if told.is_busy.swap(true, Ordering::Relaxed) {
            return Ok(None);
        }
        let found = Self::find_elsewhere(slf, runner, (name, path, target));
        told.is_busy.store(false, Ordering::Relaxed);
        found
    }
}

impl Finder {
    fn find_elsewhere<'py>(
        slf: &Bound<'py, Self>,
        runner: &'static Runner,
        asked: (&str, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>),
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        for finder in py.import("sys")?.getattr("meta_path")?.try_iter()? {
            let finder = finder?;
            if finder.is(slf) {
                continue;
            }
            let spec = finder.call_method1("find_spec", asked.clone())?;
            if spec.is_none() {
                continue;
            }
            let loader = Loader {
                told: Arc::clone(&slf.get().told),
                runner,
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
    told: Arc<RunnerCalls>,
    runner: &'static Runner,
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
        self.told.change(module, self.runner)
    }
}
