//! What goes wrong in a request, in each of its phases, and what comes behind it on the same connection: what the web server's client has
//! written is never taken for records, and what can go on goes on.
//!
//! One table: {kept, new} x {what goes wrong} x {`--max-body`, none}, each before the application is called and while it reads.

use crate::support::client::{
    ABORT_REQUEST, Connection, END_REQUEST, PARAMS, RESPONDER, Request, STDIN, STDOUT, begin,
    fetch, record, stream,
};
use crate::support::gateway::Gateway;

/// More than `--buffer`, so that the application is called before its body is whole, and a `--max-body`.
const MUCH: usize = 100_000;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// PARAMS end in the middle of a pair.
    Head,
    /// With `--max-body` more than that, else a record of no request.
    MidBody,
    Abort,
    Version,
    SecondBegin,
    /// Less than CONTENT_LENGTH.
    Short,
}

#[test]
fn what_goes_wrong_ends_the_connection_or_its_request_alone() {
    let mut failed = Vec::new();
    for limited in [true, false] {
        let mut options = vec!["--threads", "4"];
        if limited {
            options.extend(["--max-body", "100000"]);
        }
        let gateway = Gateway::start("phases", &options);
        std::thread::scope(|scope| {
            let cells: Vec<_> = cells(limited)
                .map(|cell| {
                    let gateway = &gateway;
                    (cell, scope.spawn(move || cell.check(gateway)))
                })
                .collect();
            for (cell, thread) in cells {
                // One that panics has been sent what is no FastCGI, or nothing.
                let outcome = thread.join().unwrap_or(Err("see above".to_owned()));
                failed.extend(outcome.err().map(|what| format!("{cell:?}: {what}")));
            }
        });
        let after = fetch(gateway.socket(), &Request::get("/after")).expect(200);
        assert_eq!(after.text(), "nobody asked for /after with 0 bytes");
        gateway.wait_for_log("nobody asked for /after");
        if gateway.log().contains("admin asked for") {
            failed.push(format!("limited {limited}: what is no request was run"));
        }
    }
    assert!(failed.is_empty(), "{} fail: {failed:#?}", failed.len());
}

/// The table.
fn cells(limited: bool) -> impl Iterator<Item = Cell> {
    use Wrong::{Abort, Head, MidBody, SecondBegin, Short, Version};
    let wrong = [Head, MidBody, Abort, Version, SecondBegin, Short];
    (0..4 * wrong.len()).map(move |number| Cell {
        wrong: wrong[number / 4],
        keep: number % 2 == 0,
        limited,
        reading: number % 4 < 2,
    })
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    wrong: Wrong,
    keep: bool,
    limited: bool,
    /// Whether the application reads already when it goes wrong.
    reading: bool,
}

impl Cell {
    /// A POST of unknown length, as nginx makes it of an upload in chunks with `fastcgi_request_buffering off`.
    fn request(&self) -> Request {
        let mut request = Request::post("/first", b"").without("CONTENT_LENGTH");
        request.keep = self.keep;
        request
    }

    /// The request up to where it goes wrong, and that.
    fn wire(&self) -> Vec<u8> {
        let mut wire = self.request().head();
        if self.reading {
            wire.extend(self.body(80_000));
        } else {
            wire.extend(self.body(800));
        }
        match self.wrong {
            Wrong::Head => {
                wire = begin(1, RESPONDER, u8::from(self.keep));
                if self.reading {
                    // Not that the application reads, but STDIN comes already.
                    wire.extend(self.body(800));
                }
                wire.extend(stream(PARAMS, 1, b"\x05\x05abc", 100));
            }
            Wrong::MidBody if self.limited => wire.extend(self.body(2 * MUCH)),
            Wrong::MidBody => wire.extend(record(STDIN, 0, b"of nobody", 0)),
            Wrong::Abort => wire.extend(record(ABORT_REQUEST, 1, b"", 0)),
            Wrong::Version => wire.extend([9, STDIN, 0, 1, 0, 0, 0, 0]),
            Wrong::SecondBegin => wire.extend(begin(1, RESPONDER, 1)),
            Wrong::Short => {
                let length = if self.reading { 90_000 } else { 900 };
                let request = self.request().param("CONTENT_LENGTH", length.to_string());
                wire = request.head();
                wire.extend(self.body(length - 100));
                wire.extend(record(STDIN, 1, b"", 0));
            }
        }
        wire
    }

    /// So many bytes of STDIN, which are requests of an administrator to whoever takes them for records.
    fn body(&self, length: usize) -> Vec<u8> {
        let admin = admin("/body").bytes();
        let content: Vec<u8> = admin.into_iter().cycle().take(length).collect();
        content
            .chunks(32_768)
            .flat_map(|piece| record(STDIN, 1, piece, 0))
            .collect()
    }

    fn check(&self, gateway: &Gateway) -> Result<(), String> {
        let mut connection = Connection::open(gateway.socket());
        let mut wire = self.wire();
        let next = match self.wrong {
            Wrong::Abort | Wrong::Short => Request::post("/next", b"next").keep().id(2),
            _ => admin("/behind"),
        };
        wire.extend(next.bytes());
        let mut writer = connection.writer();
        let records = std::thread::scope(|scope| {
            scope.spawn(move || writer.write(&wire));
            self.records(&mut connection)
        });
        let ends = |id| {
            records
                .iter()
                .filter(|record| (record.0, record.1) == (END_REQUEST, id))
                .count()
        };
        let text: Vec<u8> = records
            .iter()
            .filter(|record| record.0 == STDOUT)
            .flat_map(|record| record.2.clone())
            .collect();
        let text = String::from_utf8_lossy(&text);
        if text.contains("admin") {
            return Err(format!("answered what is no request: {text}"));
        }
        let goes_on = self.keep && matches!(self.wrong, Wrong::Abort | Wrong::Short);
        if text.contains("/next with 4 bytes") != goes_on {
            return Err(format!("the next request: {text}"));
        }
        if matches!(self.wrong, Wrong::Abort | Wrong::Short) && ends(1) != 1 {
            return Err(format!("{} ends of the request", ends(1)));
        }
        if ends(1) > 1 || ends(2) != usize::from(goes_on) {
            return Err(format!("ends: {} and {}", ends(1), ends(2)));
        }
        // Of an error in the body the application has been told, which may answer as it likes.
        if self.wrong == Wrong::Head && !text.contains("Status: 400") {
            return Err(format!("no page: {text}"));
        }
        Ok(())
    }

    /// Everything up to the end of the connection, or of the request that comes behind where that is answered.
    fn records(&self, connection: &mut Connection) -> Vec<(u8, u16, Vec<u8>)> {
        let mut records = Vec::new();
        while let Some(record) = connection.read_record() {
            let last = (record.kind, record.id) == (END_REQUEST, 2);
            records.push((record.kind, record.id, record.content));
            if last {
                break;
            }
        }
        records
    }
}

fn admin(path: &str) -> Request {
    Request::get(path).param("REMOTE_USER", "admin").keep()
}
