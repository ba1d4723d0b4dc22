//! A connection from a web server without its socket: bytes and what the application says go in, records and what is to be
//! done next come out. Nothing in here does I/O, so all of it can be driven by a test.
//!
//! [`Phase`] says where a connection stands, by what has happened. The parser lives in the phases in which something may be
//! parsed: after an error in what the web server sent there is none, and such a connection can only end.
//!
//! One request at a time (section 3.3 allows more; we answer MPXS_CONNS 0 and CANT_MPX_CONN).

#[cfg(any(test, fuzzing))]
pub(super) mod model;
mod phase;
mod reception;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use super::Rules;
use super::parser::Parser;
use super::record::{Cut, write_cut};
use super::request::{BegunRequest, log_report};
use super::response::{MAX_STDERR, write_end, write_opening, write_piece, write_reports};
use super::unsent::Unsent;
#[cfg(any(test, fuzzing))]
use phase::Held;
use phase::{ANSWERED, BodySource, InputError, Phase, cut_short};
use reception::Reception;

pub use phase::Answered;
pub(super) use phase::{Awaits, Filled, Step};

use crate::gateway::{Head, Page, Portion, ResponseProgress, Variables};

/// Bytes of the body that are taken in from what was read at once, so that small records are not gone through again and
/// again.
const AHEAD: usize = 64 * 1024;

/// A connection from a web server.
#[derive(Debug)]
pub(super) struct Connection {
    phase: Phase,
    /// What was read and not parsed yet: what the web server sent ahead.
    ahead: Vec<u8>,
    reception: Reception,
    /// Whether the web server has closed its side.
    has_ended: bool,
    /// Counts requests: whoever still has one that has ended can tell by it.
    turn: u64,
}

impl Connection {
    pub(super) fn new(rules: Arc<Rules>, turned_away: bool) -> Self {
        Self {
            phase: Phase::Between(Parser::new()),
            ahead: Vec::new(),
            reception: Reception::new(rules, turned_away),
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
        self.is_idle() && self.ahead.is_empty() && self.reception.unsent.is_empty()
    }

    /// What it needs next.
    pub(super) fn step(&self) -> Step {
        self.phase.step(self.has_unsent(), self.ahead.len())
    }

    /// For what it waits.
    pub(super) fn awaits(&self) -> Awaits {
        self.phase.awaits(self.has_unsent())
    }

    /// Bytes that it holds.
    #[cfg(any(test, fuzzing))]
    fn held(&self) -> Held {
        Held {
            ahead: self.ahead.len(),
            body: self.phase.body_held(),
            unsent: self.reception.unsent.memory(),
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
                self.reception.rules.tally.was_left();
                self.reception.rules.close_request(request);
                Phase::Lost
            }
        };
    }

    /// The connection is of no use any more.
    pub(super) fn lose(&mut self) {
        self.ahead = Vec::new();
        self.reception.unsent = Unsent::default();
        if matches!(self.phase, Phase::Sending(..)) {
            self.reception.rules.tally.was_left();
        }
        self.phase.lose();
    }

    /// Parses what the phase has a use for, and keeps the rest.
    fn take_in(&mut self, mut input: &[u8]) {
        loop {
            let phase = std::mem::replace(&mut self.phase, Phase::Lost);
            match self.reception.go_on(phase, &mut input) {
                Ok(next) => self.phase = next,
                Err(waits) => break self.phase = waits,
            }
        }
        if let Phase::Sending(None, ..) | Phase::Closing(_) | Phase::Lost = self.phase {
            return;
        }
        self.ahead.extend_from_slice(input);
    }

