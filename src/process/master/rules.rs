//! What a worker or a template may say to the master, and when and how often: any code in it can write to its channel.
//!
//! Whose channel it is decides for whom is spoken, and only the process itself is heard there: the kernel says who has sent a
//! message, and one that another has sent is a breach, whatever it says. What then may be said:
//!
//! | message    | made | starting | ready | leaving | importing | imported | what the master makes of it                    |
//! |------------|------|----------|-------|---------|-----------|----------|------------------------------------------------|
//! | Forked     | yes  | -        | -     | -       | -         | -        | its sender is the worker, if it is a new child |
//! | Begun      | -    | yes      | -     | yes     | yes       | -        | if it ends, it is not for want of a core       |
//! | Ready      | -    | yes      | -     | yes     | yes       | -        | it counts; nothing where it leaves             |
//! | Full       | -    | yes      | yes   | yes     | -         | -        | the pool may grow sooner, by what really waits |
//! | Retire     | -    | yes      | yes   | yes     | -         | -        | this worker is replaced, once                  |
//! | Outgrown   | -    | yes      | yes   | yes     | -         | -        | this worker is replaced when there is time     |
//! | Leaving    | -    | yes      | yes   | yes     | -         | -        | this worker has --graceful-timeout to end      |
//! | Log        | yes  | yes      | yes   | yes     | yes       | yes      | a line under its name, of a level from 1 to 5  |
//! | CannotLoad | -    | yes      | yes   | yes     | yes       | yes      | why a candidate has failed, when it has        |
//! | Stacks     | -    | yes      | yes   | yes     | -         | -        | what `stacks` shows, where it was asked        |
//! | Files      | -    | yes      | yes   | yes     | yes       | yes      | files to look at, with --reload only           |
//!
//! *Made*: a template was told to make the worker, and nobody knows its process yet. *Starting*, *ready*, *leaving*: a worker.
//! *Importing*, *imported*: a template. A reason is one line of at most 8 KiB. Descriptors, what only the master says, and
//! bytes that are no message are a breach in every state.
//!
//! Who breaks a rule that no process of ours breaks is ended, and nothing more is heard of it. Who says much is heard later:
//! its channel fills, and it waits.

use std::path::Path;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::super::messages::ChildMessage;

/// So many messages, and bytes in them, are heard of one process in this time.
const WINDOW: Duration = Duration::from_millis(200);
const MESSAGES: u32 = 1000;
const BYTES: usize = 1 << 20;

/// The most bytes of a text that is to be part of a line.
const PHRASE: usize = 8 * 1024;

/// The most bytes of a file's name (PATH_MAX in limits.h), and the most files that are watched.
const NAME: usize = 4096;
const FILES: usize = 20_000;

/// What no process of ours does, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it wrote {0} to the gateway's own channel, as only foreign code in it does")]
pub(super) struct Breach(pub(super) &'static str);

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// It imports the application.
    Starting,
    /// It serves.
    Ready,
    /// It takes nothing new any more.
    Leaving,
}

/// How far who speaks has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// A worker that the template was told to make and that is not known yet.
    Unadopted,
    /// A worker.
    Worker(WorkerState),
    /// A template; whether it has imported the application.
    Template { is_ready: bool },
}

/// Whether this may be said now, with the application's files watched or not.
///
/// # Errors
/// What is wrong with it.
pub(super) fn judge(message: &ChildMessage, speaker: Speaker, watches: bool) -> Result<(), Breach> {
    use Speaker::{Template, Unadopted, Worker};
    match (message, speaker) {
        (ChildMessage::Log(level, _), _) if !(1..=5).contains(level) => {
            Err(Breach("a line of no level"))
        }
        (ChildMessage::Log(..), _) => Ok(()),
        (ChildMessage::Forked, Unadopted) => Ok(()),
        (_, Unadopted) => Err(Breach("something before it was there")),
        (ChildMessage::Forked, _) => Err(Breach("that it was made once more")),
        // It may have been told to leave before its word was heard.
        (
            ChildMessage::Begun | ChildMessage::Ready,
            Worker(WorkerState::Starting | WorkerState::Leaving) | Template { is_ready: false },
        ) => Ok(()),
        (ChildMessage::Begun, _) => Err(Breach("that it begins once more")),
        (ChildMessage::Ready, _) => Err(Breach("that it is ready once more")),
        (ChildMessage::CannotLoad(_), _) => Ok(()),
        (ChildMessage::Files(_), _) if !watches => Err(Breach("names of files without --reload")),
        (ChildMessage::Files(_), _) => Ok(()),
        (ChildMessage::Full | ChildMessage::Stacks(_), Worker(_)) => Ok(()),
        (
            ChildMessage::Retire(why) | ChildMessage::Outgrown(why) | ChildMessage::Leaving(why),
            Worker(_),
        ) => {
            let is_phrase = why.len() <= PHRASE && !why.contains(char::is_control);
            is_phrase.then_some(()).ok_or(Breach("a reason of no use"))
        }
        (
            ChildMessage::Full
            | ChildMessage::Stacks(_)
            | ChildMessage::Retire(_)
            | ChildMessage::Outgrown(_)
            | ChildMessage::Leaving(_),
            Template { .. },
        ) => Err(Breach("what only workers say")),
    }
}

/// Those of the named files that can be the application's, as long as not too many are watched already.
pub(super) fn plausible_files(named: &str, watched: usize) -> String {
    let is_plausible = |file: &&str| {
        file.len() < NAME && Path::new(file).is_absolute() && !file.contains(char::is_control)
    };
    let room = FILES.saturating_sub(watched);
    let mut files = String::new();
    for file in named.lines().filter(is_plausible).take(room) {
        files.push_str(file);
        files.push('\n');
    }
    files
}

