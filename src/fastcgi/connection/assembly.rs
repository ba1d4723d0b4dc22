//! Makes requests of the bytes that come in: what each record does to the request that is open, and what is refused.

use std::time::{Duration, Instant};

use super::super::pairs::Pairs;
use super::super::parser::Event;
use super::super::record::{ProtocolStatus, RecordType, Role, write_record};
use super::{Connection, Incoming, Parsed, Step};
use crate::gateway::{self, Page};

impl Connection {
    /// Takes in bytes up to the point where a request is ready, and keeps the rest.
    pub(super) fn absorb(&mut self, mut input: &[u8]) -> Step {
        loop {
            let parsed = self.parse(&mut input, self.shared.limits.buffer);
            self.send_replies(Duration::ZERO);
            if self.broken {
                return Step::Close;
            }
            return match parsed {
                // Who waits for the answer before it ends the body has sent what it announced.
                Parsed::More if self.has_announced_body() => Step::Ready,
                Parsed::More => {
                    self.set_deadline();
                    Step::Wait
                }
                Parsed::Ready => {
                    self.incoming.keep(input);
                    Step::Ready
                }
                // Before the application was called: nothing more to do than to end it.
                Parsed::Aborted => match self.finish() {
                    Step::Wait if !self.lingering => continue,
                    step => step,
                },
                Parsed::Refused(page) => self.answer(&page),
                Parsed::Unserved => self.linger(),
                Parsed::Broken => Step::Close,
            };
        }
    }

    /// Parses `input` until the open request has its variables and either its whole body or `want` bytes of it. After an error
    /// nothing is left of it, and nothing more can be parsed.
    pub(in crate::fastcgi) fn parse(&mut self, input: &mut &[u8], want: usize) -> Parsed {
        let parsed = self.parse_on(input, want);
        if let Some(fault) = parsed.fault() {
            self.incoming.fail(fault);
            *input = &[];
        }
        parsed
    }

    fn parse_on(&mut self, input: &mut &[u8], want: usize) -> Parsed {
        while !self.is_ready(want) {
            let Incoming::Open(records) = &mut self.incoming else {
                return Parsed::Broken;
            };
            let Some(event) = records.parser.next(input) else {
                return Parsed::More;
            };
            if let Some(parsed) = self.digest(event) {
                return parsed;
            }
        }
        Parsed::Ready
    }

    fn has_announced_body(&self) -> bool {
        self.request
            .as_ref()
            .is_some_and(|request| request.has_announced_body())
    }

    fn is_ready(&self, want: usize) -> bool {
        self.request
            .as_ref()
            .is_some_and(|request| request.is_ready(want))
    }