    /// The time for what it waits for is over: a begun request gets a page, and the connection ends. `ending`: so does this
    /// process.
    pub(super) fn expire(&mut self, ending: bool) {
        let phase = std::mem::replace(&mut self.phase, Phase::Lost);
        self.phase = self.reception.expire(phase, ending);
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
            Some(error) => Err(error.tell(&self.reception.rules)),
        }
    }

    fn input_error(&self) -> Option<InputError> {
        match self.phase {
            Phase::Answering(BodySource::Failed(error), _) => Some(error),
            _ => None,
        }
    }

    /// Whether nothing more of the body can come, so that there is nothing to wait for.
    pub(super) fn has_failed_input(&self) -> bool {
        self.input_error().is_some()
    }

    /// Whether nothing is parsed before the web server takes answers: what comes meanwhile is not to be read either.
    pub(super) fn is_held_up(&self) -> bool {
        !self.reception.unsent.has_room_for_answers()
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
            let input_now = match self.reception.next(parser, &mut input, waits) {
                Ok((_, None)) if self.has_ended && !self.is_held_up() => {
                    BodySource::Failed(InputError::Gone)
                }
                Ok((parser, None)) => {
                    self.phase = Phase::Answering(BodySource::Open(parser), request);
                    break;
                }
                Ok((parser, Some(event))) => match self.reception.within(&mut request, event) {
                    Ok(()) => BodySource::Open(parser),
                    Err(error) => BodySource::Failed(error),
                },
                Err(fault) => {
                    log::warn!("{fault}");
                    BodySource::Failed(InputError::Malformed)
                }
            };
            if request.aborted {
                self.reception.abort(&mut request);
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
        let most = self.reception.rules.limits.body;
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
        &mut self.reception.unsent
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.reception.unsent.is_empty()
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

    /// Puts a piece of the response behind what is to be sent.
    pub(super) fn put(&mut self, portion: &Portion, blocks: &[&[u8]]) {
        if let Phase::Answering(_, request) = &mut self.phase {
            write_piece(&mut self.reception.unsent, request, portion, blocks);
        }
    }

    /// Puts the head of a response behind what is to be sent, if it leaves now; its body has to follow by
    /// [`Connection::unsent`], and then [`Connection::put_end`].
    pub(super) fn put_head(&mut self, head: Option<&Head>) -> u16 {
        let Phase::Answering(_, request) = &mut self.phase else {
            return 0;
        };
        write_opening(&mut self.reception.unsent, request, head);
        request.id
    }

    /// Puts the end of the response behind what is to be sent.
    pub(super) fn put_end(&mut self) {
        if let Phase::Answering(_, request) = &mut self.phase {
            write_end(self.reception.unsent.records(), request);
        }
    }

    /// Notes what a CGI program would exit with.
    pub(super) fn note_exit(&mut self, turn: u64, status: u32) {
        if let Ok(request) = self.request(turn) {
            request.exit_status = status;
        }
    }

    /// Takes text for FCGI_STDERR and the log.
    pub(super) fn report(&mut self, text: &[u8]) {
        let Phase::Answering(_, request) = &mut self.phase else {
            return log_report(text.strip_suffix(b"\n").unwrap_or(text));
        };
        request.report(text);
    }

    /// Whether so much was reported that it should leave.
    pub(super) fn has_many_reports(&self) -> bool {
        matches!(&self.phase, Phase::Answering(_, request) if request.reports.len() > MAX_STDERR)
    }

    /// Puts what was reported behind what is to be sent.
    pub(super) fn put_reports(&mut self) {
        if let Phase::Answering(_, request) = &mut self.phase {
            if !request.progress.has_failed() && !request.progress.has_ended() {
                write_reports(&mut self.reception.unsent, request);
            }
        }
    }

    /// Answers in the application's place, if nothing of its answer has left, and breaks off an answer that it has begun:
    /// from here on it cannot answer.
    pub(super) fn answer_instead(&mut self, turn: u64, page: &Page, is_nginx: bool) -> Answered {
        match self.turn == turn {
            true => (self.reception).answer_instead(&mut self.phase, page, is_nginx),
            false => Answered::TooLate,
        }
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
        let input = match input {
            BodySource::Open(_) if self.has_ended => BodySource::Failed(InputError::Gone),
            input => input,
        };
        let is_all = self.ahead.is_empty();
        self.phase = self.reception.finish(input, request, is_nginx, is_all);
        if matches!(self.phase, Phase::Sending(..)) {
            // There may be an abort.
            self.resume();
        }
    }

    /// The file of a response has ended before it should have, and a cut is what is sent in its place.
    pub(super) fn file_ended(&mut self) {
        self.phase.break_off();
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
        self.phase.end_sending();
        if matches!(
            self.phase,
            Phase::Between(_) | Phase::Head(..) | Phase::Body(..)
        ) {
            self.resume();
        }
    }
}
