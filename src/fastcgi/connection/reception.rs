//! What is made of the web server's events until the application has the request: each moves the connection from one phase
//! to the next. What needs no application is answered here: questions, refusals, and pages in place of requests that cannot be.

use std::io;
use std::sync::Arc;

use super::super::Rules;
use super::super::pairs::{Pairs, write_pair};
use super::super::parser::{Event, Fault, Parser, Peek};
use super::super::record::{
    Cut, ProtocolStatus, RecordType, Role, write_cut, write_end_request, write_record,
};
use super::super::request::BegunRequest;
use super::super::response::{write_piece, write_reports};
use super::super::unsent::Unsent;
use super::phase::{Answered, BodySource, Goodbye, InputError, Phase};
use crate::gateway::{Page, Refusal, ResponseProgress};

/// What answers the web server in the application's place.
#[derive(Debug)]
pub(super) struct Reception {
    pub(super) unsent: Unsent,
    pub(super) rules: Arc<Rules>,
    /// Whether the responder was full when the connection came: its request gets a 503 page.
    turned_away: bool,
}

impl Reception {
    pub(super) fn new(rules: Arc<Rules>, turned_away: bool) -> Self {
        Self {
            unsent: Unsent::default(),
            rules,
            turned_away,
        }
    }

    /// Takes what the phase has a use for from the front of `input`; in `Err` a phase that waits for more, or for something
    /// else to happen.
    pub(super) fn go_on(&mut self, phase: Phase, input: &mut &[u8]) -> Result<Phase, Phase> {
        Ok(match phase {
            Phase::Between(parser) => match self.next(parser, input, false) {
                Ok((parser, Some(event))) => self.between(parser, event),
                Ok((parser, None)) => return Err(Phase::Between(parser)),
                Err(fault) => Self::faulted(fault),
            },
            Phase::Head(parser, request) => match self.next(parser, input, false) {
                Ok((parser, Some(event))) => self.head(parser, request, event),
                Ok((parser, None)) => return Err(Phase::Head(parser, request)),
                Err(fault) => self.faulted_with(request, fault),
            },
            Phase::Body(parser, request) if request.can_begin(self.rules.limits.buffer) => {
                return Err(self.ready(parser, request, input));
            }
            Phase::Body(parser, mut request) => match self.next(parser, input, false) {
                Ok((parser, Some(event))) => match self.within(&mut request, event) {
                    Ok(()) if request.aborted => self.end_aborted(parser, request),
                    Ok(()) => Phase::Body(parser, request),
                    Err(InputError::TooLarge) => {
                        let page = self.rules.too_large();
                        self.refuse_with(request, &page)
                    }
                    Err(_) => Self::closed(request, &self.rules),
                },
                Ok((parser, None)) => return Err(Phase::Body(parser, request)),
                Err(fault) => self.faulted_with(request, fault),
            },
            Phase::Sending(Some(parser), id, goodbye) => match self.next(parser, input, true) {
                Ok((parser, Some(event))) => {
                    if event == Event::Abort(id) {
                        self.rules.tally.was_left();
                        self.unsent.abandon();
                    }
                    Phase::Sending(Some(parser), id, goodbye)
                }
                Ok((parser, None)) => {
                    return Err(Phase::Sending(Some(parser), id, goodbye));
                }
                Err(fault) => {
                    log::warn!("{fault}");
                    Phase::Sending(None, id, goodbye)
                }
            },
            other => return Err(other),
        })
    }

