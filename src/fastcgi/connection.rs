//! A connection from a web server without its socket: bytes and what the application says go in, records and what is to be
//! done next come out. Nothing in here does I/O, so all of it can be driven by a test.
//!
//! [`Phase`] says where a connection stands, by what has happened. The parser lives in the phases in which something may be
//! parsed: after an error in what the web server sent there is none, and such a connection can only end.
//!
//! One request at a time (section 3.3 allows more; we answer MPXS_CONNS 0 and CANT_MPX_CONN).

#[cfg(any(test, fuzzing))]
pub(super) mod model;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use super::Rules;
use super::pairs::{Pairs, write_pair};
use super::parser::{Event, Fault, Parser, Peek};
use super::record::{
    Cut, HEADER_LENGTH, ProtocolStatus, RecordType, Role, write_cut, write_end_request,
    write_record,
};
use super::request::BegunRequest;
use super::response::{MAX_STDERR, write_end, write_head, write_piece, write_reports};
use super::unsent::Unsent;
use crate::gateway::{Head, Page, Portion, ResponseProgress, Variables};

/// The most text that waits in the log for the end of its line.
const MAX_LINE: usize = 8 * 1024;

/// Bytes of the body that are taken in from what was read at once, so that small records are not gone through again and
/// again.
const AHEAD: usize = 64 * 1024;

/// A connection from a web server.
#[derive(Debug)]
pub(super) struct Connection {
    phase: Phase,
    /// What was read and not parsed yet: what the web server sent ahead.
    ahead: Vec<u8>,
    unsent: Unsent,
    rules: Arc<Rules>,
    /// Whether the responder was full when it came: its request gets a 503 page.
    turned_away: bool,
    /// Whether the web server has closed its side.
    has_ended: bool,
    /// Counts requests: whoever still has one that has ended can tell by it.
    turn: u64,
}

/// Where a connection stands.
#[derive(Debug)]
enum Phase {
    /// Between two requests, or before the first.
    Between(Parser),
    /// A request has begun, and its variables are not whole.
    Head(Parser, Box<BegunRequest>),
    /// They are, and more of its body is to come before the application is called.
    Body(Parser, Box<BegunRequest>),
    /// The application can be called.
    Ready(BodySource, Box<BegunRequest>),
    /// The application has it.
    Answering(BodySource, Box<BegunRequest>),
    /// The request of this id was answered, and a part of the answer has not left. The connection is kept after that if
    /// there still is a parser and it is not said how to end it.
    Sending(Option<Parser>, u16, Option<Goodbye>),
    /// Once everything has left, the connection ends.
    Closing(Goodbye),
    /// Nothing can be sent or received any more.
    Lost,
}

/// What the web server sends while the application has the request.
#[derive(Debug)]
enum BodySource {
    Open(Parser),
    Failed(InputError),
}

/// Why nothing more of a request's body can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputError {
    /// What came is no FastCGI.
    Malformed,
    /// It is larger than `--max-body`.
    TooLarge,
    /// The web server has closed its side.
    Gone,
    /// The connection is lost: nothing can be sent either, as a record may have been cut anywhere.
    Lost,
    /// The response was broken off, and nothing may stand behind the break.
    Broken,
    /// The request was answered in the application's place.
    Answered,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    /// Everything that was sent to us was read, so that closing cannot reset the connection under our answer.
    Close,
    /// Closing with bytes of its unread would reset the connection and take the answer away from the web server: it is
    /// told that nothing more comes, and has to close.
    Linger,
}

/// What a connection needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes from the web server.
    Receive,
    /// That it takes what is to be sent; with `true` also what it sends.
    Send(bool),
    /// Its request is ready for the application, or with the application.
    Ready,
    /// Our side to be closed, and the web server's close to be waited for.
    Linger,
    /// To be closed.
    Close,
}

/// For what a connection waits, and so how long it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// For a request.
    Request,
    /// For the rest of a record, or of the variables, of a request that has begun.
    Head,
    /// For a request's body, or for the web server to take the response.
    Progress,
}

/// What is here of a request's body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// Some bytes.
    Here,
    /// None, and none will come.
    Ended,
    /// None yet.
    Wait,
}

/// What has become of an answer in the application's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It has left.
    Whole,
    /// The web server took no more than a part, or nothing, and sees the connection end.
    Cut,
    /// The application has begun to answer, or there is no such request any more.
    TooLate,
}