/// A text without what a terminal would obey.
pub(super) fn plain(text: String) -> String {
    let is_odd = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    match text.contains(is_odd) {
        true => text.replace(is_odd, "\u{fffd}"),
        false => text,
    }
}

/// The level that a number stands for, and the line without what a terminal would obey.
pub(super) fn plain_line(level: u8, line: String) -> (log::Level, String) {
    let level = log::Level::iter()
        .find(|known| *known as usize == usize::from(level))
        .unwrap_or(log::Level::Error);
    (level, plain(line))
}

/// How much was heard of a process lately.
#[derive(Debug)]
pub(super) struct MessageAllowance {
    since: Instant,
    messages: u32,
    bytes: usize,
    is_spent: bool,
}

impl MessageAllowance {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            messages: 0,
            bytes: 0,
            is_spent: false,
        }
    }

    /// Counts a message.
    pub(super) fn spend(&mut self, message: &ChildMessage) {
        self.messages += 1;
        self.bytes += message.text().len();
        self.is_spent = self.messages >= MESSAGES || self.bytes >= BYTES;
    }

    /// Whether the process is heard again only later. To be asked before every look at its channel.
    pub(super) fn is_spent(&mut self, now: Instant) -> bool {
        if now >= self.since + WINDOW {
            *self = Self::new(now);
        }
        self.is_spent
    }

    /// When it is heard again, where it is not now.
    pub(super) fn until(&self) -> Option<Instant> {
        self.is_spent.then(|| self.since + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::{MessageAllowance, Speaker, WorkerState, judge, plain_line, plausible_files};
    use crate::process::messages::ChildMessage;
    use std::time::{Duration, Instant};

    fn text(text: &str) -> String {
        text.to_owned()
    }

    /// Every message in every state, against the table that this file opens with.
    #[test]
    fn each_message_has_its_time() {
        let messages = [
            ("Forked", ChildMessage::Forked),
            ("Begun", ChildMessage::Begun),
            ("Ready", ChildMessage::Ready),
            ("Full", ChildMessage::Full),
            ("Retire", ChildMessage::Retire(text("--max-requests"))),
            ("Outgrown", ChildMessage::Outgrown(text("--max-rss"))),
            ("Leaving", ChildMessage::Leaving(text("SIGTERM"))),
            ("Log", ChildMessage::Log(3, text("a\nb"))),
            ("CannotLoad", ChildMessage::CannotLoad(text("why"))),
            ("Stacks", ChildMessage::Stacks(text("a\nb"))),
            ("Files", ChildMessage::Files(text("/a"))),
        ];
        let rows = include_str!("rules.rs").lines();
        let rows = rows.filter_map(|line| line.strip_prefix("//! | "));
        let rows: Vec<Vec<&str>> = rows
            .map(|row| row.split('|').map(str::trim).collect())
            .collect();
        let speakers = [
            "made",
            "starting",
            "ready",
            "leaving",
            "importing",
            "imported",
        ];
        assert_eq!(rows[0][1..7], speakers);
        assert_eq!(rows.len(), messages.len() + 1);
        for ((name, message), row) in messages.iter().zip(&rows[1..]) {
            assert_eq!(row[0], *name);
            for (speaker, may) in SPEAKERS.into_iter().zip(&row[1..]) {
                let found = match judge(message, speaker, true) {
                    Ok(()) => "yes",
                    Err(_) => "-",
                };
                assert_eq!(found, *may, "{name} of {speaker:?}");
            }
        }
    }

    const SPEAKERS: [Speaker; 6] = [
        Speaker::Unadopted,
        Speaker::Worker(WorkerState::Starting),
        Speaker::Worker(WorkerState::Ready),
        Speaker::Worker(WorkerState::Leaving),
        Speaker::Template { is_ready: false },
        Speaker::Template { is_ready: true },
    ];

    #[test]
    fn what_makes_no_sense_is_said_by_nobody() {
        for speaker in SPEAKERS {
            for message in [
                ChildMessage::Log(0, text("")),
                ChildMessage::Log(6, text("")),
                ChildMessage::Retire(text("a\nb")),
                ChildMessage::Leaving("x".repeat(10_000)),
                ChildMessage::Outgrown(text("\u{1b}[2J")),
            ] {
                assert!(judge(&message, speaker, true).is_err(), "{message:?}");
            }
            assert!(judge(&ChildMessage::Files(text("/a")), speaker, false).is_err());
        }
        let (level, line) = plain_line(2, text("a\u{1b}[2J\n\tb"));
        assert_eq!((level, &*line), (log::Level::Warn, "a\u{fffd}[2J\n\tb"));
    }

    #[test]
    fn only_what_can_be_a_file_is_watched() {
        let long = format!("/{}", "x".repeat(5000));
        let named = format!("/srv/app.py\nrelative.py\n<string>\n/a\0b\n{long}\n\n/srv/b.py");
        assert_eq!(plausible_files(&named, 0), "/srv/app.py\n/srv/b.py\n");
        assert_eq!(plausible_files(&named, 19_999), "/srv/app.py\n");
        assert_eq!(plausible_files(&named, usize::MAX), "");
    }

    #[test]
    fn who_says_much_is_heard_later() {
        let now = Instant::now();
        for (text, most) in [(1, 1000), (64 * 1024, 16)] {
            let mut budget = MessageAllowance::new(now);
            let line = ChildMessage::Log(3, "x".repeat(text));
            let mut heard = 0;
            while !budget.is_spent(now) {
                budget.spend(&line);
                heard += 1;
            }
            assert_eq!(heard, most);
            let until = budget.until().unwrap();
            assert!(!budget.is_spent(until + Duration::from_millis(1)));
            assert_eq!(budget.until(), None);
        }
    }
}
