//! `explain`: answers a request itself, in the application's place, with what the web server sent, what became of it, and
//! what is wrong with the set-up. Needs no Python, so that it works when that is what is wrong.
//!
//! `report` finds out, `server`, `findings`, `hints` and `redact` each know a part of that; `html`, `json` and `text` only
//! write it down, as `query` says. Cookies and other secrets are hidden, and of a process's environment only what a web
//! server puts there is shown.

mod findings;
mod hints;
mod html;
mod json;
mod query;
mod redact;
mod repeated;
mod report;
mod server;
mod text;

use crate::gateway::html::PAGE_FIELDS;
use crate::gateway::{Exchange, Head, Mount};
use query::{Check, Format};
use report::Report;

/// What is known of the gateway itself.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// Whether the web server ran this program for the request (CGI): its environment is then among the variables.
    pub by_program: bool,
    /// Where the operator says that the application lies.
    pub mount: Option<&'a Mount>,
}

/// Answers a request with the explanation of itself.
pub fn answer(exchange: &dyn Exchange, gateway: Gateway<'_>) {
    let unframed = exchange.marks_end_of_body();
    let report = Report::of(exchange.variables(), gateway, unframed);
    let variables = exchange.variables();
    let (kind, body) = match Format::of(variables) {
        Format::Html => ("text/html; charset=utf-8", html::write(&report)),
        Format::Json => ("application/json", json::write(&report)),
        Format::Text => ("text/plain; charset=utf-8", text::write(&report)),
    };
    // An Authorizer's 200 lets the client in (FastCGI section 6.3).
    let is_authorizer = variables.get(b"FCGI_ROLE") == Some(b"AUTHORIZER");
    let check = Check::of(variables);
    let is_asked = check == Some(Check::Authorization) && report.request.authorization.is_none();
    let status = if is_authorizer {
        "403 Forbidden"
    } else if is_asked {
        "401 Unauthorized"
    } else {
        "200 OK"
    };
    let head = head(status, kind, body.len(), check);
    if let Err(error) = exchange.answer(head, body.as_bytes()) {
        log::debug!("the web server has gone: {error}");
    }
}

/// A page that nobody keeps, indexes, frames or runs anything in.
fn head(status: &str, kind: &str, length: usize, check: Option<Check>) -> Head {
    let length = length.to_string();
    let mut fields = vec![
        ("Content-Type", kind),
        ("Content-Length", &length),
        ("Vary", "Accept"),
    ];
    fields.extend(PAGE_FIELDS);
    if status.starts_with("401") {
        fields.push((
            "WWW-Authenticate",
            "Basic realm=\"any name and any password\"",
        ));
    }
    // More than nginx takes by itself, less than HAProxy's buffer, and in lines that are not too long for Apache.
    let long = "x".repeat(1000);
    if check == Some(Check::Head) {
        fields.extend([("X-Check-Head", long.as_str()); 12]);
    }
    let head = Head::new(status.as_bytes()).and_then(|mut head| {
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes())?;
        }
        Ok(head)
    });
    head.expect("the gateway's own pages are well-formed")
}
