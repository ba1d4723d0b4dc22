//! Deploys: the application `released.py`, whose next import does what the test has written last.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::client::{Connection, Request};
use crate::support::gateway::{Builder, Fifo, Gateway};

/// What the application is going to be.
pub(crate) struct Release {
    folder: TempDir,
}

impl Release {
    /// The word and text that `released.py` explains.
    pub(crate) fn new(word: &str) -> Release {
        let folder = TempDir::with_prefix("wsgi-gateway-test-release-").unwrap();
        let release = Release { folder };
        release.deploy(word);
        release
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("release")
    }

    /// From one moment to the next, as a deploy by a symbolic link does it.
    pub(crate) fn deploy(&self, word: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, word).unwrap();
        fs::rename(next, self.file()).unwrap();
    }

    pub(crate) fn builder(&self) -> Builder {
        Gateway::builder("released.py").env("TEST_RELEASE", self.file())
    }

    /// Lets another user import it.
    pub(crate) fn give_to(&self, uid: u32) {
        std::os::unix::fs::chown(self.folder.path(), Some(uid), None).unwrap();
    }

    /// With so many workers, all of them ready.
    pub(crate) fn start(&self, workers: usize, options: &[&str]) -> Gateway {
        let builder = self.builder().args(["--workers", &workers.to_string()]);
        let gateway = builder.args(options).start();
        gateway.wait_until_ready(workers);
        gateway
    }

    /// How often it has been imported and served, broken imports not counted.
    pub(crate) fn imports(&self) -> u64 {
        self.size("release.imports")
    }

    /// How many requests the application has been called for, by all workers there ever were.
    pub(crate) fn requests(&self) -> u64 {
        self.size("release.requests")
    }

    /// Counts them from now on.
    pub(crate) fn forget_requests(&self) {
        fs::write(self.folder.path().join("release.requests"), "").unwrap();
    }

    fn size(&self, file: &str) -> u64 {
        fs::metadata(self.folder.path().join(file)).map_or(0, |file| file.len())
    }
}

/// A request that is in the application and stays there until it is let go.
pub(crate) struct Held {
    connection: Connection,
    word: fs::File,
    // Until the application has read from it.
    _fifo: Fifo,
}

impl Held {
    /// `name` is of the FIFO in the gateway's folder.
    #[track_caller]
    pub(crate) fn new(gateway: &Gateway, name: &str) -> Held {
        Held::on(Connection::open(gateway.socket()), gateway, name)
    }

    /// On a connection that is open already.
    #[track_caller]
    pub(crate) fn on(mut connection: Connection, gateway: &Gateway, name: &str) -> Held {
        let fifo = Fifo::new(gateway.folder(), name);
        connection.write(&Request::get(&format!("/waits?{}", fifo.path())).bytes());
        let word = fifo.entered();
        Held {
            connection,
            word,
            _fifo: fifo,
        }
    }

    /// Lets it go; gives its connection.
    pub(crate) fn release(self) -> Connection {
        drop(self.word);
        self.connection
    }

    /// Lets it go; gives the text of the answer.
    #[track_caller]
    pub(crate) fn finish(self) -> String {
        self.release().response(1).expect(200).text()
    }
}