    /// Does what an event asks for; something when that ends the parsing.
    pub(super) fn digest(&mut self, event: Event<'_>) -> Option<Parsed> {
        let request = self.request.as_mut();
        let open = request.as_ref().map(|request| request.id);
        match event {
            Event::Begin { id, role, keep } => match (open, role) {
                (Some(open), _) if open == id => {
                    log::warn!("malformed FastCGI: request {id} begins while it is open");
                    return Some(Parsed::Broken);
                }
                (Some(_), _) => self.refuse(id, ProtocolStatus::CantMpxConn),
                (None, Role::Unsupported(role)) => {
                    log::warn!("refused a FastCGI request for role {role}, which is not served");
                    self.refuse(id, ProtocolStatus::UnknownRole);
                    if !keep {
                        return Some(Parsed::Unserved);
                    }
                }
                (None, role) => {
                    self.deadline = Instant::now() + self.shared.limits.header_timeout;
                    self.request = Some(self.shared.open_request(id, role, keep));
                }
            },
            Event::Params(id, piece) => {
                if let Some(request) = request.filter(|request| request.takes_params(id)) {
                    request.params.extend_from_slice(piece);
                    if request.params.len() > self.shared.limits.params {
                        log::warn!(
                            "a request's variables are larger than --max-params: answered with 431"
                        );
                        let text = format!(
                            "The request's headers are larger than {} bytes.",
                            self.shared.limits.params
                        );
                        let status = "431 Request Header Fields Too Large";
                        return Some(Parsed::Refused(Page::new(status, text)));
                    }
                }
            }
            Event::ParamsEnd(id) => {
                if request.is_some_and(|request| request.takes_params(id)) {
                    if let Some(page) = self.params_are_whole() {
                        return Some(Parsed::Refused(page));
                    }
                }
            }
            Event::Stdin(id, piece) => {
                if let Some(request) = request.filter(|request| request.takes_body(id)) {
                    request.push_body(piece);
                    let early =
                        !request.params_ended && request.body.len() > self.shared.limits.buffer;
                    if self.body_is_too_large() {
                        return Some(Parsed::Refused(self.shared.too_large()));
                    }
                    if early {
                        // Nobody can take it before the variables are whole, which may be never.
                        log::warn!(
                            "malformed FastCGI: more than --buffer bytes of a request's body came before the end of its \
                             variables: answered with 400"
                        );
                        let text = "The web server sent a body before the end of its variables.";
                        return Some(Parsed::Refused(Page::new("400 Bad Request", text)));
                    }
                }
            }
            Event::StdinEnd(id) => {
                if let Some(request) = request.filter(|request| request.takes_body(id)) {
                    request.body_ended = true;
                }
            }
            Event::Abort(id) => {
                // "the application responds with END_REQUEST as soon as possible" (section 5.4)
                if open == Some(id) {
                    if let Some(request) = self.request.as_mut() {
                        request.aborted = true;
                    }
                    return Some(Parsed::Aborted);
                }
            }
            Event::GetValues => self.answer_values(),
            Event::UnknownManagement(kind) => {
                let body = [kind, 0, 0, 0, 0, 0, 0, 0];
                write_record(&mut self.replies, RecordType::UnknownType, 0, &body);
            }
            Event::Malformed(what) => {
                log::warn!("malformed FastCGI: {what}");
                return Some(Parsed::Broken);
            }
            Event::Version(version) => {
                log::warn!(
                    "not FastCGI: a record of version {version} where there is only 1; does the web server speak \
                     HTTP or uwsgi to this socket?"
                );
                return Some(Parsed::Broken);
            }
        }
        None
    }

    /// Reads the variables out of the whole PARAMS stream; a page when the request ends here.
    fn params_are_whole(&mut self) -> Option<Page> {
        let request = self.request.as_mut()?;
        for pair in Pairs::of(&request.params) {
            let Ok((name, value)) = pair else {
                log::warn!("malformed FastCGI: a name-value pair runs past the end of PARAMS");
                let text = "The web server sent malformed FastCGI variables.";
                return Some(Page::new("400 Bad Request", text));
            };
            request.variables.push(name, value);
        }
        request.params_ended = true;
        request.params.clear();
        if request.role == Role::Authorizer {
            // Section 6.3: an Authorizer gets no STDIN; FCGI_ROLE is how the application tells (as in section 3.4).
            request.variables.push(b"FCGI_ROLE", b"AUTHORIZER");
            request.body_ended = true;
        }
        if self.turned_away {
            let text = "The application server has all the connections that it can serve. Try again in a moment.";
            let mut page = Page::new("503 Service Unavailable", text);
            page.retry_after = Some(1);
            return Some(page);
        }
        let announced = gateway::Request::content_length(request.variables.get(b"CONTENT_LENGTH"));
        let limit = self.shared.limits.body;
        request.announced = announced;
        let large = announced.is_some_and(|length| limit.is_some_and(|limit| length > limit));
        large.then(|| self.shared.too_large())
    }

    pub(in crate::fastcgi) fn body_is_too_large(&self) -> bool {
        let come = self.request.as_ref().map_or(0, |request| request.body_come);
        self.shared.limits.body.is_some_and(|limit| come > limit)
    }
}
