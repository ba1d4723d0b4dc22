//! Who asks for what, and what is shown.

use super::knowledge::Knowledge;
use super::{html, metrics, text};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The path of the URL: its last name says what. A web server may have the page anywhere.
    pub(super) path: &'a [u8],
    /// What stands behind the path.
    pub(super) query: &'a [u8],
    /// What kinds of answer who asks can show.
    pub(super) accept: &'a [u8],
    /// Who asks, as the kernel says; nothing where it is not known.
    pub(super) uid: Option<u32>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status line, `200 OK`.
    pub(super) status: &'static str,
    /// Its media type.
    pub(super) kind: &'static str,
    pub(super) body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

impl Answer {
    pub(super) fn new(status: &'static str, kind: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            body: body.into(),
        }
    }
}

impl Question<'_> {
    fn asks_for(&self, word: &str) -> bool {
        let mut words = self.query.split(|byte| *byte == b'&');
        words.any(|asked| asked == word.as_bytes())
    }

    fn accepts(&self, kind: &[u8]) -> bool {
        self.accept.windows(kind.len()).any(|part| part == kind)
    }

    /// What there is to see.
    pub(super) fn answer(&self, knowledge: &mut Knowledge) -> Answer {
        let name = self.path.rsplit(|byte| *byte == b'/').next();
        match name.unwrap_or_default() {
            b"ping" => match knowledge.unready() {
                None => Answer::new("200 OK", TEXT, "pong\n"),
                Some(why) => Answer::new("503 Service Unavailable", TEXT, format!("{why}\n")),
            },
            b"metrics" => self.metrics(knowledge),
            b"status" | b"" => self.status(knowledge),
            _ => Answer::new(
                "404 Not Found",
                TEXT,
                "There is /status (?json, ?full), /metrics and /ping.\n",
            ),
        }
    }

    fn metrics(&self, knowledge: &mut Knowledge) -> Answer {
        Answer::new(
            "200 OK",
            metrics::KIND,
            metrics::write(knowledge.status(false)),
        )
    }

    fn status(&self, knowledge: &mut Knowledge) -> Answer {
        // Root may look everywhere.
        let is_owner = self
            .uid
            .is_some_and(|uid| uid == 0 || uid == knowledge.owner());
        let status = knowledge.status(is_owner && self.asks_for("query"));
        if self.asks_for("json") || self.accepts(JSON.as_bytes()) {
            return Answer::new("200 OK", JSON, status.write() + "\n");
        }
        let is_text = self.asks_for("text") || self.asks_for("full");
        if self.accepts(b"text/html") && !is_text {
            let body = html::write(&status, knowledge.history());
            return Answer::new("200 OK", HTML, body);
        }
        let body = text::write(&status, self.asks_for("full"));
        Answer::new("200 OK", TEXT, body)
    }
}
