//! What an application's file is to Python: under which name it runs, what is on `sys.path` for it, which links are followed,
//! what processes that it spawns find of it, and that it answers once.

mod name;
mod old_script;
mod package;
mod path;
mod spawned_process;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use crate::support::cgi::{Cgi, Output};
use crate::support::client::{Request, fetch};
use crate::support::gateway::{Builder, Gateway, binary};

/// A folder with files.
struct Site {
    folder: TempDir,
}

/// An application that answers with the value of this expression.
fn answers(expression: &str) -> String {
    format!(
        "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', \
         'text/plain')])\n    return [str({expression}).encode()]\n"
    )
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Site {
        let folder = TempDir::with_prefix("wsgi-gateway-test-files-").unwrap();
        let site = Site { folder };
        for (name, text) in files {
            site.write(name, text);
        }
        site
    }

    /// Without links in it, as Python shows it.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// An application of that expression, in a file of this name.
    fn expression(&self, name: &str, first: &str, expression: &str) -> PathBuf {
        self.write(name, &format!("{first}\n{}", answers(expression)))
    }

    fn link(&self, name: &str, to: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, &path).unwrap();
        path
    }

    fn fastcgi(app: &Path) -> Builder {
        Gateway::builder(app.to_str().unwrap()).cwd("/")
    }
}

fn cgi(app: &Path) -> Cgi {
    Cgi::new(app, &Request::get("/")).cwd("/")
}

#[track_caller]
fn text(output: &Output) -> String {
    assert_eq!(output.code, 0, "{output:#?}");
    let response = output.response();
    assert_eq!(response.status, 200, "{output:#?}");
    String::from_utf8(response.body).unwrap()
}

#[track_caller]
fn answer(app: &Path) -> String {
    text(&cgi(app).run())
}
