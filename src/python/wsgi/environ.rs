//! `environ`: the request's variables as the dictionary that PEP 3333 describes ("environ Variables").
//!
//! Requests of one web server differ in a few values only, so the dictionary of the previous request is kept as a
//! template: what differs is put into it, what is no longer there is taken out, and the application gets a copy of its
//! own. Names and unchanged values are Python strings made once.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::gateway::{Circumstances, Meta, Mount, PathRule, Request, Rule, Variables};

/// Names beyond these are forgotten after their request: a client can send any.
const MAX_SLOTS: usize = 512;

/// Bytes of names and values beyond which they are all forgotten after their request: a client can send long ones too.
const MAX_HELD: usize = 1024 * 1024;

/// How the application is run, as `environ` tells it.
#[derive(Clone, Debug)]
pub(crate) struct Mode {
    /// Whether other threads of this process may call it at the same time.
    pub(crate) multithread: bool,
    /// Whether other processes may.
    pub(crate) multiprocess: bool,
    /// Whether this process calls it once only.
    pub(crate) run_once: bool,
    /// Whether the web server runs a program for each request (CGI), so that SCRIPT_NAME can be where that lies.
    pub(crate) by_program: bool,
    /// Whether error pages have the traceback.
    pub(crate) debug: bool,
    /// Where the application lies in the site's URLs, when the operator says it.
    pub(crate) mount: Option<Mount>,
}

/// The template and what is known of each name. The first slots are those of [`Meta`], by number.
pub(super) struct Environ {
    template: Py<PyDict>,
    slots: Vec<Slot>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// The slots in the template, and those of the request before.
    present: Vec<usize>,
    previous: Vec<usize>,
    /// The bytes that the slots' names and values take.
    held: usize,
    /// Counts requests; a slot whose stamp it is was set in this one.
    stamp: u64,
    https: Option<bool>,
    mount: Option<Arc<Mount>>,
    by_program: bool,
}

struct Slot {
    name: Box<[u8]>,
    key: Py<PyString>,
    rule: Rule,
    /// The value in the template, when `present`.
    value: Vec<u8>,
    present: bool,
    stamp: u64,
    /// The slot that followed this one last time: web servers send names in the same order.
    next: usize,
}

/// What the core needs to know of the request that it made an `environ` for.
pub(super) struct Made<'py> {
    pub(super) environ: Bound<'py, PyDict>,
    /// Whether the request is not under the application's mount, and so not for the application to see.
    pub(super) is_outside: bool,
}

impl Environ {
    pub(super) fn new(py: Python<'_>, mode: &Mode) -> PyResult<Self> {
        let template = PyDict::new(py);
        template.set_item(intern!(py, "wsgi.version"), (1, 0))?;
        template.set_item(intern!(py, "wsgi.multithread"), mode.multithread)?;
        template.set_item(intern!(py, "wsgi.multiprocess"), mode.multiprocess)?;
        template.set_item(intern!(py, "wsgi.run_once"), mode.run_once)?;
        template.set_item(intern!(py, "wsgi.input_terminated"), true)?;
        template.set_item(
            intern!(py, "wsgi.file_wrapper"),
            py.get_type::<super::file_wrapper::FileWrapper>(),
        )?;
        // Places for what each request sets in its copy.
        template.set_item(intern!(py, "wsgi.input"), py.None())?;
        template.set_item(intern!(py, "wsgi.errors"), py.None())?;
        template.set_item(intern!(py, "wsgi_gateway.request_id"), py.None())?;
        let mut environ = Self {
            template: template.unbind(),
            slots: Vec::new(),
            by_name: HashMap::new(),
            present: Vec::new(),
            previous: Vec::new(),
            held: 0,
            stamp: 0,
            https: None,
            mount: mode.mount.clone().map(Arc::new),
            by_program: mode.by_program,
        };
        environ.add_metas(py);
        Ok(environ)
    }