/// Bytes that a connection holds.
#[cfg(any(test, fuzzing))]
#[derive(Debug)]
struct Held {
    /// Of what was read and is not parsed.
    ahead: usize,
    /// Of a request's body.
    body: usize,
    /// Of what is to be sent.
    unsent: usize,
}

impl Connection {
    pub(super) fn new(rules: Arc<Rules>, turned_away: bool) -> Self {
        Self {
            phase: Phase::Between(Parser::new()),
            ahead: Vec::new(),
            unsent: Unsent::default(),
            rules,
            turned_away,
            has_ended: false,
            turn: 0,
        }
    }

    /// Whether no request is open and none has begun.
    pub(super) fn is_idle(&self) -> bool {
        matches!(&self.phase, Phase::Between(parser) if parser.is_between_records())
    }

    /// Whether another process can go on with it: nothing of a request is here, and nothing is to be sent.
    pub(super) fn may_travel(&self) -> bool {
        self.is_idle() && self.ahead.is_empty() && self.unsent.is_empty()
    }

    /// What it needs next.
    pub(super) fn step(&self) -> Step {
        match &self.phase {
            Phase::Ready(..) | Phase::Answering(..) => Step::Ready,
            Phase::Lost => Step::Close,
            // The next request waits for its turn; half a header may be that of an abort.
            Phase::Sending(parser, ..) => {
                Step::Send(parser.is_some() && self.ahead.len() < HEADER_LENGTH)
            }
            _ if !self.unsent.is_empty() => Step::Send(false),
            Phase::Between(_) | Phase::Head(..) | Phase::Body(..) => Step::Receive,
            Phase::Closing(Goodbye::Close) => Step::Close,
            Phase::Closing(Goodbye::Linger) => Step::Linger,
        }
    }

    /// For what it waits.
    pub(super) fn awaits(&self) -> Awaits {
        match &self.phase {
            Phase::Between(parser) if parser.is_between_records() && self.unsent.is_empty() => {
                Awaits::Request
            }
            Phase::Between(parser) if !parser.is_between_records() => Awaits::Head,
            Phase::Head(..) => Awaits::Head,
            _ => Awaits::Progress,
        }
    }

    /// Bytes that it holds.
    #[cfg(any(test, fuzzing))]
    fn held(&self) -> Held {
        let body = match &self.phase {
            Phase::Head(_, request)
            | Phase::Body(_, request)
            | Phase::Ready(_, request)
            | Phase::Answering(_, request) => request.body.held(),
            _ => 0,
        };
        Held {
            ahead: self.ahead.len(),
            body,
            unsent: self.unsent.memory(),
        }
    }

    // ---- What the web server sends ---------------------------------------------------------------------------------

