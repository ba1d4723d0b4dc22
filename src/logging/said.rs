//! What the application's own words say of themselves: the level that Python's logging has given them, and where a traceback
//! begins.
//!
//! A modest rule: the forms of `logging.basicConfig`, of Flask, Django and gunicorn, of logfmt and of JSON. What has none of
//! them says nothing of its level.

use log::Level;

/// The first bytes of a line in which a level is looked for.
const BEGINNING: usize = 160;

/// The levels by the names that Python's logging, and others, have for them.
const NAMES: [(&str, Level); 9] = [
    ("DEBUG", Level::Debug),
    ("INFO", Level::Info),
    ("NOTICE", Level::Info),
    ("WARNING", Level::Warn),
    ("WARN", Level::Warn),
    ("ERROR", Level::Error),
    ("CRITICAL", Level::Error),
    ("FATAL", Level::Error),
    ("EXCEPTION", Level::Error),
];

/// How a line begins that is the end of an application, or of a thread of it.
const FATAL: [&str; 4] = [
    "Traceback (most recent call last):",
    "Fatal Python error: ",
    "Exception in thread ",
    "Exception ignored in",
];

/// The level that a text says it has.
pub(super) fn said_level(text: &str) -> Option<Level> {
    let line = text.lines().next().unwrap_or_default();
    let mut end = line.len().min(BEGINNING);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let line = &line[..end];
    if FATAL.iter().any(|fatal| line.starts_with(fatal)) {
        return Some(Level::Error);
    }
    let level = named(line)
        .or_else(|| in_a_field(line))
        .or_else(|| warned(line));
    let has_traceback = || split_traceback(text).1.is_some();
    level.or_else(|| has_traceback().then_some(Level::Error))
}

/// `WARNING:name:text`, `[2026-11-30 18:00:00 +0000] [7] [ERROR] text`, `2026-11-30 18:00:00,123 - name - INFO - text`: a level in
/// capitals, as the first word, or behind a time, which a line that begins with one does not have by chance.
fn named(line: &str) -> Option<Level> {
    let has_time = line.starts_with(|first: char| first.is_ascii_digit() || first == '[');
    let mut at = 0;
    for word in line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_') {
        let behind = line[at + word.len()..].chars().next();
        let level = NAMES.iter().find(|(name, _)| *name == word);
        // "INFO: " and "ERROR in", but not the beginning of a heading such as "ERROR-FREE".
        if let (Some((_, level)), None | Some(':' | ' ' | '\t' | ']' | '|' | ')')) = (level, behind)
        {
            return Some(*level);
        }
        if !word.is_empty() && !has_time {
            return None;
        }
        at += word.len() + behind.map_or(0, char::len_utf8);
    }
    None
}

/// `level=warning`, `levelname=ERROR`, `"level": "info"`.
fn in_a_field(line: &str) -> Option<Level> {
    for field in ["levelname", "level", "severity", "lvl"] {
        let found = line.match_indices(field).find_map(|(at, _)| {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|before| !matches!(before, ' ' | '"' | '{' | ',' | '\t')) {
                return None;
            }
            let rest = line[at + field.len()..].trim_start_matches('"');
            let value = rest.trim_start().strip_prefix(['=', ':'])?;
            let value = value.trim_start_matches([' ', '"', '\'']);
            let end = value.find(|letter: char| !letter.is_ascii_alphabetic());
            level_of(&value[..end.unwrap_or(value.len())])
        });
        if found.is_some() {
            return found;
        }
    }
    None
}

fn level_of(word: &str) -> Option<Level> {
    let known = NAMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    known.map(|(_, level)| *level)
}

/// `/srv/site/app.py:7: DeprecationWarning: text`, as Python's warnings print themselves.
fn warned(line: &str) -> Option<Level> {
    let (place, rest) = line.split_once(": ")?;
    let (_, number) = place.rsplit_once(':')?;
    let (kind, _) = rest.split_once(": ")?;
    let is_it = number.parse::<u32>().is_ok()
        && kind.ends_with("Warning")
        && !kind.contains(char::is_whitespace);
    is_it.then_some(Level::Warn)
}

