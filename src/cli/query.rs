//! Words on the command line that a request put there.
//!
//! A web server that runs a CGI program may put the words of the URL's query on its command line (RFC 3875 section 4.4:
//! `?-h` is `-h`). They come last, and nobody who sends a request is to choose an option with them, or the application.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

use super::settings::is_switch;

/// Where the words behind APP begin.
pub(super) fn after_app(command: &Command, words: &[OsString]) -> usize {
    let mut command = command;
    let mut at = 1;
    while let Some(word) = words.get(at) {
        at += 1;
        if word == "--" {
            return at + 1;
        }
        let text = word.to_string_lossy();
        match text.starts_with('-') {
            true => at += usize::from(takes_value(command, &text)),
            false => match command.find_subcommand(word) {
                Some(found) => command = found,
                None => return at,
            },
        }
    }
    words.len()
}

/// Whether the next word is the value of this option, `--bind` or `-b`.
fn takes_value(command: &Command, word: &str) -> bool {
    option(command, word).is_some_and(|option| !is_switch(option))
}

/// The option of a command by its name, `--bind` or `-b`.
pub(super) fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let long = word.strip_prefix("--");
    let short = word.strip_prefix('-').filter(|_| long.is_none());
    command.get_arguments().find(|option| match (long, short) {
        (Some(long), _) => option.get_long() == Some(long),
        (None, Some(short)) => {
            let letter = option.get_short();
            letter.is_some_and(|letter| short.strip_prefix(letter) == Some(""))
        }
        (None, None) => false,
    })
}

/// Where the words begin that are the query's, for when there is no APP in front of them to tell.
///
/// A query with a `=` has none. Web servers differ in what they decode, and in what a shell would need before which
/// they put a `\`: letters and digits tell.
pub(super) fn query_begins(words: &[OsString], query: &OsStr) -> usize {
    let query = query.as_encoded_bytes();
    if query.is_empty() || query.contains(&b'=') {
        return words.len();
    }
    let raw: Vec<Vec<u8>> = query.split(|byte| *byte == b'+').map(plain).collect();
    let decoded: Vec<Vec<u8>> = query
        .split(|byte| *byte == b'+')
        .map(|word| plain(&decode(word)))
        .collect();
    let given: Vec<Vec<u8>> = words
        .iter()
        .skip(1)
        .map(|word| plain(word.as_encoded_bytes()))
        .collect();
    let forms = [
        decoded,
        raw,
        vec![plain(query)],
        vec![plain(&decode(query))],
    ];
    let longest = forms
        .iter()
        .filter(|form| given.ends_with(form))
        .map(Vec::len)
        .max();
    words.len() - longest.unwrap_or(0)
}

fn plain(word: &[u8]) -> Vec<u8> {
    let kept = word.iter().filter(|byte| byte.is_ascii_alphanumeric());
    kept.copied().collect()
}

/// Undoes `%2F`.
fn decode(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        let byte = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{after_app, query_begins};
    use crate::cli::Cli;
    use clap::CommandFactory;
    use std::ffi::{OsStr, OsString};

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn words_behind_app_are_found() {
        for (line, kept) in [
            ("gw app.py -h foo", 2),
            ("gw cgi app:app --debug", 3),
            ("gw cgi --venv /v --debug app:app -h", 6),
            ("gw --venv=/v app.py --version", 3),
            ("gw -- app.py -h", 3),
            ("gw --debug", 2),
            ("gw cgi -c /etc/a.toml app:app -h", 5),
            ("gw cgi -c/etc/a.toml -w4 app:app -h", 5),
            ("gw -t 30 app.py -w 4", 4),
            ("gw -h app.py", 3),
        ] {
            assert_eq!(after_app(&Cli::command(), &words(line)), kept, "{line}");
        }
    }

    #[test]
    fn words_of_the_query_are_found_however_the_server_wrote_them() {
        for (line, query, kept) in [
            ("gw cgi --debug", "", 3),
            ("gw cgi --debug", "--debug", 2),
            ("gw cgi --debug", "debug=1", 3),
            ("gw --debug evil:app", "--debug+evil:app", 1),
            ("gw --debug evil:app", "--debug%2Bevil:app", 3),
            ("gw --debug+evil:app", "--debug+evil:app", 1),
            ("gw /srv/evil.py", "%2fsrv/evil.py", 1),
            ("gw \\~\\;x", "~;x", 1),
            ("gw cgi --venv /v", "other", 4),
        ] {
            let found = query_begins(&words(line), OsStr::new(query));
            assert_eq!(found, kept, "{line} for {query}");
        }
    }
}
