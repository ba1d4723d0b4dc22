//! Sends the one list of requests through a web server and compares each answer with the reference server's. What a web server itself
//! loses on the way stands in a table beside the server, with the reason; anything else that differs fails, and so does a row of the
//! table that is not needed any more.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use super::Server;
use super::oracle::Oracle;
use super::requests::{Request, requests};
use crate::support::http::{Client, Page};

/// The application behind all of it.
pub(crate) const APP: &str = "matrix_site";

/// One way through one web server to the application.
pub(crate) struct Way<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: SocketAddr,
    /// Where the application is: "" for the whole site, or "/app".
    pub(crate) mount: &'a str,
    /// What the web server is known to lose, in tables of which one may serve several ways.
    pub(crate) losses: &'a [&'a [Loss]],
}

/// One thing that a web server makes different before or after the gateway has a say.
pub(crate) struct Loss {
    /// A request by its name, or "*": any.
    pub(crate) request: &'static str,
    /// "status", a variable, or a field of the response as in "field Location". Where the status differs, or whose page it is (X-Page), nothing else is looked
    /// at.
    pub(crate) what: &'static str,
    /// What it is then, as `reference.py` and `matrix_site.py` would write it; "-" when it is not there. The status
    /// "not asked": the server would hang, and the request is not sent.
    pub(crate) becomes: &'static str,
    /// Whether every version of the server has it, and each time: a row that is not needed fails then.
    pub(crate) always: bool,
    pub(crate) why: &'static str,
}

/// A row of a table of losses.
pub(crate) const fn loss(
    request: &'static str,
    what: &'static str,
    becomes: &'static str,
    why: &'static str,
) -> Loss {
    let always = true;
    Loss {
        request,
        what,
        becomes,
        always,
        why,
    }
}

/// A row that only some versions of the server need, or not each time.
pub(crate) const fn loss_of_some(
    request: &'static str,
    what: &'static str,
    becomes: &'static str,
    why: &'static str,
) -> Loss {
    let always = false;
    Loss {
        always,
        ..loss(request, what, becomes, why)
    }
}

/// Runs the list through servers by name, of which each has the application at the mount beside it: what they lose everywhere, where
/// the application has the whole site, and where it is below.
pub(crate) fn check_servers(
    servers: &[(&str, &str, Server)],
    everywhere: &[Loss],
    whole: &[Loss],
    below: &[Loss],
) {
    let tables = [[everywhere, whole], [everywhere, below]];
    let ways: Vec<Way<'_>> = servers
        .iter()
        .map(|(name, mount, server)| Way {
            name,
            address: server.address(),
            mount,
            losses: &tables[usize::from(!mount.is_empty())],
        })
        .collect();
    check(&ways);
}