    /// The `environ` of a request, but for `wsgi.input` and `wsgi.errors`. `unframed`: the body has no transfer coding.
    pub(super) fn make<'py>(
        &mut self,
        py: Python<'py>,
        variables: &Variables,
        unframed: bool,
    ) -> PyResult<Made<'py>> {
        self.stamp += 1;
        std::mem::swap(&mut self.present, &mut self.previous);
        self.present.clear();
        let mut sent = [None; Meta::COUNT];
        let mut joined: HashMap<usize, Vec<u8>> = HashMap::new();
        let mut at = usize::MAX;
        for (name, value) in variables.iter() {
            at = self.slot(py, name, at);
            if let Some(sent) = sent.get_mut(at) {
                *sent = Some(value);
                if Meta::is_worked_out(at) {
                    continue;
                }
            }
            let slot = &self.slots[at];
            match slot.rule {
                Rule::Drop => {}
                Rule::Join(between) if slot.stamp == self.stamp => {
                    let values = joined.entry(at).or_insert_with(|| slot.value.clone());
                    values.extend_from_slice(between);
                    values.extend_from_slice(value);
                }
                Rule::Join(_) | Rule::Last => self.set(py, at, value)?,
            }
        }
        for (at, value) in joined {
            self.set(py, at, &value)?;
        }
        let mount = self.mount.clone();
        let circumstances = Circumstances {
            unframed,
            by_program: self.by_program,
            mount: mount.as_deref(),
        };
        let request = Request::of(&sent, circumstances);
        self.set_worked_out(py, &request)?;
        let template = self.template.bind(py);
        for &at in &self.previous {
            let slot = &mut self.slots[at];
            if slot.stamp != self.stamp {
                slot.present = false;
                template.del_item(&slot.key)?;
            }
        }
        let environ = template.copy()?;
        if self.slots.len() > MAX_SLOTS || self.held > MAX_HELD {
            self.forget(py)?;
        }
        Ok(Made {
            environ,
            is_outside: request.path_rule == PathRule::OutsideMount,
        })
    }

    /// Sets the variables that are worked out of several. Those without a value are as if they had not been sent.
    fn set_worked_out(&mut self, py: Python<'_>, request: &Request<'_>) -> PyResult<()> {
        let mut digits = [0; 20];
        let content_length = request
            .content_length
            .map(|length| decimal(length, &mut digits));
        for (meta, value) in [
            (Meta::RequestMethod, Some(request.request_method)),
            (Meta::ScriptName, Some(&request.script_name)),
            (Meta::PathInfo, Some(&request.path_info)),
            (Meta::QueryString, Some(request.query_string)),
            (Meta::ServerName, Some(request.server_name)),
            (Meta::ServerPort, Some(request.server_port)),
            (Meta::ServerProtocol, Some(request.server_protocol)),
            (Meta::ContentType, request.content_type),
            (Meta::ContentLength, content_length),
            (Meta::Authorization, request.authorization),
            (Meta::TransferEncoding, request.transfer_encoding),
        ] {
            if let Some(value) = value {
                self.set(py, meta as usize, value)?;
            }
        }
        if self.https != Some(request.https) {
            let scheme = if request.https { "https" } else { "http" };
            self.template
                .bind(py)
                .set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
            self.https = Some(request.https);
        }
        Ok(())
    }

    /// Puts a value into the template where it is not there already.
    fn set(&mut self, py: Python<'_>, at: usize, value: &[u8]) -> PyResult<()> {
        let slot = &mut self.slots[at];
        if !slot.present || slot.value != value {
            self.template
                .bind(py)
                .set_item(&slot.key, native(py, value))?;
            let held = slot.value.capacity();
            slot.value.clear();
            slot.value.extend_from_slice(value);
            self.held += slot.value.capacity() - held;
            slot.present = true;
        }
        if slot.stamp != self.stamp {
            slot.stamp = self.stamp;
            self.present.push(at);
        }
        Ok(())
    }

    /// The slot of a name, which was `before`'s successor last time if all is as usual.
    fn slot(&mut self, py: Python<'_>, name: &[u8], before: usize) -> usize {
        let guess = self.slots.get(before).map_or(0, |slot| slot.next);
        if self
            .slots
            .get(guess)
            .is_some_and(|slot| *slot.name == *name)
        {
            return guess;
        }
        let at = match self.by_name.get(name) {
            Some(&at) => at,
            None => self.add(py, name),
        };
        if let Some(slot) = self.slots.get_mut(before) {
            slot.next = at;
        }
        at
    }

    fn add(&mut self, py: Python<'_>, name: &[u8]) -> usize {
        let at = self.slots.len();
        self.held += name.len();
        self.slots.push(Slot {
            name: name.into(),
            key: native(py, name).unbind(),
            rule: Rule::of(name),
            value: Vec::new(),
            present: false,
            stamp: 0,
            next: at + 1,
        });
        self.by_name.insert(name.into(), at);
        at
    }

    fn add_metas(&mut self, py: Python<'_>) {
        for name in Meta::NAMES {
            self.add(py, name);
        }
    }

    /// Begins anew, so that names which nobody sends again take no memory.
    fn forget(&mut self, py: Python<'_>) -> PyResult<()> {
        let template = self.template.bind(py);
        for at in self.present.drain(..) {
            template.del_item(&self.slots[at].key)?;
        }
        // Python's dictionaries keep the room of what was taken out, and a copy goes through all of it: every later request
        // would pay for the names of this one. The copy itself has no such room.
        self.template = template.copy()?.unbind();
        self.slots = Vec::new();
        self.by_name = HashMap::new();
        self.held = 0;
        self.add_metas(py);
        Ok(())
    }
}

/// The digits of a number, in the caller's place for them.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Bytes as the native string of PEP 3333 ("Unicode Issues"): each byte is the character of its number.
pub(super) fn native<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    let length = ffi::Py_ssize_t::try_from(bytes.len()).unwrap_or(ffi::Py_ssize_t::MAX);
    // SAFETY: the pointer and length are those of one slice. Decoding latin-1 fails for want of memory only, and then
    // the null is told to PyO3, which panics; otherwise the result is a new reference to a string.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null());
        Bound::from_owned_ptr(py, text).cast_into_unchecked()
    }
}
