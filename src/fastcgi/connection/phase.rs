//! Where a connection stands, and what others are told of that.

use std::io;

use super::super::Rules;
use super::super::parser::Parser;
use super::super::record::HEADER_LENGTH;
use super::super::request::BegunRequest;

/// Where a connection stands.
#[derive(Debug)]
pub(super) enum Phase {
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
pub(super) enum BodySource {
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
pub(super) enum Goodbye {
    /// Everything that was sent to us was read, so that closing cannot reset the connection under our answer.
    Close,
    /// Closing with bytes of its unread would reset the connection and take the answer away from the web server: it is
    /// told that nothing more comes, and has to close.
    Linger,
}

/// What a connection needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fastcgi) enum Step {
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
pub(in crate::fastcgi) enum Awaits {
    /// For a request.
    Request,
    /// For the rest of a record, or of the variables, of a request that has begun.
    Head,
    /// For a request's body, or for the web server to take the response.
    Progress,
}

/// What is here of a request's body.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::fastcgi) enum Filled {
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
    /// The application has begun to answer: the web server was told that nothing follows.
    BrokenOff,
    /// All of the application's answer has left, or there is no such request any more.
    TooLate,
}

/// Bytes that a connection holds.
#[cfg(any(test, fuzzing))]
#[derive(Debug)]
pub(super) struct Held {
    /// Of what was read and is not parsed.
    pub(super) ahead: usize,
    /// Of a request's body.
    pub(super) body: usize,
    /// Of what is to be sent.
    pub(super) unsent: usize,
}

impl Phase {
    /// What the connection needs next, of which `ahead` bytes wait for their turn.
    pub(super) fn step(&self, has_unsent: bool, ahead: usize) -> Step {
        match self {
            Self::Ready(..) | Self::Answering(..) => Step::Ready,
            Self::Lost => Step::Close,
            // The next request waits for its turn; half a header may be that of an abort.
            Self::Sending(parser, ..) => Step::Send(parser.is_some() && ahead < HEADER_LENGTH),
            _ if has_unsent => Step::Send(false),
            Self::Between(_) | Self::Head(..) | Self::Body(..) => Step::Receive,
            Self::Closing(Goodbye::Close) => Step::Close,
            Self::Closing(Goodbye::Linger) => Step::Linger,
        }
    }

    /// For what it waits.
    pub(super) fn awaits(&self, has_unsent: bool) -> Awaits {
        match self {
            Self::Between(parser) if parser.is_between_records() && !has_unsent => Awaits::Request,
            Self::Between(parser) if !parser.is_between_records() => Awaits::Head,
            Self::Head(..) => Awaits::Head,
            _ => Awaits::Progress,
        }
    }

    /// Bytes of a request's body that are held.
    #[cfg(any(test, fuzzing))]
    pub(super) fn body_held(&self) -> usize {
        match self {
            Self::Head(_, request)
            | Self::Body(_, request)
            | Self::Ready(_, request)
            | Self::Answering(_, request) => request.body.held(),
            _ => 0,
        }
    }

    /// Everything of a response has left.
    pub(super) fn end_sending(&mut self) {
        if let Self::Sending(parser, _, goodbye) = self {
            *self = match (parser.take(), *goodbye) {
                (Some(parser), None) => Self::Between(parser),
                (Some(_), Some(goodbye)) => Self::Closing(goodbye),
                (None, _) => Self::Closing(Goodbye::Linger),
            };
        }
    }

    /// The response is broken off.
    pub(super) fn break_off(&mut self) {
        match self {
            Self::Answering(input, request) => {
                request.progress.fail();
                *input = BodySource::Failed(InputError::Broken);
            }
            Self::Sending(parser, ..) => *parser = None,
            Self::Closing(goodbye) => *goodbye = Goodbye::Linger,
            _ => {}
        }
    }

    /// The connection is lost, which an application that has the request is still to learn.
    pub(super) fn lose(&mut self) {
        if let Self::Answering(input, request) = self {
            request.progress.fail();
            *input = BodySource::Failed(InputError::Lost);
        } else {
            *self = Self::Lost;
        }
    }
}

impl InputError {
    /// What the application is told that reads on.
    pub(super) fn tell(self, rules: &Rules) -> io::Error {
        match self {
            Self::TooLarge => io::Error::new(io::ErrorKind::FileTooLarge, rules.too_large_text()),
            Self::Malformed => io::Error::new(
                io::ErrorKind::InvalidData,
                "the web server sent malformed FastCGI",
            ),
            Self::Answered => io::Error::new(io::ErrorKind::ConnectionAborted, ANSWERED),
            Self::Broken => io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the response was cut, and the request has ended with it",
            ),
            Self::Gone | Self::Lost => cut_short(
                "the web server closed the connection in the middle of the request's body",
            ),
        }
    }
}

/// What the application is told of a request that was answered in its place.
pub(super) const ANSWERED: &str =
    "the request took too long and was answered without the application";

pub(super) fn cut_short(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, text.to_owned())
}