/// Runs the list through all of these ways, and panics with all that is wrong.
pub(crate) fn check(ways: &[Way<'_>]) {
    let list = requests();
    let mut references: BTreeMap<&str, Vec<Answer>> = BTreeMap::new();
    let mut wrong = String::new();
    for way in ways {
        // Of use when a request brings the test itself down: its output is shown then.
        eprintln!("{}", way.name);
        let expected = references.entry(way.mount).or_insert_with(|| {
            let oracle = Oracle::start(APP, way.mount);
            answers(oracle.address(), way.mount, &list, &[])
        });
        let answers = answers(way.address, way.mount, &list, way.losses);
        let (unknown, unneeded) = compare(way, &list, expected, &answers);
        for ([what, expected, becomes], requests) in unknown {
            writeln!(
                wrong,
                "{}: {what:?} is {becomes:?}, not {expected:?}, in {requests:?}",
                way.name
            )
            .unwrap();
        }
        for loss in unneeded {
            let Loss {
                request,
                what,
                becomes,
                why,
                ..
            } = loss;
            writeln!(
                wrong,
                "{}: {what:?} is not {becomes:?} in {request:?}, as the table has it ({why})",
                way.name
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What differs and should not (what, what it is in the reference, what it is here), with the requests; and the rows that nothing needs.
type Findings<'a> = (BTreeMap<[String; 3], Vec<&'a str>>, Vec<&'a Loss>);

fn compare<'a>(
    way: &Way<'a>,
    list: &'a [Request],
    expected: &[Answer],
    answers: &[Answer],
) -> Findings<'a> {
    let losses: Vec<&Loss> = way.losses.iter().copied().flatten().collect();
    let mut unneeded = vec![true; losses.len()];
    let mut unknown: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let asked = list.iter().filter(|request| is_for(request, way.mount));
    for ((request, expected), answer) in asked.zip(expected).zip(answers) {
        for difference in differences(expected, answer) {
            let [what, _, becomes] = &difference;
            let mut known = false;
            for (loss, unneeded) in losses.iter().zip(&mut unneeded) {
                if loss.is_of(request)
                    && loss.what == what
                    && (loss.becomes == becomes || loss.becomes == ANY)
                {
                    (known, *unneeded) = (true, false);
                }
            }
            if !known {
                unknown.entry(difference).or_default().push(request.name);
            }
        }
    }
    let unneeded = losses.into_iter().zip(unneeded).filter(|(loss, unneeded)| {
        let of: Vec<&Request> = list.iter().filter(|request| loss.is_of(request)).collect();
        assert!(!of.is_empty(), "no request is called {:?}", loss.request);
        *unneeded && loss.always && of.iter().any(|request| is_for(request, way.mount))
    });
    (unknown, unneeded.map(|(loss, _)| loss).collect())
}

impl Loss {
    fn is_of(&self, request: &Request) -> bool {
        self.request == "*" || self.request == request.name
    }
}

fn is_for(request: &Request, mount: &str) -> bool {
    !request.below_a_mount || !mount.is_empty()
}

/// What an answer comes down to: the status, fields of the response, and what the application said that it was told.
type Answer = BTreeMap<String, String>;

/// Whatever it becomes, which other rows and the rest of the answer tell.
pub(crate) const ANY: &str = "*";

/// The status of a request that is not sent.
const NOT_ASKED: &str = "not asked";

/// The answers to those requests of the list that are for this mount, over connections that are kept while the server keeps them: what
/// an answer has too much would be read as the next.
fn answers(address: SocketAddr, mount: &str, list: &[Request], losses: &[&[Loss]]) -> Vec<Answer> {
    let mut kept: Option<Client> = None;
    let mut answers = Vec::new();
    for request in list.iter().filter(|request| is_for(request, mount)) {
        let no_page = |status: &str| BTreeMap::from([("status".into(), status.into())]);
        let mut losses = losses.iter().copied().flatten();
        if losses.any(|loss| (loss.request, loss.becomes) == (request.name, NOT_ASKED)) {
            answers.push(no_page(NOT_ASKED));
            continue;
        }
        let bytes = request.bytes(mount, address.port());
        let ask = |mut client: Client| {
            let sent = client.try_write(&bytes).is_ok();
            let page = if sent {
                client.final_page(request.method)
            } else {
                None
            };
            page.map(|page| (client, page))
        };
        // A server may close a connection that it was thought to keep: a request is then sent again.
        let answered = kept.take().and_then(ask);
        let Some((client, page)) = answered.or_else(|| ask(Client::open(address))) else {
            answers.push(no_page("no answer"));
            continue;
        };
        let is = |field, value| {
            page.field(field)
                .is_some_and(|it: &str| it.eq_ignore_ascii_case(value))
        };
        if page.whole && page.http_1_1 && !is("Connection", "close") {
            kept = Some(client);
        }
        answers.push(answer(&page, address.port()));
    }
    answers
}

/// The fields that the application's pages set.
const FIELDS: [&str; 9] = [
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "ETag",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Long",
    "X-Page",
];

fn answer(page: &Page, port: u16) -> Answer {
    let mut answer = Answer::new();
    let status = if page.whole { "" } else { ", cut" };
    answer.insert("status".into(), format!("{}{status}", page.status));
    for name in FIELDS {
        if let Some(value) = page.field(name) {
            answer.insert(format!("field {name}"), value.to_owned());
        }
    }
    let cookies = page
        .fields
        .iter()
        .filter(|field| field.0.eq_ignore_ascii_case("Set-Cookie"));
    for (number, (_, value)) in cookies.enumerate() {
        answer.insert(format!("field Set-Cookie {number}"), value.clone());
    }
    // Other than 200: a part of it.
    if page.field("X-Page") == Some("told") && page.status == 200 {
        let text = page.text();
        for line in text.lines() {
            let (name, value) = line.split_once('=').expect("NAME=value");
            // Each server has a port of its own.
            let value = if ["HTTP_HOST", "HTTP_X_FORWARDED_HOST", "SERVER_PORT"].contains(&name) {
                value.replace(&port.to_string(), "PORT")
            } else {
                value.to_owned()
            };
            answer.insert(name.to_owned(), value);
        }
        // As long as the page is; the page is compared word for word.
        answer.remove("field Content-Length");
    } else {
        answer.insert("body".into(), abridged(&page.body));
    }
    answer
}

/// Short bodies as they are, long ones by what would change if anything did.
fn abridged(body: &[u8]) -> String {
    if body.len() < 100 {
        return String::from_utf8_lossy(body).into_owned();
    }
    let sum = body
        .iter()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
    format!("{} bytes, {sum:x}", body.len())
}

/// What differs, what it is in the reference, and what it is here.
fn differences(expected: &Answer, answer: &Answer) -> Vec<[String; 3]> {
    let of = |answer: &Answer, what: &str| answer.get(what).cloned().unwrap_or("-".into());
    let mut names: Vec<&String> = expected.keys().chain(answer.keys()).collect();
    // Another page is enough to say; and outside the application the words of the page are the server's.
    let decisive = ["status", "field X-Page"]
        .into_iter()
        .find(|what| of(expected, what) != of(answer, what) || of(expected, what) == "-");
    if let Some(decisive) = decisive {
        names.retain(|name| *name == decisive);
    }
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|what| [what.clone(), of(expected, what), of(answer, what)])
        .filter(|[_, expected, answer]| expected != answer)
        .collect()
}