    /// Takes in what was read.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        if self.ahead.is_empty() && !matches!(self.phase, Phase::Ready(..) | Phase::Answering(..)) {
            return self.take_in(bytes);
        }
        match self.phase {
            Phase::Closing(_) | Phase::Lost => {}
            _ => self.ahead.extend_from_slice(bytes),
        }
        if !matches!(self.phase, Phase::Ready(..) | Phase::Answering(..)) {
            self.resume();
        }
    }

    /// Goes on with what came ahead of its turn.
    pub(super) fn resume(&mut self) {
        if !self.ahead.is_empty() {
            let bytes = std::mem::take(&mut self.ahead);
            self.take_in(&bytes);
            if self.ahead.is_empty() && bytes.capacity() <= AHEAD {
                self.ahead = bytes;
                self.ahead.clear();
            }
        }
    }

    /// The web server has closed its side.
    pub(super) fn end_of_input(&mut self) {
        self.has_ended = true;
        if matches!(self.phase, Phase::Ready(..) | Phase::Answering(..)) {
            // What has come of the body is still read.
            return self.read_ahead();
        }
        self.ahead.clear();
        self.phase = match std::mem::replace(&mut self.phase, Phase::Lost) {
            same @ (Phase::Ready(..) | Phase::Answering(..)) => same,
            // It may have shut down its sending side only, and read the rest.
            Phase::Sending(_, id, goodbye) => Phase::Sending(None, id, goodbye),
            Phase::Between(_) | Phase::Closing(_) | Phase::Lost => Phase::Lost,
            Phase::Head(_, request) | Phase::Body(_, request) => {
                log::debug!("the web server closed the connection in the middle of a request");
                self.rules.close_request(request);
                Phase::Lost
            }
        };
    }

    /// The connection is of no use any more.
    pub(super) fn lose(&mut self) {
        self.ahead = Vec::new();
        self.unsent = Unsent::default();
        self.phase = match std::mem::replace(&mut self.phase, Phase::Lost) {
            Phase::Answering(_, mut request) => {
                request.progress.fail();
                Phase::Answering(BodySource::Failed(InputError::Lost), request)
            }
            _ => Phase::Lost,
        };
    }

    /// Parses what the phase has a use for, and keeps the rest.
    fn take_in(&mut self, mut input: &[u8]) {
        loop {
            let phase = std::mem::replace(&mut self.phase, Phase::Lost);
            self.phase = match phase {
                Phase::Between(parser) => match self.next(parser, &mut input, false) {
                    Ok((parser, Some(event))) => self.between(parser, event),
                    Ok((parser, None)) => break self.phase = Phase::Between(parser),
                    Err(fault) => Self::faulted(fault),
                },
                Phase::Head(parser, request) => match self.next(parser, &mut input, false) {
                    Ok((parser, Some(event))) => self.head(parser, request, event),
                    Ok((parser, None)) => break self.phase = Phase::Head(parser, request),
                    Err(fault) => self.faulted_with(request, fault),
                },
                Phase::Body(parser, request) if request.can_begin(self.rules.limits.buffer) => {
                    break self.phase = self.ready(parser, request, &mut input);
                }
                Phase::Body(parser, mut request) => match self.next(parser, &mut input, false) {
                    Ok((parser, Some(event))) => match self.within(&mut request, event) {
                        Ok(()) if request.aborted => self.end_aborted(parser, request),
                        Ok(()) => Phase::Body(parser, request),
                        Err(InputError::TooLarge) => {
                            let page = self.rules.too_large();
                            self.refuse_with(request, &page)
                        }
                        Err(_) => Self::closed(request, &self.rules),
                    },
                    Ok((parser, None)) => break self.phase = Phase::Body(parser, request),
                    Err(fault) => self.faulted_with(request, fault),
                },
                Phase::Sending(Some(parser), id, goodbye) => {
                    match self.next(parser, &mut input, true) {
                        Ok((parser, Some(event))) => {
                            if event == Event::Abort(id) {
                                self.unsent.abandon();
                            }
                            Phase::Sending(Some(parser), id, goodbye)
                        }
                        Ok((parser, None)) => {
                            break self.phase = Phase::Sending(Some(parser), id, goodbye);
                        }
                        Err(fault) => {
                            log::warn!("{fault}");
                            Phase::Sending(None, id, goodbye)
                        }
                    }
                }
                other @ (Phase::Sending(None, ..) | Phase::Closing(_) | Phase::Lost) => {
                    self.phase = other;
                    return;
                }
                other @ (Phase::Ready(..) | Phase::Answering(..)) => break self.phase = other,
            };
        }
        self.ahead.extend_from_slice(input);
    }

    /// The next event that is of a request; what is not is answered. With `waits`, none where the next request begins; and
    /// none while too many answers wait for the web server to take them: it could have us keep any number of them.
    fn next<'a>(
        &mut self,
        mut parser: Parser,
        input: &mut &'a [u8],
        waits: bool,
    ) -> Result<(Parser, Option<Event<'a>>), Fault> {
        loop {
            if !self.unsent.has_room_for_answers() || waits && parser.may_begin_request(input) {
                return Ok((parser, None));
            }
            let (back, event) = if waits {
                parser.next_within_record(input)?
            } else {
                parser.next(input)?
            };
            parser = back;
            match event {
                // The end of a record of no meaning here: what follows may be the next request.
                None if waits && parser.is_between_records() => {}
                Some(Event::GetValues(names)) => self.answer_values(&names),
                Some(Event::UnknownManagement(kind)) => {
                    let body = [kind, 0, 0, 0, 0, 0, 0, 0];
                    self.unsent
                        .put_answer(|out| write_record(out, RecordType::UnknownType, 0, &body));
                }
                event => return Ok((parser, event)),
            }
        }
    }

    /// Answers GET_VALUES with those of the asked variables that we know (section 4.1).
    fn answer_values(&mut self, names: &[u8]) {
        let mut values = Vec::new();
        for (name, _) in Pairs::of(names).map_while(Result::ok) {
            // One request a connection, so as many requests as connections.
            let value = match name {
                b"FCGI_MAX_CONNS" | b"FCGI_MAX_REQS" => self.rules.limits.connections.to_string(),
                b"FCGI_MPXS_CONNS" => "0".to_owned(),
                _ => continue,
            };
            // A question may hold a name thousands of times; the answer has to fit one record.
            if values.len() + name.len() + value.len() < 1024 {
                write_pair(&mut values, name, value.as_bytes());
            }
        }
        self.unsent
            .put_answer(|out| write_record(out, RecordType::GetValuesResult, 0, &values));
    }

    fn refuse(&mut self, id: u16, status: ProtocolStatus) {
        self.unsent
            .put_answer(|out| write_end_request(out, id, 0, status));
    }

    fn between(&mut self, parser: Parser, event: Event<'_>) -> Phase {
        match event {
            Event::Begin {
                id,
                role: role @ Role::Unsupported(number),
                keep,
            } => {
                debug_assert!(matches!(role, Role::Unsupported(_)));
                log::warn!("refused a FastCGI request for role {number}, which is not served");
                self.refuse(id, ProtocolStatus::UnknownRole);
                if keep {
                    Phase::Between(parser)
                } else {
                    Phase::Closing(Goodbye::Linger)
                }
            }
            Event::Begin { id, role, keep } => {
                Phase::Head(parser, self.rules.open_request(id, role, keep))
            }
            // Of no open request: what is left of the STDIN of one that was answered, for one.
            _ => Phase::Between(parser),
        }
    }

    fn head(&mut self, parser: Parser, mut request: Box<BegunRequest>, event: Event<'_>) -> Phase {
        match event {
            Event::Params(id, piece) if id == request.id => {
                let most = self.rules.limits.params;
                if request.push_params(piece) <= most {
                    return Phase::Head(parser, request);
                }
                log::warn!("a request's variables are larger than --max-params: answered with 431");
                let text = format!("The request's headers are larger than {most} bytes.");
                let page = Page::new("431 BegunRequest Header Fields Too Large", text);
                self.refuse_with(request, &page)
            }
            Event::ParamsEnd(id) if id == request.id => {
                if !request.end_params() {
                    log::warn!("malformed FastCGI: a name-value pair runs past the end of PARAMS");
                    let text = "The web server sent malformed FastCGI variables.";
                    return self.refuse_with(request, &Page::new("400 Bad BegunRequest", text));
                }
                if self.turned_away {
                    let text = "The application server has all the connections that it can serve. Try again in a moment.";
                    let mut page = Page::new("503 Service Unavailable", text);
                    page.retry_after = Some(1);
                    return self.refuse_with(request, &page);
                }
                let announced = request.announced().unwrap_or(0);
                if self.is_too_large(announced) {
                    let page = self.rules.too_large();
                    return self.refuse_with(request, &page);
                }
                Phase::Body(parser, request)
            }
            event => match self.within(&mut request, event) {
                Ok(()) if request.aborted => self.end_aborted(parser, request),
                Ok(()) if request.body.here().len() <= self.rules.limits.buffer => {
                    Phase::Head(parser, request)
                }
                Ok(()) => {
                    log::warn!(
                        "malformed FastCGI: more than --buffer of a request's body came before the end of its PARAMS: \
                         answered with 400"
                    );
                    let text = "The web server sent a request's body before its variables.";
                    self.refuse_with(request, &Page::new("400 Bad BegunRequest", text))
                }
                Err(InputError::TooLarge) => {
                    let page = self.rules.too_large();
                    self.refuse_with(request, &page)
                }
                Err(_) => Self::closed(request, &self.rules),
            },
        }
    }

    /// Does what an event asks for that may come at any time while a request is open.
    fn within(&mut self, request: &mut BegunRequest, event: Event<'_>) -> Result<(), InputError> {
        match event {
            Event::Begin { id, .. } if id == request.id => {
                log::warn!("malformed FastCGI: request {id} begins while it is open");
                return Err(InputError::Malformed);
            }
            Event::Begin { id, .. } => self.refuse(id, ProtocolStatus::CantMpxConn),
            Event::Stdin(id, piece) if id == request.id && !request.body.has_ended() => {
                request.body.push(piece);
                if self.is_too_large(request.body.come()) {
                    return Err(InputError::TooLarge);
                }
            }
            Event::StdinEnd(id) if id == request.id => request.body.end(),
            Event::Abort(id) if id == request.id => request.aborted = true,
            _ => {}
        }
        Ok(())
    }

    fn is_too_large(&self, body: u64) -> bool {
        self.rules.limits.body.is_some_and(|most| body > most)
    }

    /// The application can be called. The end of its STDIN is taken in if it is here, so that nothing is left unread.
    fn ready(
        &mut self,
        mut parser: Parser,
        mut request: Box<BegunRequest>,
        input: &mut &[u8],
    ) -> Phase {
        parser.skip_padding(input);
        let end = Peek::Record(RecordType::Stdin, request.id, 0);
        let input_now = if !request.body.has_ended() && parser.peek(input) == end {
            let mut ahead = *input;
            match parser.next(&mut ahead) {
                Ok((parser, event)) => {
                    if event == Some(Event::StdinEnd(request.id)) {
                        request.body.end();
                    }
                    *input = ahead;
                    BodySource::Open(parser)
                }
                Err(fault) => {
                    log::warn!("{fault}");
                    BodySource::Failed(InputError::Malformed)
                }
            }
        } else {
            BodySource::Open(parser)
        };
        Phase::Ready(input_now, request)
    }

    fn faulted(fault: Fault) -> Phase {
        log::warn!("{fault}");
        Phase::Closing(Goodbye::Close)
    }

    fn faulted_with(&self, request: Box<BegunRequest>, fault: Fault) -> Phase {
        self.rules.close_request(request);
        Self::faulted(fault)
    }

    fn closed(request: Box<BegunRequest>, rules: &Rules) -> Phase {
        rules.close_request(request);
        Phase::Closing(Goodbye::Close)
    }

    /// An aborted request that the application has not seen: "the application responds with END_REQUEST as soon as
    /// possible" (section 5.4).
    fn end_aborted(&mut self, parser: Parser, request: Box<BegunRequest>) -> Phase {
        self.refuse(request.id, ProtocolStatus::RequestComplete);
        let keep = request.keep;
        self.rules.close_request(request);
        if keep {
            Phase::Between(parser)
        } else {
            Phase::Closing(Goodbye::Linger)
        }
    }

    /// Answers with a page instead of the application and ends the connection.
    fn refuse_with(&mut self, mut request: Box<BegunRequest>, page: &Page) -> Phase {
        self.write_page(&mut request, page);
        self.rules.close_request(request);
        Phase::Closing(Goodbye::Linger)
    }

    fn write_page(&mut self, request: &mut BegunRequest, page: &Page) {
        let (head, body) = page.render();
        request.progress = ResponseProgress::new(false);
        let admitted = request
            .progress
            .start(head, false)
            .map_err(io::Error::other)
            .and_then(|()| request.progress.admit(body.len() as u64, true));
        if let Ok(portion) = admitted {
            write_piece(&mut self.unsent, request, &portion, &[&body]);
        }
    }

    /// The time for what it waits for is over: a begun request gets a page, and the connection ends. `ending`: so does this
    /// process.
    pub(super) fn expire(&mut self, ending: bool) {
        let phase = std::mem::replace(&mut self.phase, Phase::Lost);
        if let Phase::Head(_, request) | Phase::Body(_, request) = phase {
            if ending {
                let text = "The application server is about to end. Try again in a moment.";
                let mut page = Page::new("503 Service Unavailable", text);
                page.retry_after = Some(1);
                self.phase = self.refuse_with(request, &page);
                return;
            }
            log::warn!(
                "a request did not come whole within --header-timeout or --io-timeout: answered with 408"
            );
            let text = "The request did not come whole within the time limit.";
            self.phase = self.refuse_with(request, &Page::new("408 BegunRequest Timeout", text));
        }
    }

    // ---- The request that the application has ----------------------------------------------------------------------

    /// Gives the request to the application: its variables, and the number by which it is known from here on.
    pub(super) fn begin(&mut self) -> Option<(Variables, u64)> {
        match std::mem::replace(&mut self.phase, Phase::Lost) {
            Phase::Ready(input, mut request) => {
                self.turn += 1;
                let variables = std::mem::take(&mut request.variables);
                self.phase = Phase::Answering(input, request);
                Some((variables, self.turn))
            }
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// The request that the application has, if it still is that of this number.
    pub(super) fn request(&mut self, turn: u64) -> io::Result<&mut BegunRequest> {
        match &mut self.phase {
            Phase::Answering(_, request) if self.turn == turn => Ok(request),
            _ => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the request has ended",
            )),
        }
    }

    /// Whether the application has a request.
    pub(super) fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answering(..))
    }

    /// Takes in what is here of the body, and says what there is.
    ///
    /// # Errors
    /// As `RequestBody::fill`.
    pub(super) fn fill(&mut self, turn: u64) -> io::Result<Filled> {
        if !self.request(turn)?.body.here().is_empty() {
            return Ok(Filled::Here);
        }
        self.read_ahead();
        let request = self.request(turn)?;
        if request.aborted {
            let text = "the web server aborted the request";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
        }
        if !request.body.here().is_empty() {
            return Ok(Filled::Here);
        }
        if request.body.is_whole() {
            return match request.body.lacks() {
                0 => Ok(Filled::Ended),
                lacks => Err(cut_short(&format!(
                    "the request's body ended {lacks} bytes before its CONTENT_LENGTH"
                ))),
            };
        }
        match self.input_error() {
            None => Ok(Filled::Wait),
            Some(InputError::TooLarge) => Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                self.rules.too_large_text(),
            )),
            Some(InputError::Malformed) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the web server sent malformed FastCGI",
            )),
            Some(InputError::Answered) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, ANSWERED))
            }
            Some(InputError::Broken) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the response was cut, and the request has ended with it",
            )),
            Some(InputError::Gone | InputError::Lost) => Err(cut_short(
                "the web server closed the connection in the middle of the request's body",
            )),
        }
    }

    fn input_error(&self) -> Option<InputError> {
        match self.phase {
            Phase::Answering(BodySource::Failed(error), _) => Some(error),
            _ => None,
        }
    }

    /// Whether nothing is parsed before the web server takes answers: what comes meanwhile is not to be read either.
    pub(super) fn is_held_up(&self) -> bool {
        !self.unsent.has_room_for_answers()
    }

    /// Whether more may be read while the application has the request: what it has not consumed stays bounded.
    pub(super) fn has_room(&self) -> bool {
        match &self.phase {
            Phase::Answering(BodySource::Open(_), request)
                if !self.is_held_up() && !self.has_ended =>
            {
                request.body.here().len() + self.ahead.len() < AHEAD
            }
            _ => false,
        }
    }

    /// Parses what was read, as far as it belongs to the request that the application has and there is room for it.
    pub(super) fn read_ahead(&mut self) {
        let ahead = std::mem::take(&mut self.ahead);
        let mut input = &ahead[..];
        while let Phase::Answering(BodySource::Open(_), request) = &self.phase {
            if request.aborted || request.body.here().len() >= AHEAD {
                break;
            }
            // Behind the body an abort may come. The next request has to wait for its turn.
            let waits = request.body.has_ended();
            let Phase::Answering(BodySource::Open(parser), mut request) =
                std::mem::replace(&mut self.phase, Phase::Lost)
            else {
                unreachable!("looked at just now");
            };
            let input_now = match self.next(parser, &mut input, waits) {
                Ok((_, None)) if self.has_ended && !self.is_held_up() => {
                    BodySource::Failed(InputError::Gone)
                }
                Ok((parser, None)) => {
                    self.phase = Phase::Answering(BodySource::Open(parser), request);
                    break;
                }
                Ok((parser, Some(event))) => match self.within(&mut request, event) {
                    Ok(()) => BodySource::Open(parser),
                    Err(error) => BodySource::Failed(error),
                },
                Err(fault) => {
                    log::warn!("{fault}");
                    BodySource::Failed(InputError::Malformed)
                }
            };
            if request.aborted {
                if request.progress.has_ended() {
                    // Its END_REQUEST is on its way, and there is but one.
                    self.unsent.abandon();
                } else {
                    request.progress.fail();
                }
            }
            self.phase = Phase::Answering(input_now, request);
        }
        match &self.phase {
            Phase::Answering(BodySource::Failed(_), _) => {}
            _ if input.is_empty() => {
                self.ahead = ahead;
                self.ahead.clear();
            }
            _ => self.ahead.extend_from_slice(input),
        }
    }

    /// Bytes of the body that come next without a header in between: they may be read straight to where they are wanted,
    /// then told to [`Connection::count_direct`].
    pub(super) fn direct(&self) -> usize {
        match &self.phase {
            Phase::Answering(BodySource::Open(parser), request)
                if self.ahead.is_empty() && !request.body.is_whole() =>
            {
                let left = parser.stdin_content_left(request.id);
                left.min(request.body.room())
            }
            _ => 0,
        }
    }

    /// So many bytes of [`Connection::direct`] were read elsewhere.
    pub(super) fn count_direct(&mut self, count: usize) {
        let most = self.rules.limits.body;
        if let Phase::Answering(input, request) = &mut self.phase {
            if let BodySource::Open(parser) = input {
                parser.skip_stdin(count);
            }
            request.body.count(count);
            if most.is_some_and(|most| request.body.come() > most) {
                *input = BodySource::Failed(InputError::TooLarge);
            }
        }
    }

    /// What is here of a connection whose application reads the body: to be parsed by [`Connection::read_ahead`].
    pub(super) fn push_ahead(&mut self, bytes: &[u8]) {
        self.ahead.extend_from_slice(bytes);
    }

    // ---- The response ----------------------------------------------------------------------------------------------

    pub(super) fn unsent(&mut self) -> &mut Unsent {
        &mut self.unsent
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// How much of a piece of the response may be sent, which then has to be put behind what is to be sent.
    ///
    /// # Errors
    /// `ConnectionAborted` when the answer is not wanted any more, else as [`ResponseProgress::admit`].
    pub(super) fn admit(
        &mut self,
        turn: u64,
        admit: impl FnOnce(&mut ResponseProgress) -> io::Result<Portion>,
    ) -> io::Result<Portion> {
        if self.input_error() == Some(InputError::Answered) {
            self.request(turn)?;
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, ANSWERED));
        }
        let request = self.request(turn)?;
        if request.aborted {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        admit(&mut request.progress)
    }

    /// A piece of the response that was admitted cannot be put.
    pub(super) fn fail(&mut self, turn: u64) {
        if let Ok(request) = self.request(turn) {
            request.progress.fail();
        }
    }

    /// Puts a piece of the response behind what is to be sent.
    pub(super) fn put(&mut self, portion: &Portion, blocks: &[&[u8]]) {
        if let Phase::Answering(_, request) = &mut self.phase {
            write_piece(&mut self.unsent, request, portion, blocks);
        }
    }

    /// Puts the head of a response behind what is to be sent, if it leaves now; its body has to follow by
    /// [`Connection::unsent`], and then [`Connection::put_end`].
    pub(super) fn put_head(&mut self, head: Option<&Head>) -> u16 {
        let Phase::Answering(_, request) = &mut self.phase else {
            return 0;
        };
        write_reports(&mut self.unsent, request);
        if let Some(head) = head {
            let mut bytes = Vec::new();
            write_head(head, request.role, &mut bytes);
            for piece in bytes.chunks(super::record::MAX_CONTENT) {
                write_record(self.unsent.records(), RecordType::Stdout, request.id, piece);
            }
        }
        request.id
    }

    /// Puts the end of the response behind what is to be sent.
    pub(super) fn put_end(&mut self) {
        if let Phase::Answering(_, request) = &mut self.phase {
            write_end(self.unsent.records(), request.id, request.reported);
        }
    }

    /// Takes text for FCGI_STDERR and the log.
    pub(super) fn report(&mut self, text: &[u8]) {
        let Phase::Answering(_, request) = &mut self.phase else {
            return log_report(text.strip_suffix(b"\n").unwrap_or(text));
        };
        let (lines, rest) = match text.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => (Some(&text[..end]), &text[end + 1..]),
            None => (None, text),
        };
        if let Some(lines) = lines {
            request.log_line.extend_from_slice(lines);
            log_report(&request.log_line);
            request.log_line.clear();
        }
        request.log_line.extend_from_slice(rest);
        if request.log_line.len() > MAX_LINE {
            log_report(&request.log_line);
            request.log_line.clear();
        }
        if !request.progress.has_failed() && !request.progress.has_ended() {
            request.reports.extend_from_slice(text);
        }
    }

    /// Whether so much was reported that it should leave.
    pub(super) fn has_many_reports(&self) -> bool {
        matches!(&self.phase, Phase::Answering(_, request) if request.reports.len() > MAX_STDERR)
    }

    /// Puts what was reported behind what is to be sent.
    pub(super) fn put_reports(&mut self) {
        if let Phase::Answering(_, request) = &mut self.phase {
            if !request.progress.has_failed() && !request.progress.has_ended() {
                write_reports(&mut self.unsent, request);
            }
        }
    }

    /// Answers in the application's place, if nothing of its answer has left: from here on it cannot.
    pub(super) fn answer_instead(&mut self, turn: u64, page: &Page) -> bool {
        if self
            .request(turn)
            .is_ok_and(|request| !request.progress.has_begun() && !request.aborted)
        {
            if let Phase::Answering(_, mut request) =
                std::mem::replace(&mut self.phase, Phase::Lost)
            {
                // Nothing was reported on STDERR either: that would have begun the application's answer.
                request.reports.clear();
                self.write_page(&mut request, page);
                // The application is told when it sends, and not before.
                request.progress = ResponseProgress::new(false);
                request.progress.fail();
                self.phase = Phase::Answering(BodySource::Failed(InputError::Answered), request);
                return true;
            }
        }
        false
    }

    /// Whether the application is in the middle of its response.
    pub(super) fn is_cut(&self) -> bool {
        matches!(&self.phase, Phase::Answering(_, request) if request.progress.is_cut())
    }

    /// The application is done with the request, whose variables are given back for their memory.
    /// `is_nginx`: that is the web server's name for itself.
    pub(super) fn finish(&mut self, variables: Option<Variables>, is_nginx: bool) {
        let (input, mut request) = match std::mem::replace(&mut self.phase, Phase::Lost) {
            Phase::Answering(input, request) => (input, request),
            other => return self.phase = other,
        };
        if let Some(variables) = variables {
            request.variables = variables;
        }
        let (id, keep) = (request.id, request.keep);
        let answered = matches!(input, BodySource::Failed(InputError::Answered));
        let mut ended = request.progress.has_ended() || answered;
        let mut is_broken = false;
        if let BodySource::Failed(InputError::Lost | InputError::Broken) = input {
            // Nothing may be put behind what has left.
        } else if request.aborted && !ended {
            self.unsent.abandon();
            self.refuse(id, ProtocolStatus::RequestComplete);
            ended = true;
        } else if request.progress.is_cut() {
            // In the way that this web server understands soonest, and never like a whole one.
            let owed = request.progress.owed();
            write_cut(
                self.unsent.records(),
                id,
                Cut::of(request.role, owed, is_nginx),
            );
            ended = owed == Some(0) && request.role != Role::Authorizer;
            is_broken = !ended;
        }
        let input = match input {
            BodySource::Open(_) if self.has_ended => BodySource::Failed(InputError::Gone),
            BodySource::Open(_) if is_broken => BodySource::Failed(InputError::Broken),
            input => input,
        };
        let clean =
            request.body.has_ended() && request.role != Role::Authorizer && self.ahead.is_empty();
        self.rules.close_request(request);
        let goodbye = match ended {
            true if keep => None,
            true if clean => Some(Goodbye::Close),
            _ => Some(Goodbye::Linger),
        };
        self.phase = match (input, goodbye) {
            // What is left of this request's STDIN is passed over as belonging to no open request; an abort is heard.
            (BodySource::Open(parser), goodbye) if !self.unsent.is_empty() => {
                Phase::Sending(Some(parser), id, goodbye)
            }
            (BodySource::Open(parser), None) => Phase::Between(parser),
            (BodySource::Open(_), Some(goodbye)) => Phase::Closing(goodbye),
            (BodySource::Failed(InputError::Lost), _) => Phase::Lost,
            (BodySource::Failed(InputError::Gone), _) if self.unsent.is_empty() => Phase::Lost,
            (BodySource::Failed(_), _) => Phase::Closing(Goodbye::Linger),
        };
        if matches!(self.phase, Phase::Sending(..)) {
            // There may be an abort.
            self.resume();
        }
    }

    /// The file of a response has ended before it should have, and a cut is what is sent in its place.
    pub(super) fn file_ended(&mut self) {
        match &mut self.phase {
            Phase::Answering(input, request) => {
                request.progress.fail();
                *input = BodySource::Failed(InputError::Broken);
            }
            Phase::Sending(parser, ..) => *parser = None,
            Phase::Closing(goodbye) => *goodbye = Goodbye::Linger,
            _ => {}
        }
    }

    /// What is sent in place of the end of the response when it can only be cut, for one of which some bytes are owed.
    pub(super) fn cut_of(&mut self, turn: u64, is_nginx: bool) -> io::Result<Vec<u8>> {
        let request = self.request(turn)?;
        let mut cut = Vec::new();
        write_cut(
            &mut cut,
            request.id,
            Cut::of(request.role, Some(1), is_nginx),
        );
        Ok(cut)
    }

    /// Everything that was to be sent has left: goes on.
    pub(super) fn all_sent(&mut self) {
        if let Phase::Sending(parser, _, goodbye) = &mut self.phase {
            self.phase = match (parser.take(), *goodbye) {
                (Some(parser), None) => Phase::Between(parser),
                (Some(_), Some(goodbye)) => Phase::Closing(goodbye),
                (None, _) => Phase::Closing(Goodbye::Linger),
            };
        }
        if matches!(
            self.phase,
            Phase::Between(_) | Phase::Head(..) | Phase::Body(..)
        ) {
            self.resume();
        }
    }
}

/// What the application is told of a request that was answered in its place.
const ANSWERED: &str = "the request took too long and was answered without the application";

fn cut_short(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, text.to_owned())
}

/// Writes a piece of the application's error text to the log.
pub(super) fn log_report(line: &[u8]) {
    log::error!(target: "wsgi.errors", "{}", String::from_utf8_lossy(line));
}
