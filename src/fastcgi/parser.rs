//! The web server's half of a connection: bytes in, events out. No I/O and no opinion on what comes when.
//!
//! Content of the streams is handed out as it comes, in pieces that need not be records; the parser itself keeps only a
//! header that is not whole yet and the content of the records that make sense only as a whole.
//!
//! [`Parser::next`] takes the parser and gives it back only where the stream still makes sense: what came after an error
//! cannot be parsed, since there is nothing left to parse it with.

use thiserror::Error;

use super::record::{HEADER_LENGTH, Header, RecordType, Role};

/// What a web server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request begins (section 5.1). `keep` is FCGI_KEEP_CONN.
    Begin {
        /// The request's id.
        id: u16,
        /// What the application is to be.
        role: Role,
        /// Whether the connection stays open after this request.
        keep: bool,
    },
    /// A piece of the PARAMS stream.
    Params(u16, &'a [u8]),
    /// The PARAMS stream is whole.
    ParamsEnd(u16),
    /// A piece of the STDIN stream.
    Stdin(u16, &'a [u8]),
    /// The STDIN stream is whole.
    StdinEnd(u16),
    /// The web server no longer wants the answer (section 5.4).
    Abort(u16),
    /// A question for the variables named in this block of pairs (section 4.1).
    GetValues(Vec<u8>),
    /// A management record of a type that this protocol version does not know (section 4.2).
    UnknownManagement(u8),
}

/// Why nothing that follows makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// A BEGIN_REQUEST of id 0 or without its 8 bytes, or another application record of id 0.
    #[error("malformed FastCGI: {0}")]
    Malformed(&'static str),
    /// Another version of the protocol, or not FastCGI at all.
    #[error(
        "not FastCGI: a record of version {0} where there is only 1; does the web server speak HTTP or uwsgi to this socket?"
    )]
    Version(u8),
}

/// What the next record is, as far as its header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// The stream is inside a record, or too little of the next one's header is here.
    Unknown,
    /// The next record's type, request id and length of content in bytes.
    Record(RecordType, u16, u16),
}

/// A parser and the next event, if there is one.
pub type Parsed<'a> = (Parser, Option<Event<'a>>);

/// The state of the incoming stream.
#[derive(Debug)]
pub struct Parser {
    state: ParserState,
    header: [u8; HEADER_LENGTH],
    whole: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum ParserState {
    /// So many bytes of a header are here.
    Header(usize),
    /// Inside a record: bytes of content left.
    Content(Header, usize),
    /// Behind a record's content: bytes of padding left.
    Padding(Header, usize),
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            state: ParserState::Header(0),
            header: [0; HEADER_LENGTH],
            whole: Vec::new(),
        }
    }
}

impl Parser {
    /// A parser at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the stream stands between two records.
    pub fn is_between_records(&self) -> bool {
        matches!(self.state, ParserState::Header(0))
    }

    /// Takes what is here of the padding behind a piece of a stream, which makes no event.
    pub fn skip_padding(&mut self, input: &mut &[u8]) {
        if let ParserState::Padding(header, left) = self.state {
            if matches!(header.kind, RecordType::Stdin) && header.content > 0 {
                let left = left - take(input, left).len();
                self.state = match left {
                    0 => ParserState::Header(0),
                    left => ParserState::Padding(header, left),
                };
            }
        }
    }

    /// What the record at the front of `input` is, without taking it.
    pub fn peek(&self, input: &[u8]) -> Peek {
        if !self.is_between_records() {
            return Peek::Unknown;
        }
        match input.first_chunk().map(Header::parse) {
            Some(Ok(header)) => Peek::Record(header.kind, header.id, header.content),
            _ => Peek::Unknown,
        }
    }

    /// Whether the record in which the stream is, or else the next one, begins a request; also where too little of it is here
    /// to tell.
    pub fn may_begin_request(&self, input: &[u8]) -> bool {
        match self.state {
            ParserState::Header(have) => {
                let kind = match have {
                    0 | 1 => input.get(1 - have),
                    _ => self.header.get(1),
                };
                kind.is_none_or(|kind| RecordType::from(*kind) == RecordType::BeginRequest)
            }
            ParserState::Content(header, _) | ParserState::Padding(header, _) => {
                header.kind == RecordType::BeginRequest
            }
        }
    }

