//! The access log as the operator wants it: where its lines go, and what stands in one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::by_bytes;

/// The access log, and the file of the slow log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AccessLogSettings {
    /// Where its lines go; nowhere without it.
    pub to: Option<LineTarget>,
    /// What stands in one.
    pub format: AccessFormat,
    /// Paths of requests that have no line; one that ends in `*` is what they begin with.
    pub skip: Vec<String>,
    /// The file that the slow log goes to, and not among the other messages.
    #[serde(with = "by_bytes::optional_path")]
    pub slow: Option<PathBuf>,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineTarget {
    /// To the end of this file.
    File(#[serde(with = "by_bytes::path")] PathBuf),
    /// To standard output.
    StandardOutput,
    /// To the syslog, by this Unix socket.
    Syslog(#[serde(with = "by_bytes::path")] PathBuf),
}

/// What stands in a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessFormat {
    /// What a web server cannot know: waiting, the first byte, processor time.
    #[default]
    Time,
    /// A JSON object.
    Json,
    /// These, one behind the other.
    Parts(Vec<AccessPart>),
}

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessPart {
    /// As it is.
    Text(String),
    /// The client's address.
    Client,
    /// Always `-`: nobody has identd any more.
    Ident,
    /// The user whom the web server has let in.
    User,
    /// When the request began.
    Time(TimeForm),
    /// Method, URI and protocol.
    RequestLine,
    /// The method.
    Method,
    /// The URI's path.
    Path,
    /// `?` and the query, if there is one.
    Query,
    /// The protocol.
    Protocol,
    /// The status code.
    Status,
    /// Bytes of the response's body; with `true`, `-` for none.
    Bytes(bool),
    /// A time, in this unit.
    Span(Span, TimeUnit),
    /// The most memory that the worker has had resident, by this shift of its bytes.
    Memory(u32),
    /// The part of the time that was the processor's, in percent.
    Cpu,
    /// A variable of the request, by name.
    Variable(String),
    /// `X` where the client had gone before the end, else `-`.
    Connection,
    /// The application.
    Name,
    /// The worker's process id.
    Pid,
    /// The worker's number and the thread's.
    Worker,
    /// The request's id.
    Id,
}

/// How a point in time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeForm {
    /// `[10/Oct/2000:13:55:36 +0000]`
    Common,
    /// `2000-10-10T13:55:36.000Z`
    Iso,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// Microseconds since 1970.
    Micros,
}

/// Which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Span {
    /// From the request to the end of its response.
    All,
    /// Waiting for a thread.
    Queue,
    /// Until the head of the response.
    First,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeUnit {
    /// Whole seconds.
    WholeSeconds,
    /// Seconds with three decimals.
    Seconds,
    /// Whole milliseconds.
    WholeMillis,
    /// Milliseconds with three decimals.
    Millis,
    /// Whole microseconds.
    Micros,
}

/// What a letter of a format without a word of its own stands for.
const COMMON: &str = "%h %l %u %t \"%r\" %>s %b";
const COMBINED: &str = "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"";

/// The letters, for who used another.
const LETTERS: &str = "%h %l %u %t %r %m %U %q %H %s %b %B %D %T %d %M %C %v %p %P %X %n %W %{NAME}i %{NAME}e %{id}x, as \
                       Apache and php-fpm have them";

impl AccessFormat {
    /// Reads the name of a format, or one of letters as Apache (mod_log_config) and php-fpm have them; where these two differ it
    /// is Apache's.
    ///
    /// # Errors
    /// What in it is no format.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "time" => Ok(Self::Time),
            "json" => Ok(Self::Json),
            "common" => Self::parse(COMMON),
            "combined" => Self::parse(COMBINED),
            _ if !text.contains('%') => Err(format!(
                "'{text}' is no format of the access log: give time, common, combined, json, or letters such as '{COMMON}'"
            )),
            _ => parts(text).map(Self::Parts),
        }
    }

    /// Whether any part is one of those.
    pub fn has(&self, is: impl Fn(&AccessPart) -> bool) -> bool {
        match self {
            Self::Time | Self::Json => true,
            Self::Parts(parts) => parts.iter().any(is),
        }
    }
}

fn parts(format: &str) -> Result<Vec<AccessPart>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut left = format;
    while let Some((before, behind)) = left.split_once('%') {
        text.push_str(before);
        // What Apache has between: for which status codes, and of which of two requests.
        let mut rest = behind.trim_start_matches(['<', '>']);
        let mut word = "";
        if let Some(behind) = rest.strip_prefix('{') {
            let unended = || format!("'%{{' of '{format}' has no '}}'");
            (word, rest) = behind.split_once('}').ok_or_else(unended)?;
        }
        let mut letters = rest.chars();
        let letter = letters
            .next()
            .ok_or_else(|| format!("'{format}' ends in the middle of a letter: %% is a %"))?;
        left = letters.as_str();
        if letter == '%' {
            text.push('%');
            continue;
        }
        if !text.is_empty() {
            parts.push(AccessPart::Text(std::mem::take(&mut text)));
        }
        // The question mark of a query, which %q has itself.
        if letter != 'Q' {
            parts.push(part(letter, word).ok_or_else(|| unknown(letter, word))?);
        }
    }
    text.push_str(left);
    if !text.is_empty() {
        parts.push(AccessPart::Text(text));
    }
    if has_control(&parts) {
        return Err("a format of the access log is one line, without tabs".to_owned());
    }
    Ok(parts)
}

fn has_control(parts: &[AccessPart]) -> bool {
    let is_odd = |character: char| character.is_control();
    parts
        .iter()
        .any(|part| matches!(part, AccessPart::Text(text) if text.contains(is_odd)))
}

