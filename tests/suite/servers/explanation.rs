//! Has requests explained behind a web server, and reads what the explanation says. Judges nothing.

use std::net::SocketAddr;

use super::{Folder, gateway};
use crate::support::gateway::Gateway;
use crate::support::http::{Client, Page};
use crate::support::json::members;

/// There is none of the name: requests are explained.
const NO_APP: &str = "no_such_application";

/// A gateway that explains requests.
pub(super) fn explaining(options: &[&str]) -> Gateway {
    let mut all = vec!["--explain"];
    all.extend(options);
    gateway(NO_APP, &all)
}

/// What a page of JSON says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Explained {
    pub(super) server: String,
    pub(super) setup: String,
    /// The rule, SCRIPT_NAME and PATH_INFO.
    pub(super) path: [String; 3],
    /// The line that each finding says to change, or its text.
    pub(super) findings: Vec<String>,
    /// The same of what cannot be seen.
    pub(super) unseen: Vec<String>,
}

impl Explained {
    pub(super) fn of(page: &Page) -> Explained {
        assert_eq!(
            page.field("Content-Type"),
            Some("application/json"),
            "{}",
            page.text()
        );
        let words = members(
            &page.text(),
            "'\\x1f'.join([d['server'], d['setup'], d['rule'], d['script_name'], d['path_info'],
            '\\x1e'.join(f['change'] or f['text'] for f in d['findings']), '\\x1e'.join(f['change'] for f in d['unseen'])])",
        );
        let words: Vec<&str> = words.split('\x1f').collect();
        let [
            server,
            setup,
            rule,
            script_name,
            path_info,
            findings,
            unseen,
        ] = words[..]
        else {
            panic!("{words:?}");
        };
        let list = |text: &str| text.split_terminator('\x1e').map(str::to_owned).collect();
        Explained {
            server: server.to_owned(),
            setup: setup.to_owned(),
            path: [rule, script_name, path_info].map(str::to_owned),
            findings: list(findings),
            unseen: list(unseen),
        }
    }
}

/// Asks as a browser would, which names the port, but for JSON.
pub(super) fn ask(address: SocketAddr, target: &str, fields: &[&str]) -> Page {
    let host = format!("Host: site.example:{}", address.port());
    let mut all = vec![host.as_str(), "Accept: application/json"];
    all.extend(fields);
    let mut client = Client::open(address);
    client.begin("GET", target, &all, 0);
    client.page("GET")
}

pub(super) fn explained(address: SocketAddr, target: &str, fields: &[&str]) -> Explained {
    Explained::of(&ask(address, target, fields))
}

/// A program that explains requests, as one would put it in the place of an application.
pub(super) fn write_explain(folder: &Folder, name: &str) {
    let gateway = folder.gateway_program();
    folder.write_program(name, format!("#!{gateway} explain\n"));
}

/// The same, as a web server would start it for FastCGI.
pub(super) fn write_explain_service(folder: &Folder, name: &str) {
    let gateway = folder.gateway_program();
    // The kernel hands on all that follows the path as one word.
    let line = format!("#!/usr/bin/env -S {gateway} fastcgi --explain\n");
    folder.write_program(name, line);
}

/// A site whose application is in this folder.
pub(super) fn in_folder(site: &str, folder: &Folder) -> String {
    site.replace("/srv/app", folder.at("").trim_end_matches('/'))
        .replace("/srv/", &folder.at(""))
        .replace("/usr/local/bin/wsgi-gateway", &folder.gateway_program())
}
