//! Starts and ends CPython, by its initialization configuration (PEP 587) and never by accident.
//!
//! UTF-8 mode whatever LANG says, no signal handlers, no reading of our command line, and an executable that decides
//! the site-packages whatever PATH says.

use std::ffi::{CStr, CString, OsString};
use std::fmt;
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyo3::ffi;
use pyo3::prelude::*;

use super::venv;

/// What CPython is told before it starts.
#[derive(Debug, Default)]
pub struct Python {
    /// The virtual environment that was named.
    pub venv: Option<PathBuf>,
    /// Where to look for one if none was named: each of these folders and those above it.
    pub near: Vec<PathBuf>,
    /// Folders in front of `sys.path`, first first.
    pub path: Vec<PathBuf>,
    /// `sys.argv[0]`.
    pub program: OsString,
}

/// CPython, started in this process. Ended only by [`Interpreter::finalize`], on the thread that started it.
#[derive(Debug)]
pub struct Interpreter {
    main: *mut ffi::PyThreadState,
    executable: PathBuf,
    this_thread_only: PhantomData<*mut ()>,
}

impl Interpreter {
    /// Starts CPython. It can be started once in a process.
    ///
    /// # Errors
    /// One sentence about the virtual environment, or what CPython itself has to say.
    pub fn start(python: &Python) -> Result<Self, String> {
        let linked = linked_version();
        let executable = venv::executable(python.venv.as_deref(), &python.near, linked)?;
        initialize(&executable, python.program.as_bytes())?;
        // SAFETY: initialization just succeeded on this thread, which therefore is attached; from here on it attaches
        // like any other.
        let main = unsafe { ffi::PyEval_SaveThread() };
        let interpreter = Self {
            main,
            executable,
            this_thread_only: PhantomData,
        };
        pyo3::Python::attach(|py| insert_paths(py, &python.path))
            .map_err(|error| error.to_string())?;
        Ok(interpreter)
    }

    /// Runs Python's own end: `atexit` functions, threads that are no daemons, what is left in buffers.
    pub fn finalize(self) {
        // SAFETY: `main` is this thread's state (the type is not Send) and is used once. Nothing attaches afterwards:
        // the application's threads have ended, as finalizing takes the interpreter by value.
        unsafe {
            ffi::PyEval_RestoreThread(self.main);
            ffi::Py_FinalizeEx();
        }
    }

    /// Makes what was imported so far last: the collector leaves it alone, so that its memory stays shared between this
    /// process and those that are forked from it. Gives how many threads the application has started, which will be
    /// missing there.
    pub fn freeze(&self) -> usize {
        let freeze = |py: pyo3::Python<'_>| -> PyResult<()> {
            let gc = py.import("gc")?;
            gc.call_method0("collect")?;
            gc.call_method0("freeze")?;
            Ok(())
        };
        if let Err(error) = pyo3::Python::attach(freeze) {
            // Made text before, as that is Python's work.
            let error = error.to_string();
            log::debug!("gc.freeze failed: {error}");
        }
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        threads.saturating_sub(1)
    }

    /// Forks with `fork`, which tells whether it has returned in the child, and has Python prepare for it and settle
    /// after it: random numbers are seeded anew, what was registered by `os.register_at_fork` runs.
    pub fn around_fork<T>(&self, fork: impl FnOnce() -> (T, bool)) -> T {
        pyo3::Python::attach(|_| {
            // SAFETY: this thread is attached, and each of the calls is made at its place around the fork, as the C API
            // asks for.
            unsafe {
                ffi::PyOS_BeforeFork();
                let (forked, is_child) = fork();
                if is_child {
                    ffi::PyOS_AfterFork_Child();
                } else {
                    ffi::PyOS_AfterFork_Parent();
                }
                forked
            }
        })
    }

    /// Which Python it is.
    pub fn describe(&self) -> Description {
        pyo3::Python::attach(|py| {
            let prefix = py
                .import("sys")
                .and_then(|sys| sys.getattr("prefix")?.extract());
            Description {
                version: pyo3::Python::version_str()
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                executable: self.executable.display().to_string(),
                prefix: prefix.unwrap_or_default(),
                library: library(),
            }
        })
    }

    /// Whether threads run Python code at the same time (a free-threaded build with its lock off).
    pub fn is_parallel(&self) -> bool {
        pyo3::Python::attach(|py| {
            let enabled = py
                .import("sys")
                .and_then(|sys| sys.call_method0("_is_gil_enabled"));
            enabled.is_ok_and(|enabled| !enabled.is_truthy().unwrap_or(true))
        })
    }
}