    /// The next event that is of a request; what is not is answered. With `waits`, none where the next request begins; and
    /// none while too many answers wait for the web server to take them: it could have us keep any number of them.
    pub(super) fn next<'a>(
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
    pub(super) fn answer_values(&mut self, names: &[u8]) {
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

    pub(super) fn refuse(&mut self, id: u16, status: ProtocolStatus) {
        self.unsent
            .put_answer(|out| write_end_request(out, id, 0, status));
    }

    pub(super) fn between(&mut self, parser: Parser, event: Event<'_>) -> Phase {
        match event {
            Event::Begin {
                id,
                role: Role::Unsupported(number),
                keep,
            } => {
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

    pub(super) fn head(
        &mut self,
        parser: Parser,
        mut request: Box<BegunRequest>,
        event: Event<'_>,
    ) -> Phase {
        match event {
            Event::Params(id, piece) if id == request.id => {
                let most = self.rules.limits.params;
                if request.push_params(piece) <= most {
                    return Phase::Head(parser, request);
                }
                log::warn!("a request's variables are larger than --max-params: answered with 431");
                self.rules.tally.refused(Refusal::Params);
                let text = format!("The request's headers are larger than {most} bytes.");
                let page = Page::new("431 Request Header Fields Too Large", text);
                self.refuse_with(request, &page)
            }
            Event::ParamsEnd(id) if id == request.id => {
                if !request.end_params() {
                    log::warn!("malformed FastCGI: a name-value pair runs past the end of PARAMS");
                    let text = "The web server sent malformed FastCGI variables.";
                    return self.refuse_with(request, &Page::new("400 Bad Request", text));
                }
                if self.turned_away {
                    self.rules.tally.refused(Refusal::Connections);
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
                    self.refuse_with(request, &Page::new("400 Bad Request", text))
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
    pub(super) fn within(
        &mut self,
        request: &mut BegunRequest,
        event: Event<'_>,
    ) -> Result<(), InputError> {
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

    pub(super) fn is_too_large(&self, body: u64) -> bool {
        self.rules.limits.body.is_some_and(|most| body > most)
    }

    /// The application can be called. The end of its STDIN is taken in if it is here, so that nothing is left unread.
    pub(super) fn ready(
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

    pub(super) fn faulted(fault: Fault) -> Phase {
        log::warn!("{fault}");
        // What is unread would take the answers with it that have left before.
        Phase::Closing(Goodbye::Linger)
    }

    pub(super) fn faulted_with(&self, request: Box<BegunRequest>, fault: Fault) -> Phase {
        self.rules.close_request(request);
        Self::faulted(fault)
    }

    pub(super) fn closed(request: Box<BegunRequest>, rules: &Rules) -> Phase {
        rules.close_request(request);
        Phase::Closing(Goodbye::Close)
    }

    /// An aborted request that the application has not seen: "the application responds with END_REQUEST as soon as
    /// possible" (section 5.4).
    pub(super) fn end_aborted(&mut self, parser: Parser, request: Box<BegunRequest>) -> Phase {
        self.rules.tally.was_left();
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
    pub(super) fn refuse_with(&mut self, mut request: Box<BegunRequest>, page: &Page) -> Phase {
        self.rules.tally.answered(page.code());
        self.write_page(&mut request, page);
        self.rules.close_request(request);
        Phase::Closing(Goodbye::Linger)
    }

    pub(super) fn write_page(&mut self, request: &mut BegunRequest, page: &Page) {
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

    /// The web server does not want the answer of the application any more.
    pub(super) fn abort(&mut self, request: &mut BegunRequest) {
        if request.progress.has_ended() {
            // Its END_REQUEST is on its way, and there is but one.
            self.unsent.abandon();
        } else {
            request.progress.fail();
        }
    }

    /// The application is done with the request: puts what its response lacks, and says where the connection stands then.
    pub(super) fn finish(
        &mut self,
        input: BodySource,
        mut request: Box<BegunRequest>,
        is_nginx: bool,
        is_all_parsed: bool,
    ) -> Phase {
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
            self.cut(&mut request, is_nginx);
            ended = request.progress.owed() == Some(0) && request.role != Role::Authorizer;
            is_broken = !ended;
        }
        let input = match input {
            BodySource::Open(_) if is_broken => BodySource::Failed(InputError::Broken),
            input => input,
        };
        let clean = request.body.has_ended() && request.role != Role::Authorizer && is_all_parsed;
        self.rules.close_request(request);
        let goodbye = match ended {
            true if keep => None,
            true if clean => Some(Goodbye::Close),
            _ => Some(Goodbye::Linger),
        };
        match (input, goodbye) {
            // What is left of this request's STDIN is passed over as belonging to no open request; an abort is heard.
            (BodySource::Open(parser), goodbye) if !self.unsent.is_empty() => {
                Phase::Sending(Some(parser), id, goodbye)
            }
            (BodySource::Open(parser), None) => Phase::Between(parser),
            (BodySource::Open(_), Some(goodbye)) => Phase::Closing(goodbye),
            (BodySource::Failed(InputError::Lost), _) => Phase::Lost,
            (BodySource::Failed(InputError::Gone), _) if self.unsent.is_empty() => Phase::Lost,
            (BodySource::Failed(_), _) => Phase::Closing(Goodbye::Linger),
        }
    }

    /// Ends a response that has begun and cannot come to its end: in the way that this web server understands soonest, and
    /// never like a whole one.
    pub(super) fn cut(&mut self, request: &mut BegunRequest, is_nginx: bool) {
        if request.for_cgi {
            write_reports(&mut self.unsent, request);
        }
        let cut = Cut::of(request.role, request.progress.owed(), is_nginx);
        write_cut(self.unsent.records(), request.id, cut);
    }

    /// The time for what a connection waits for is over.
    pub(super) fn expire(&mut self, phase: Phase, ending: bool) -> Phase {
        match phase {
            Phase::Head(_, request) => self.time_out(request, Refusal::HeaderTimeout, ending),
            Phase::Body(_, request) => self.time_out(request, Refusal::IoTimeout, ending),
            Phase::Sending(..) => {
                self.rules.tally.refused(Refusal::IoTimeout);
                Phase::Lost
            }
            _ => Phase::Lost,
        }
    }

    /// The time for what a request lacks is over, and it gets a page. `ending`: this process is about to end.
    fn time_out(&mut self, request: Box<BegunRequest>, reason: Refusal, ending: bool) -> Phase {
        if ending {
            let text = "The application server is about to end. Try again in a moment.";
            let mut page = Page::new("503 Service Unavailable", text);
            page.retry_after = Some(1);
            return self.refuse_with(request, &page);
        }
        self.rules.tally.refused(reason);
        log::warn!(
            "a request did not come whole within --header-timeout or --io-timeout: answered with 408"
        );
        let text = "The request did not come whole within the time limit.";
        self.refuse_with(request, &Page::new("408 Request Timeout", text))
    }

    /// Answers in the application's place, if that has the request and nothing of its answer has left, else breaks that off.
    pub(super) fn answer_instead(
        &mut self,
        phase: &mut Phase,
        page: &Page,
        is_nginx: bool,
    ) -> Answered {
        let Phase::Answering(input, request) = phase else {
            return Answered::TooLate;
        };
        if request.aborted || request.progress.has_ended() || request.progress.has_failed() {
            return Answered::TooLate;
        }
        if request.progress.has_begun() {
            self.cut(request, is_nginx);
            phase.break_off();
            return Answered::BrokenOff;
        }
        // What was reported and has not left is in the log.
        request.reports.clear();
        self.write_page(request, page);
        // The application is told when it sends, and not before.
        request.progress = ResponseProgress::new(false);
        request.progress.fail();
        *input = BodySource::Failed(InputError::Answered);
        Answered::Whole
    }
}
