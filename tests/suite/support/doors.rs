//! One application behind all doors: each request goes through FastCGI, through CGI, and through CGI that keeps the application
//! alive, and all answers go to the same assertions. That is how "one core, two doors" is tested.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::support::cgi::{Cgi, Output};
use crate::support::client::{Request, Response, fetch};
use crate::support::gateway::{DEADLINE, Gateway, binary};
use crate::support::home::Home;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    FastCgi,
    Cgi,
    /// CGI with `--persistent`.
    Persistent,
}

impl Door {
    pub(crate) const ALL: [Door; 3] = [Door::FastCgi, Door::Cgi, Door::Persistent];
}

/// A response, and how it came.
pub(crate) struct Answer {
    pub(crate) door: Door,
    /// The path that was asked for, so that a failure says which of many it was.
    path: String,
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the peer was told that this is all: an `FCGI_END_REQUEST`, an exit code of 0.
    pub(crate) complete: bool,
    errors: Errors,
}

enum Errors {
    FastCgi(Rc<Gateway>, Vec<u8>),
    Cgi(String),
    Persistent(Rc<Home>, String),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("door", &self.door)
            .field("path", &self.path)
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("headers", &self.headers)
            .field("body", &self.start_of_body())
            .field("complete", &self.complete)
            .field("errors", &self.errors())
            .finish()
    }
}

/// PATH_INFO of the request.
fn path(request: &Request) -> String {
    let pair = request.params.iter().find(|pair| pair.0 == b"PATH_INFO");
    pair.map(|pair| String::from_utf8_lossy(&pair.1).into_owned())
        .unwrap_or_default()
}

impl Answer {
    fn fastcgi(request: &Request, response: Response, gateway: &Rc<Gateway>) -> Answer {
        Answer {
            door: Door::FastCgi,
            path: path(request),
            status: response.status,
            reason: response.reason,
            headers: response.headers,
            body: response.body,
            complete: response.end.is_some() && response.stdout_ended,
            errors: Errors::FastCgi(Rc::clone(gateway), response.stderr),
        }
    }

    #[track_caller]
    fn cgi(request: &Request, output: Output) -> Answer {
        let response = output.response();
        assert!(
            output.code == 0 || output.code == 1,
            "exit code {}: {}",
            output.code,
            output.stderr
        );
        Answer {
            door: Door::Cgi,
            path: path(request),
            status: response.status,
            reason: response.reason,
            headers: response.headers,
            body: response.body,
            complete: output.code == 0,
            errors: Errors::Cgi(output.stderr),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|header| header.0.eq_ignore_ascii_case(name))
            .map(|header| header.1.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn start_of_body(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]).into_owned()
    }

    /// What the web server would put into its error log: `FCGI_STDERR`, or stderr.
    pub(crate) fn told_the_web_server(&self) -> String {
        match &self.errors {
            Errors::FastCgi(_, stderr) => String::from_utf8_lossy(stderr).into_owned(),
            Errors::Cgi(stderr) | Errors::Persistent(_, stderr) => stderr.clone(),
        }
    }

    /// All that has been said so far, in the log too.
    pub(crate) fn errors(&self) -> String {
        match &self.errors {
            Errors::FastCgi(gateway, stderr) => {
                String::from_utf8_lossy(stderr).into_owned() + &gateway.log()
            }
            Errors::Cgi(stderr) => stderr.clone(),
            Errors::Persistent(home, stderr) => stderr.clone() + &home.log(),
        }
    }