    /// How many bytes of that request's STDIN content come next without a header in between: a large body may be read
    /// straight to where it belongs, then told to [`Parser::skip_stdin`].
    pub fn stdin_content_left(&self, id: u16) -> usize {
        match self.state {
            ParserState::Content(header, left)
                if header.kind == RecordType::Stdin && header.id == id =>
            {
                left
            }
            _ => 0,
        }
    }

    /// So many bytes of the content that [`Parser::stdin_content_left`] told were read elsewhere.
    pub fn skip_stdin(&mut self, count: usize) {
        if let ParserState::Content(header, left) = self.state {
            self.state = Self::behind_content(header, left.saturating_sub(count));
        }
    }

    /// Takes bytes from the front of `input` up to the next event; `None` when it needs more, which is no error.
    ///
    /// # Errors
    /// What is wrong with the stream, of which nothing can be parsed any more.
    pub fn next<'a>(mut self, input: &mut &'a [u8]) -> Result<Parsed<'a>, Fault> {
        let event = self.advance(input, false)?;
        Ok((self, event))
    }

    /// As [`Parser::next`], but goes no further than to the end of a record: `None` also there, with some of `input` left.
    ///
    /// # Errors
    /// As [`Parser::next`].
    pub fn next_within_record<'a>(mut self, input: &mut &'a [u8]) -> Result<Parsed<'a>, Fault> {
        let event = self.advance(input, true)?;
        Ok((self, event))
    }

    fn advance<'a>(
        &mut self,
        input: &mut &'a [u8],
        within_record: bool,
    ) -> Result<Option<Event<'a>>, Fault> {
        loop {
            match self.state {
                ParserState::Header(have) => {
                    let taken = take(input, HEADER_LENGTH - have);
                    self.header[have..have + taken.len()].copy_from_slice(taken);
                    if have + taken.len() < HEADER_LENGTH {
                        self.state = ParserState::Header(have + taken.len());
                        return Ok(None);
                    }
                    let header = Header::parse(&self.header).map_err(Fault::Version)?;
                    self.whole.clear();
                    self.whole.shrink_to(256);
                    self.state = Self::behind_content(header, usize::from(header.content));
                }
                ParserState::Content(header, left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let taken = take(input, left);
                    self.state = Self::behind_content(header, left - taken.len());
                    match header.kind {
                        RecordType::Params if header.id != 0 => {
                            return Ok(Some(Event::Params(header.id, taken)));
                        }
                        RecordType::Stdin if header.id != 0 => {
                            return Ok(Some(Event::Stdin(header.id, taken)));
                        }
                        RecordType::BeginRequest | RecordType::GetValues => {
                            self.whole.extend_from_slice(taken);
                        }
                        _ => {}
                    }
                }
                ParserState::Padding(header, left) => {
                    let left = left - take(input, left).len();
                    if left > 0 {
                        self.state = ParserState::Padding(header, left);
                        return Ok(None);
                    }
                    self.state = ParserState::Header(0);
                    let event = self.end_of(header)?;
                    if event.is_some() || within_record {
                        return Ok(event);
                    }
                }
            }
        }
    }

    fn behind_content(header: Header, left: usize) -> ParserState {
        if left > 0 {
            ParserState::Content(header, left)
        } else {
            ParserState::Padding(header, usize::from(header.padding))
        }
    }

    /// The event, if any, that a record is once its last byte of padding is here.
    fn end_of(&mut self, header: Header) -> Result<Option<Event<'static>>, Fault> {
        let id = header.id;
        Ok(match header.kind {
            RecordType::GetValues if id == 0 => {
                Some(Event::GetValues(std::mem::take(&mut self.whole)))
            }
            RecordType::BeginRequest if id != 0 => {
                let Some(&[role1, role0, flags, ..]) = self.whole.first_chunk::<8>() else {
                    let what = "a BEGIN_REQUEST record of less than 8 bytes";
                    return Err(Fault::Malformed(what));
                };
                Some(Event::Begin {
                    id,
                    role: u16::from_be_bytes([role1, role0]).into(),
                    keep: flags & 1 == 1,
                })
            }
            RecordType::AbortRequest if id != 0 => Some(Event::Abort(id)),
            // An empty record ends a stream (section 3.3).
            RecordType::Params if id != 0 => (header.content == 0).then_some(Event::ParamsEnd(id)),
            RecordType::Stdin if id != 0 => (header.content == 0).then_some(Event::StdinEnd(id)),
            RecordType::BeginRequest
            | RecordType::AbortRequest
            | RecordType::Params
            | RecordType::Stdin => {
                let what = "a record of a request with the request id 0";
                return Err(Fault::Malformed(what));
            }
            // Records that a web server has no reason to send within a request are passed over.
            RecordType::Other(kind) if id == 0 => Some(Event::UnknownManagement(kind)),
            _ if id == 0 => Some(Event::UnknownManagement(self.header[1])),
            _ => None,
        })
    }
}

