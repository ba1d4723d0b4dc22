//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a class whose instances iterate over a
//! file's blocks, and are sent by the kernel where the file is a real one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use super::errors::kind;
use crate::gateway::FileSpan;

/// An application's file, to be returned as the response's iterable.
#[pyclass(frozen, module = "wsgi_gateway")]
pub(super) struct FileWrapper {
    #[pyo3(get)]
    filelike: Py<PyAny>,
    #[pyo3(get)]
    blksize: isize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize = 8192))]
    fn new(filelike: Py<PyAny>, blksize: isize) -> Self {
        Self { filelike, blksize }
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self
            .filelike
            .bind(py)
            .call_method1(intern!(py, "read"), (self.blksize,))?;
        Ok(block.is_truthy()?.then_some(block))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(|_| ()),
            None => Ok(()),
        }
    }
}

/// A real file and what is left of it from its current offset.
pub(super) struct RealFile {
    /// A descriptor of our own: the application may close its file in another thread.
    file: OwnedFd,
    offset: u64,
    length: u64,
}

impl RealFile {
    pub(super) fn span(&self) -> FileSpan<'_> {
        FileSpan {
            file: self.file.as_fd(),
            offset: self.offset,
            length: self.length,
        }
    }
}

impl FileWrapper {
    /// The wrapped file, if the kernel may send it: a regular file whose bytes are what `read()` would give. Many
    /// objects have a `fileno()` and give other bytes (a GzipFile those inside), so only Python's own binary files over
    /// a descriptor are taken, and the temporary files that wrap one. `None`: it has to be read.
    pub(super) fn real_file(&self, py: Python<'_>) -> Option<RealFile> {
        let mut file = self.filelike.bind(py).clone();
        if is_exactly(&file, "tempfile", "_TemporaryFileWrapper") {
            file = file.getattr("file").ok()?;
        }
        let raw = if is_exactly(&file, "io", "FileIO") {
            file.clone()
        } else if is_exactly(&file, "io", "BufferedReader")
            || is_exactly(&file, "io", "BufferedRandom")
        {
            file.getattr(intern!(py, "raw")).ok()?
        } else {
            return None;
        };
        if !is_exactly(&raw, "io", "FileIO") {
            return None;
        }
        // What a writer has in its buffer is not in the file yet.
        file.call_method0(intern!(py, "flush")).ok()?;
        let fd = raw
            .call_method0(intern!(py, "fileno"))
            .ok()?
            .extract::<RawFd>()
            .ok()?;
        let offset = file
            .call_method0(intern!(py, "tell"))
            .ok()?
            .extract::<u64>()
            .ok()?;
        let stat = py
            .import(intern!(py, "os"))
            .ok()?
            .call_method1(intern!(py, "fstat"), (fd,))
            .ok()?;
        let mode = stat
            .getattr(intern!(py, "st_mode"))
            .ok()?
            .extract::<u32>()
            .ok()?;
        let size = stat
            .getattr(intern!(py, "st_size"))
            .ok()?
            .extract::<u64>()
            .ok()?;
        const S_IFMT: u32 = 0o170_000;
        const S_IFREG: u32 = 0o100_000;
        // Files of no size may have bytes all the same (/proc).
        if mode & S_IFMT != S_IFREG || size == 0 {
            return None;
        }
        // SAFETY: the descriptor is borrowed for the time of this call, in which its file, just asked for it, stays open.
        let file = unsafe { BorrowedFd::borrow_raw(fd) }
            .try_clone_to_owned()
            .ok()?;
        Some(RealFile {
            file,
            offset,
            length: size.saturating_sub(offset),
        })
    }
}

/// Whether the object is of this very type: a subclass may read as it likes. The module is not imported for it: an
/// object of one of its types cannot be without it.
fn is_exactly(object: &Bound<'_, PyAny>, module: &str, name: &str) -> bool {
    let py = object.py();
    let find = || -> PyResult<bool> {
        let modules = py
            .import(intern!(py, "sys"))?
            .getattr(intern!(py, "modules"))?;
        let class = modules.get_item(module)?.getattr(name)?;
        Ok(object.get_type().is(class.cast::<PyType>()?))
    };
    find().unwrap_or(false)
}

/// A block of the body, or why it cannot be one (PEP 3333: an iterable yields bytestrings).
pub(super) fn as_block<'a, 'py>(block: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    block.cast::<PyBytes>().map_err(|_| {
        pyo3::exceptions::PyTypeError::new_err(format!(
            "a WSGI application's blocks are bytes, and this one is of type '{}'",
            kind(block)
        ))
    })
}