fn unknown(letter: char, word: &str) -> String {
    let word = match word {
        "" => String::new(),
        word => format!("{{{word}}}"),
    };
    format!("'%{word}{letter}' means nothing in the access log: there are {LETTERS}")
}

fn part(letter: char, word: &str) -> Option<AccessPart> {
    let variable = |name: &str| Some(AccessPart::Variable(name.to_owned()));
    Some(match (letter, word) {
        ('h' | 'a' | 'R', "") => AccessPart::Client,
        ('l', "") => AccessPart::Ident,
        ('u', "") => AccessPart::User,
        ('t', "") => AccessPart::Time(TimeForm::Common),
        ('t', "iso") => AccessPart::Time(TimeForm::Iso),
        ('t', "sec") => AccessPart::Time(TimeForm::Seconds),
        ('t', "msec") => AccessPart::Time(TimeForm::Millis),
        ('t', "usec") => AccessPart::Time(TimeForm::Micros),
        ('r', "") => AccessPart::RequestLine,
        ('m', "") => AccessPart::Method,
        ('U', "") => AccessPart::Path,
        ('q', "") => AccessPart::Query,
        ('H', "") => AccessPart::Protocol,
        ('s', "") => AccessPart::Status,
        ('b', "") => AccessPart::Bytes(true),
        ('B', "") => AccessPart::Bytes(false),
        ('D', "") | ('T', "us") => AccessPart::Span(Span::All, TimeUnit::Micros),
        ('T', "" | "s") => AccessPart::Span(Span::All, TimeUnit::WholeSeconds),
        ('T', "ms") => AccessPart::Span(Span::All, TimeUnit::WholeMillis),
        ('d', "" | "seconds") => AccessPart::Span(Span::All, TimeUnit::Seconds),
        ('d', "milli" | "milliseconds") => AccessPart::Span(Span::All, TimeUnit::Millis),
        ('d', "micro" | "microseconds") => AccessPart::Span(Span::All, TimeUnit::Micros),
        ('d', "queue") => AccessPart::Span(Span::Queue, TimeUnit::Seconds),
        ('d', "first") => AccessPart::Span(Span::First, TimeUnit::Seconds),
        ('M', "" | "bytes") => AccessPart::Memory(0),
        ('M', "kilo" | "kilobytes") => AccessPart::Memory(10),
        ('M', "mega" | "megabytes") => AccessPart::Memory(20),
        ('C', "" | "total") => AccessPart::Cpu,
        ('v' | 'V', "") => return variable("SERVER_NAME"),
        ('A', "") => return variable("SERVER_ADDR"),
        ('p', "") => return variable("SERVER_PORT"),
        ('f', "") => return variable("SCRIPT_FILENAME"),
        ('P', "") => AccessPart::Pid,
        ('X', "") => AccessPart::Connection,
        ('n', "") => AccessPart::Name,
        ('W', "") => AccessPart::Worker,
        ('x', "id") | ('L', "") => AccessPart::Id,
        ('e', name) if !name.is_empty() => return variable(name),
        ('i', name) if !name.is_empty() => {
            let name = name.to_ascii_uppercase().replace('-', "_");
            // Which RFC 3875 has under names of their own.
            let is_own = ["CONTENT_TYPE", "CONTENT_LENGTH"].contains(&name.as_str());
            let prefix = if is_own { "" } else { "HTTP_" };
            return variable(&format!("{prefix}{name}"));
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{AccessFormat, AccessPart, Span, TimeForm, TimeUnit};

    #[test]
    fn letters_are_those_of_apache_and_php_fpm() {
        use AccessPart::{Bytes, Client, Ident, RequestLine, Status, Text, Time, User, Variable};
        let text = |text: &str| Text(text.to_owned());
        let space = || text(" ");
        let common = vec![
            Client,
            space(),
            Ident,
            space(),
            User,
            space(),
            Time(TimeForm::Common),
            text(" \""),
            RequestLine,
            text("\" "),
            Status,
            space(),
            Bytes(true),
        ];
        assert_eq!(
            AccessFormat::parse("common"),
            Ok(AccessFormat::Parts(common))
        );
        let variable = |name: &str| Variable(name.to_owned());
        for (format, parts) in [
            ("100%% %%", vec![text("100% %")]),
            ("%U%Q%q", vec![AccessPart::Path, AccessPart::Query]),
            ("%{User-Agent}i", vec![variable("HTTP_USER_AGENT")]),
            ("%{content-type}i", vec![variable("CONTENT_TYPE")]),
            ("%{X_Y}e", vec![variable("X_Y")]),
            (
                "%{milli}dms",
                vec![AccessPart::Span(Span::All, TimeUnit::Millis), text("ms")],
            ),
            ("%{kilo}M", vec![AccessPart::Memory(10)]),
            (
                "%{queue}d",
                vec![AccessPart::Span(Span::Queue, TimeUnit::Seconds)],
            ),
            ("%>s%<s", vec![Status, Status]),
            ("%{id}x", vec![AccessPart::Id]),
        ] {
            let expected = Ok(AccessFormat::Parts(parts));
            assert_eq!(AccessFormat::parse(format), expected, "{format}");
        }
    }

    #[test]
    fn what_is_no_format_is_named() {
        for (format, named) in [
            ("fast", "'fast'"),
            ("%h %Z", "'%Z'"),
            ("%{nonsense}d", "'%{nonsense}d'"),
            ("%{Referer", "'%{'"),
            ("%h %", "ends in"),
            ("%h\t%u", "one line"),
            ("%{}i", "'%i'"),
            ("%{X-Y}o", "'%{X-Y}o'"),
        ] {
            let error = AccessFormat::parse(format).unwrap_err();
            assert!(error.contains(named), "{format}: {error}");
        }
    }
}