/// Takes up to `count` bytes from the front of `input`.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::super::record::{Header, RecordType, Role};
    use super::{Event, Fault, Parser, Peek};
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    fn record(kind: RecordType, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
        let content_length = u16::try_from(content.len()).unwrap();
        let header = Header {
            kind,
            id,
            content: content_length,
            padding,
        };
        let mut out = header.bytes().to_vec();
        out.extend_from_slice(content);
        out.resize(out.len() + usize::from(padding), 0xaa);
        out
    }

    /// The next event; nothing more once there is no parser.
    fn next<'a>(parser: &mut Option<Parser>, input: &mut &'a [u8]) -> Option<Event<'a>> {
        let (back, event) = parser.take()?.next(input).ok()?;
        *parser = Some(back);
        event
    }

    /// The events of `pieces`, with the pieces of each stream joined: what any slicing must give alike.
    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let (mut parser, mut out) = (Some(Parser::new()), Vec::<String>::new());
        let mut stream: Option<(String, Vec<u8>)> = None;
        for piece in pieces {
            let mut input = *piece;
            while let Some(event) = next(&mut parser, &mut input) {
                let (name, bytes) = match event {
                    Event::Params(id, bytes) => (format!("params {id}"), bytes),
                    Event::Stdin(id, bytes) => (format!("stdin {id}"), bytes),
                    event => {
                        out.extend(stream.take().map(|joined| format!("{joined:?}")));
                        out.push(format!("{event:?}"));
                        continue;
                    }
                };
                match &mut stream {
                    Some((open, joined)) if *open == name => joined.extend_from_slice(bytes),
                    _ => {
                        out.extend(
                            stream
                                .replace((name, bytes.to_vec()))
                                .map(|j| format!("{j:?}")),
                        );
                    }
                }
            }
            if parser.is_none() {
                break;
            }
            assert!(input.is_empty(), "the parser takes all that it is given");
        }
        out.extend(stream.map(|joined| format!("{joined:?}")));
        out.push(format!("still parsing: {}", parser.is_some()));
        out
    }

    fn sample() -> Vec<u8> {
        [
            record(RecordType::GetValues, 0, &[14, 0], 3),
            record(RecordType::BeginRequest, 7, &[0, 1, 1, 0, 0, 0, 0, 0], 0),
            record(RecordType::Params, 7, &[1, 1, b'A'], 5),
            record(RecordType::Params, 7, b"b", 255),
            record(RecordType::Params, 7, &[], 8),
            record(RecordType::Other(77), 0, b"what", 0),
            record(RecordType::Stdin, 7, &[0xff; 300], 1),
            record(RecordType::Data, 7, &[1; 10], 1),
            record(RecordType::Stdin, 7, &[], 2),
            record(RecordType::AbortRequest, 7, &[], 0),
        ]
        .concat()
    }

    #[test]
    fn a_request_reads_as_its_events() {
        let whole = sample();
        let mut parser = Some(Parser::new());
        let mut input = &whole[..];
        let mut expect = |event| assert_eq!(next(&mut parser, &mut input), event);
        expect(Some(Event::GetValues(vec![14, 0])));
        expect(Some(Event::Begin {
            id: 7,
            role: Role::Responder,
            keep: true,
        }));
        expect(Some(Event::Params(7, &[1, 1, b'A'])));
        expect(Some(Event::Params(7, b"b")));
        expect(Some(Event::ParamsEnd(7)));
        expect(Some(Event::UnknownManagement(77)));
        expect(Some(Event::Stdin(7, &[0xff; 300])));
        expect(Some(Event::StdinEnd(7)));
        expect(Some(Event::Abort(7)));
        expect(None);
        assert!(parser.unwrap().is_between_records());
    }

    #[test]
    fn every_cut_gives_the_same_events() {
        let whole = sample();
        let expected = events(&[&whole]);
        // Miri is too slow for each of them.
        let (every, least) = if cfg!(miri) { (37, 7) } else { (1, 1) };
        for cut in (0..=whole.len()).step_by(every) {
            let (front, back) = whole.split_at(cut);
            assert_eq!(events(&[front, back]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(least).collect();
        assert_eq!(events(&bytes), expected);
    }

    #[test]
    fn what_is_not_fastcgi_leaves_no_parser() {
        let mut input = &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..];
        let fault = Parser::new().next(&mut input).unwrap_err();
        assert_eq!(fault, Fault::Version(b'G'));
    }

    #[test]
    fn records_of_a_request_need_its_id_and_their_bytes() {
        for bytes in [
            record(RecordType::BeginRequest, 0, &[0, 1, 0, 0, 0, 0, 0, 0], 0),
            record(RecordType::BeginRequest, 1, &[0, 1, 0], 0),
            record(RecordType::Params, 0, b"x", 0),
            record(RecordType::Stdin, 0, &[], 0),
        ] {
            let fault = Parser::new().next(&mut &bytes[..]).unwrap_err();
            assert!(matches!(fault, Fault::Malformed(_)), "{fault:?}");
        }
    }

    #[test]
    fn body_bytes_read_elsewhere_are_passed_over() {
        let whole = record(RecordType::Stdin, 1, &[9; 100], 4);
        let mut input = &whole[..20];
        let (mut parser, event) = Parser::new().next(&mut input).unwrap();
        assert_eq!(event, Some(Event::Stdin(1, &[9; 12])));
        assert_eq!(parser.stdin_content_left(1), 88);
        assert_eq!(parser.stdin_content_left(2), 0);
        parser.skip_stdin(88);
        assert_eq!(parser.stdin_content_left(1), 0);
        let (parser, event) = parser.next(&mut &whole[108..]).unwrap();
        assert_eq!(event, None);
        assert!(parser.is_between_records());
    }

    #[test]
    fn the_next_record_is_seen_before_it_is_taken() {
        let whole = record(RecordType::BeginRequest, 9, &[0, 1, 0, 0, 0, 0, 0, 0], 0);
        let parser = Parser::new();
        assert_eq!(parser.peek(&whole[..7]), Peek::Unknown);
        assert_eq!(
            parser.peek(&whole),
            Peek::Record(RecordType::BeginRequest, 9, 8)
        );
        let (parser, _) = parser.next(&mut &whole[..9]).unwrap();
        assert_eq!(parser.peek(&whole), Peek::Unknown);
    }

    proptest! {
        #[test]
        fn any_slicing_of_any_bytes_gives_the_same_events(
            garbage in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0usize..700, 0..6),
        ) {
            // Half of it makes sense, so that more than the first header is reached.
            let mut whole = sample();
            whole.extend_from_slice(&garbage);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (whole.len() + 1)).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &whole[cut[0]..cut[1]]).collect();
            prop_assert_eq!(events(&pieces), events(&[&whole]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut parser = Some(Parser::new());
            let mut input = &bytes[..];
            while next(&mut parser, &mut input).is_some() {}
        }
    }
}
