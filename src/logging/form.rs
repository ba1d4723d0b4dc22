//! What a message looks like: a line for people, a JSON object, or lines for systemd's journal.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use log::Level;

use super::calendar::write_iso;
use super::said::split_traceback;
use crate::config::{LogFormat, LogSettings};

/// How a message becomes a line.
#[derive(Clone, Debug)]
pub(super) struct Form {
    format: LogFormat,
    /// The gateway's name.
    name: String,
    /// Whether nobody else puts time and program in front.
    alone: bool,
    has_colours: bool,
    pid: u32,
}

/// A message of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) level: Level,
    /// The process that has said it, where that is another: `worker 1`.
    pub(super) from: Option<&'a str>,
    /// Its number.
    pub(super) pid: Option<u32>,
    pub(super) text: &'a str,
}

impl Form {
    /// The form that these settings ask for; `to_stderr`: where lines go to standard error.
    pub(super) fn new(settings: &LogSettings, alone: bool, to_stderr: bool) -> Self {
        let format = match settings.format {
            Some(format) => format,
            None if to_stderr && is_journal() => LogFormat::Journal,
            None => LogFormat::Text,
        };
        let name = settings.name.clone();
        Self {
            format,
            name,
            alone: alone || !to_stderr,
            has_colours: to_stderr && has_colours(),
            pid: std::process::id(),
        }
    }

    /// The form of what is said before there are any settings.
    pub(super) fn plain() -> Self {
        Self {
            format: LogFormat::Text,
            name: String::new(),
            alone: true,
            has_colours: false,
            pid: std::process::id(),
        }
    }

    /// The message as what is written, with the end of its last line.
    pub(super) fn write(&self, message: &Message<'_>) -> Vec<u8> {
        let written = match self.format {
            LogFormat::Json => self.json(message),
            LogFormat::Journal => journal(message),
            LogFormat::Text => self.text(message),
        };
        written.into_bytes()
    }

    fn text(&self, message: &Message<'_>) -> String {
        let mut level = message.level.as_str().to_ascii_lowercase();
        if self.has_colours {
            let colour = match message.level {
                Level::Error => "\x1b[1;31m",
                Level::Warn => "\x1b[33m",
                Level::Info => "",
                Level::Debug | Level::Trace => "\x1b[2m",
            };
            if !colour.is_empty() {
                level = format!("{colour}{level}\x1b[0m");
            }
        }
        let text = Named(message);
        match self.alone {
            true => format!("{} wsgi-gateway[{}] {level}: {text}\n", now(), self.pid),
            false => format!("wsgi-gateway: {level}: {text}\n"),
        }
    }

    fn json(&self, message: &Message<'_>) -> String {
        let level = message.level.as_str().to_ascii_lowercase();
        let mut line = format!("{{\"time\": \"{}\", \"level\": \"{level}\"", now());
        let mut member = |name: &str, value: &str| {
            let _ = write!(line, ", \"{name}\": {value}");
        };
        member("name", &format!("\"{}\"", Quoted(&self.name)));
        member("pid", &message.pid.unwrap_or(self.pid).to_string());
        let worker = message.from.and_then(|from| from.strip_prefix("worker "));
        let worker = worker.and_then(|number| number.parse::<u32>().ok());
        let text = match worker {
            Some(number) => {
                member("worker", &number.to_string());
                message.text.to_owned()
            }
            None => Named(message).to_string(),
        };
        let (text, traceback) = split_traceback(&text);
        if let Some(id) = request_id(text) {
            member("id", &format!("\"{}\"", Quoted(id)));
        }
        member("message", &format!("\"{}\"", Quoted(text)));
        if let Some(traceback) = traceback {
            member("traceback", &format!("\"{}\"", Quoted(traceback)));
        }
        line + "}\n"
    }
}

/// The id of the request that a message is about, which it has in parentheses: `(request 7f3a)`.
fn request_id(text: &str) -> Option<&str> {
    let mut found = text.lines().next()?.match_indices("request ");
    found.find_map(|(at, word)| {
        let is_first = text[..at].ends_with('(') || text[..at].ends_with(", ");
        let (id, _) = text[at + word.len()..].split_once(')')?;
        let is_id = !id.is_empty() && !id.contains(|letter: char| !letter.is_ascii_graphic());
        (is_first && is_id).then_some(id)
    })
}

/// As sd-daemon(3) wants it: each line is an entry of its own and has its priority in front. The journal knows the time and the
/// process.
fn journal(message: &Message<'_>) -> String {
    let priority = match message.level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let text = Named(message).to_string();
    let mut lines = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let _ = writeln!(lines, "<{priority}>{line}");
    }
    lines
}