/// How a line begins where Python tells of a stack.
const STACKS: [&str; 5] = [
    "Traceback (most recent call last):",
    "  + Exception Group Traceback (most recent call last):",
    "Current thread 0x",
    "Thread 0x",
    "  File \"",
];

/// A text, and the traceback that it ends with. Where there is nothing before that, the text is the exception.
pub(super) fn split_traceback(text: &str) -> (&str, Option<&str>) {
    let text = text.trim_end_matches('\n');
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if STACKS.iter().any(|stack| line.starts_with(stack)) {
            let traceback = &text[at..];
            let before = text[..at].trim_end_matches('\n');
            if !before.is_empty() {
                return (before, Some(traceback));
            }
            let is_exception =
                |line: &&str| !line.is_empty() && !line.starts_with([' ', '+', '|', '\t']);
            let exception = traceback.lines().rev().find(is_exception);
            return (exception.unwrap_or(traceback), Some(traceback));
        }
        at += line.len();
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use super::{Level, said_level, split_traceback};

    #[test]
    fn levels_are_known_where_logging_has_put_them() {
        for (line, level) in [
            ("WARNING:root:careful", Some(Level::Warn)),
            ("DEBUG:a.b:x", Some(Level::Debug)),
            ("CRITICAL:root:x", Some(Level::Error)),
            ("INFO x", Some(Level::Info)),
            (
                "[2026-11-30 18:00:00,123] ERROR in app: Exception on / [GET]",
                Some(Level::Error),
            ),
            (
                "[2026-11-30 18:00:00 +0000] [7] [WARNING] x",
                Some(Level::Warn),
            ),
            (
                "2026-11-30 18:00:00,123 - shop.views - INFO - ERROR is no level here",
                Some(Level::Info),
            ),
            (
                "[30/Nov/2026 18:00:00] WARNING [django.request] Not Found: /",
                Some(Level::Warn),
            ),
            ("level=warning msg=\"x\"", Some(Level::Warn)),
            ("time=1 levelname=ERROR x", Some(Level::Error)),
            (
                "{\"level\": \"error\", \"event\": \"x\"}",
                Some(Level::Error),
            ),
            ("{\"time\":1,\"severity\":\"DEBUG\"}", Some(Level::Debug)),
            (
                "/srv/a.py:7: DeprecationWarning: old\n  call()",
                Some(Level::Warn),
            ),
            ("Fatal Python error: Segmentation fault", Some(Level::Error)),
            (
                "failed\nTraceback (most recent call last):\n  File\nE: x",
                Some(Level::Error),
            ),
            ("", None),
            ("an ERROR that somebody mentions", None),
            ("ERROR-FREE since 1999", None),
            ("INFORMATION", None),
            ("sealevel=warning", None),
            ("level=sea", None),
            ("one: two: three", None),
            ("[1, 2, 3]", None),
            ("caf\u{e9} \u{1f600}", None),
        ] {
            assert_eq!(said_level(line), level, "{line}");
        }
        assert_eq!(said_level(&format!("{}\u{e9}", "x".repeat(159))), None);
    }

    #[test]
    fn a_traceback_is_split_from_its_message() {
        const TRACEBACK: &str = "Traceback (most recent call last):\n  File \"x\"\nValueError: x";
        assert_eq!(
            split_traceback(TRACEBACK),
            ("ValueError: x", Some(TRACEBACK))
        );
        let text = format!("GET /: failed\n{TRACEBACK}\n");
        assert_eq!(split_traceback(&text), ("GET /: failed", Some(TRACEBACK)));
        let stacks = "Current thread 0x1 (most recent call first):\n  File \"x\"";
        let text = format!("Fatal Python error: Aborted\n\n{stacks}");
        assert_eq!(
            split_traceback(&text),
            ("Fatal Python error: Aborted", Some(stacks))
        );
        assert_eq!(split_traceback("one\ntwo"), ("one\ntwo", None));
    }
}