/// Which Python it is.
#[derive(Debug)]
pub struct Description {
    /// `3.11.2`.
    pub version: String,
    /// What it takes for its executable.
    pub executable: String,
    /// `sys.prefix`: the virtual environment, or where the Python is installed.
    pub prefix: String,
    /// The shared library that is loaded.
    pub library: String,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Python {} of {} ({})",
            self.version, self.prefix, self.library
        )
    }
}

fn linked_version() -> (u8, u8) {
    // SAFETY: Py_GetVersion may be called before initialization and returns a static string.
    let version = unsafe { CStr::from_ptr(ffi::Py_GetVersion()) }.to_string_lossy();
    let mut parts = version.split('.').map_while(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The shared library that was really loaded: the loader takes any with the right soname.
fn library() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut paths = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let found = paths.find(|path| {
        path.rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with("libpython"))
    });
    found.unwrap_or("linked statically").to_owned()
}

fn insert_paths(py: pyo3::Python<'_>, paths: &[PathBuf]) -> PyResult<()> {
    let sys_path = py.import("sys")?.getattr("path")?;
    for path in paths.iter().rev() {
        sys_path.call_method1("insert", (0, path.as_os_str()))?;
    }
    Ok(())
}

fn initialize(executable: &Path, program: &[u8]) -> Result<(), String> {
    let c_string = |bytes: &[u8]| CString::new(bytes).map_err(|error| error.to_string());
    let executable = c_string(executable.as_os_str().as_bytes())?;
    let program = c_string(program)?;
    // SAFETY: the calls are made in the order that PEP 587 asks for, on one thread, before anything else of Python's;
    // the configurations are initialized by CPython's own functions before they are read, and every pointer handed
    // over outlives its call, since CPython copies the strings.
    unsafe {
        let mut before = std::mem::zeroed::<ffi::PyPreConfig>();
        ffi::PyPreConfig_InitPythonConfig(&mut before);
        before.utf8_mode = 1;
        before.parse_argv = 0;
        check(ffi::Py_PreInitialize(&before))?;

        let mut config = std::mem::zeroed::<ffi::PyConfig>();
        ffi::PyConfig_InitPythonConfig(&mut config);
        config.parse_argv = 0;
        config.install_signal_handlers = 0;
        // What an application prints is lost in a buffer when a worker is killed.
        config.buffered_stdio = 0;
        let started = configure(&mut config, &executable, &program)
            .and_then(|()| check(ffi::Py_InitializeFromConfig(&config)));
        ffi::PyConfig_Clear(&mut config);
        started
    }
}

/// # Safety
/// `config` has been initialized, and Python preinitialized.
unsafe fn configure(
    config: &mut ffi::PyConfig,
    executable: &CStr,
    program: &CStr,
) -> Result<(), String> {
    let config: *mut ffi::PyConfig = config;
    let mut argv = [program.as_ptr()];
    // SAFETY: `config` is valid as the caller promises, and the pointers to its fields are derived from it.
    unsafe {
        check(ffi::PyConfig_SetBytesString(
            config,
            &raw mut (*config).executable,
            executable.as_ptr(),
        ))?;
        check(ffi::PyConfig_SetBytesString(
            config,
            &raw mut (*config).program_name,
            executable.as_ptr(),
        ))?;
        check(ffi::PyConfig_SetBytesArgv(config, 1, argv.as_mut_ptr()))
    }
}

fn check(status: ffi::PyStatus) -> Result<(), String> {
    // SAFETY: the status is one that CPython returned; its message is a static string or null.
    unsafe {
        if ffi::PyStatus_Exception(status) == 0 {
            return Ok(());
        }
        let message = if status.err_msg.is_null() {
            "no reason given".into()
        } else {
            CStr::from_ptr(status.err_msg).to_string_lossy()
        };
        Err(format!("Python could not be started: {message}"))
    }
}