/// A message's text behind the name of who has said it.
struct Named<'a>(&'a Message<'a>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.from {
            Some(from) => write!(f, "{from}: {}", self.0.text),
            None => f.write_str(self.0.text),
        }
    }
}

/// Whether standard error leads to systemd's journal ("$JOURNAL_STREAM" in systemd.exec(5)): a variable alone is inherited by
/// processes whose standard error leads elsewhere.
fn is_journal() -> bool {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let Ok(found) = stderr.and_then(|stderr| File::from(stderr).metadata()) else {
        return false;
    };
    let stream = format!("{}:{}", found.dev(), found.ino());
    std::env::var_os("JOURNAL_STREAM").is_some_and(|told| told == *stream)
}

/// Whether standard error is a terminal that shows colours, to somebody who wants them (no-color.org).
fn has_colours() -> bool {
    let is_set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_dumb = is_set("TERM").is_none_or(|kind| kind == *"dumb");
    !is_dumb && is_set("NO_COLOR").is_none() && io::stderr().is_terminal()
}

/// The time as RFC 3339 has it, in UTC.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut out = Vec::new();
    write_iso(since.unwrap_or_default(), &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Text as it stands in a JSON string (RFC 8259 section 7): nothing in it can end the string or the line.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                // Some readers take these two for ends of a line, too.
                '\u{2028}' | '\u{2029}' => write!(f, "\\u{:04x}", u32::from(character))?,
                _ if character.is_control() => write!(f, "\\u{:04x}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Level, LogFormat, Message, Quoted};

    fn form(format: LogFormat) -> Form {
        Form {
            format,
            name: "shop".to_owned(),
            pid: 7,
            ..Form::plain()
        }
    }

    fn written(form: &Form, from: Option<&str>, text: &str) -> String {
        let (level, pid) = (Level::Error, from.map(|_| 8));
        let message = Message {
            level,
            from,
            pid,
            text,
        };
        String::from_utf8(form.write(&message)).unwrap()
    }

    #[test]
    fn a_message_has_a_form_for_each_reader() {
        const TEXT: &str = "GET /: failed\nTraceback (most recent call last):\n\n  File\nE: x";
        let text = |form: &Form| written(form, Some("worker 3"), TEXT);
        let time = |line: String| line.split_once("Z\"").unwrap().1.to_owned();
        assert_eq!(
            time(text(&form(LogFormat::Json))),
            concat!(
                r#", "level": "error", "name": "shop", "pid": 8, "worker": 3, "message": "GET /: failed", "#,
                r#""traceback": "Traceback (most recent call last):\n\n  File\nE: x"}"#,
                "\n"
            )
        );
        assert_eq!(
            time(written(&form(LogFormat::Json), Some("template"), "x")),
            ", \"level\": \"error\", \"name\": \"shop\", \"pid\": 8, \"message\": \"template: x\"}\n"
        );
        let about = "slow: GET / runs for 1s (--slow-log, request a-7)";
        let line = written(&form(LogFormat::Json), Some("worker 3"), about);
        assert!(
            line.contains(r#""worker": 3, "id": "a-7", "message": "slow: "#),
            "{line}"
        );
        for text in [
            "a request that",
            "(a request x)",
            "(request a b)",
            "(request )",
        ] {
            assert_eq!(super::request_id(text), None, "{text}");
        }
        assert_eq!(
            text(&form(LogFormat::Journal)),
            "<3>worker 3: GET /: failed\n<3>Traceback (most recent call last):\n<3>  File\n<3>E: x\n"
        );
        let mut form = form(LogFormat::Text);
        let line = text(&form);
        assert!(line.ends_with(&format!(" wsgi-gateway[7] error: worker 3: {TEXT}\n")));
        form.has_colours = true;
        form.alone = false;
        assert_eq!(
            written(&form, None, "x"),
            "wsgi-gateway: \x1b[1;31merror\x1b[0m: x\n"
        );
    }

    #[test]
    fn nothing_ends_a_json_string_but_its_end() {
        let text = "a\"\\\n\t\r\0\u{1b}\u{7f}\u{85}\u{2028}\u{e9}\u{1f600}";
        let expected = r#"a\"\\\n\t\u000d\u0000\u001b\u007f\u0085\u2028"#;
        assert_eq!(
            Quoted(text).to_string(),
            format!("{expected}\u{e9}\u{1f600}")
        );
    }
}