    /// The log says it, perhaps a moment after the answer.
    #[track_caller]
    pub(crate) fn logged(&self, needle: &str) -> &Answer {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let log = match &self.errors {
                Errors::FastCgi(gateway, _) => gateway.log(),
                Errors::Cgi(stderr) => stderr.clone(),
                Errors::Persistent(home, stderr) => stderr.clone() + &home.log(),
            };
            if log.contains(needle) {
                return self;
            }
            if self.door == Door::Cgi || Instant::now() > deadline {
                panic!(
                    "{:?} {}: {needle:?} is not in the log:\n{log}",
                    self.door, self.path
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Status and body of an answer that came whole.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: &str) -> &Answer {
        assert_eq!(
            (self.status, &*self.text(), self.complete),
            (status, body, true),
            "{self:#?}"
        );
        self
    }

    /// A whole answer of that status, whatever its body.
    #[track_caller]
    pub(crate) fn has_status(&self, status: u16) -> &Answer {
        assert_eq!(self.status, status, "{self:#?}");
        assert!(self.complete, "cut: {self:#?}");
        self
    }

    /// The gateway's error page, whole, and nothing of the application's own response in it.
    #[track_caller]
    pub(crate) fn is_error_page(&self) -> &Answer {
        assert_eq!(self.status, 500, "{self:#?}");
        assert_eq!(self.reason, "Internal Server Error", "{self:#?}");
        assert_eq!(
            self.header("Content-Type"),
            Some("text/plain; charset=utf-8"),
            "{self:#?}"
        );
        for word in ["Traceback", "File \"", "the word that only the log"] {
            assert!(!self.text().contains(word), "{self:#?}");
        }
        assert!(!self.body.is_empty(), "{self:#?}");
        match self.door {
            // The peer of a FastCGI responder gets a whole page, and the exit code of CGI still tells.
            Door::FastCgi => assert!(self.complete, "{self:#?}"),
            Door::Cgi | Door::Persistent => {
                assert!(!self.complete, "exit code 0: {self:#?}");
            }
        }
        self
    }

    /// The response was begun and then cut, so that nobody takes it for a whole one.
    #[track_caller]
    pub(crate) fn is_cut_after(&self, status: u16, body: &str) -> &Answer {
        assert_eq!(
            (self.status, &*self.text(), self.complete),
            (status, body, false),
            "{self:#?}"
        );
        self
    }
}

/// An application, served by all doors.
pub(crate) struct Doors {
    program: PathBuf,
    app: String,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    gateway: Rc<Gateway>,
    home: Rc<Home>,
}

impl Doors {
    #[track_caller]
    pub(crate) fn open(app: &str) -> Doors {
        Doors::open_with(app, &[], &[])
    }

    /// With options of all doors, and with variables for all processes.
    #[track_caller]
    pub(crate) fn open_with(app: &str, options: &[&str], environment: &[(&str, &str)]) -> Doors {
        Doors::open_installed(&binary(), app, options, environment)
    }

    /// By a program that is installed somewhere.
    #[track_caller]
    pub(crate) fn open_installed(
        program: &Path,
        app: &str,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Doors {
        let mut builder = Gateway::builder(app).program(program).args(options);
        for (name, value) in environment {
            builder = builder.env(name, value);
        }
        let own = |word: &&str| String::from(*word);
        Doors {
            program: program.to_owned(),
            app: app.to_owned(),
            options: options.iter().map(own).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| (own(name), own(value)))
                .collect(),
            gateway: Rc::new(builder.start()),
            home: Rc::new(Home::new()),
        }
    }

    #[track_caller]
    pub(crate) fn fastcgi(&self, request: &Request) -> Answer {
        let response = fetch(self.gateway.socket(), request);
        Answer::fastcgi(request, response, &self.gateway)
    }

    #[track_caller]
    pub(crate) fn cgi(&self, request: &Request) -> Answer {
        Answer::cgi(request, self.cgi_process(request).run())
    }

    #[track_caller]
    pub(crate) fn persistent(&self, request: &Request) -> Answer {
        let process = self.cgi_process(request).option("--persistent");
        let process = process.env("XDG_RUNTIME_DIR", self.home.path());
        let output = process.run();
        let errors = Errors::Persistent(Rc::clone(&self.home), output.stderr.clone());
        Answer {
            door: Door::Persistent,
            errors,
            ..Answer::cgi(request, output)
        }
    }

    #[track_caller]
    pub(crate) fn through(&self, door: Door, request: &Request) -> Answer {
        match door {
            Door::FastCgi => self.fastcgi(request),
            Door::Cgi => self.cgi(request),
            Door::Persistent => self.persistent(request),
        }
    }

    /// The CGI door before it is started.
    pub(crate) fn cgi_process(&self, request: &Request) -> Cgi {
        let mut cgi = Cgi::new(&self.app, request)
            .installed(&self.program)
            .options(&self.options);
        for (name, value) in &self.environment {
            cgi = cgi.env(name, value);
        }
        cgi
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    #[track_caller]
    pub(crate) fn ask(&self, request: &Request) -> [Answer; 3] {
        Door::ALL.map(|door| self.through(door, request))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> [Answer; 3] {
        self.ask(&Request::get(path))
    }

    /// Ends the responder and gives its whole log.
    pub(crate) fn close(self) -> String {
        if let Ok(home) = Rc::try_unwrap(self.home) {
            home.end();
        }
        let gateway = Rc::try_unwrap(self.gateway)
            .unwrap_or_else(|_| panic!("an answer of this gateway is still in use"));
        gateway.terminate().log
    }
}
