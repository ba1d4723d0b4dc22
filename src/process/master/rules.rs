//! What a worker or a template may say to the master, and when and how often: any code in it can write to its channel.
//!
//! Who breaks a rule that no process of ours breaks is ended. Who says much is heard later: its channel fills, and it waits.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::channel::Message;
use super::workers::WorkerState;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breach(pub(super) &'static str);

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it wrote {} to the gateway's own channel, as only foreign code in it does",
            self.0
        )
    }
}

/// How far who speaks has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// A worker that the template was told to make and that is not known yet.
    Unborn,
    /// A worker.
    WorkerProcess(WorkerState),
    /// A template; whether it has imported the application.
    Template { is_ready: bool },
}

/// Whether this may be said now, with the application's files watched or not.
///
/// # Errors
/// What is wrong with it.
pub(super) fn judge(message: &Message, speaker: Speaker, watches: bool) -> Result<(), Breach> {
    use Speaker::{Template, Unborn, WorkerProcess};
    match (message, speaker) {
        (Message::Log(level, _), _) if !(1..=5).contains(level) => {
            Err(Breach("a line of no level"))
        }
        (Message::Log(..), _) => Ok(()),
        (Message::Forked, Unborn) => Ok(()),
        (_, Unborn) => Err(Breach("something before it was there")),
        (Message::Forked, _) => Err(Breach("that it was made once more")),
        // It may have been told to leave before its word was heard.
        (Message::Ready, WorkerProcess(WorkerState::Starting | WorkerState::Leaving)) => Ok(()),
        (Message::Ready, Template { is_ready: false }) => Ok(()),
        (Message::Ready, _) => Err(Breach("that it is ready once more")),
        (Message::CannotLoad(_), _) => Ok(()),
        (Message::Files(_), _) if !watches => Err(Breach("names of files without --reload")),
        (Message::Files(_), _) => Ok(()),
        (Message::Full, WorkerProcess(_)) => Ok(()),
        (
            Message::Retire(why) | Message::Outgrown(why) | Message::Leaving(why),
            WorkerProcess(_),
        ) => {
            let is_phrase = why.len() <= PHRASE && !why.contains(char::is_control);
            is_phrase.then_some(()).ok_or(Breach("a reason of no use"))
        }
        (
            Message::Full | Message::Retire(_) | Message::Outgrown(_) | Message::Leaving(_),
            Template { .. },
        ) => Err(Breach("what only workers say")),
        (
            Message::Drain
            | Message::Finish
            | Message::Abort(_)
            | Message::Listen(_)
            | Message::Trouble(_)
            | Message::Resume
            | Message::Fork(..),
            _,
        ) => Err(Breach("what only the master says")),
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
    pub(super) fn spend(&mut self, message: &Message) {
        self.messages += 1;
        if let Message::Log(_, text) | Message::Files(text) | Message::CannotLoad(text) = message {
            self.bytes += text.len();
        }
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
    use super::{MessageAllowance, Speaker, judge, plausible_files};
    use crate::process::channel::Message;
    use crate::process::master::workers::WorkerState;
    use std::time::{Duration, Instant};

    /// Every message in every state: the letters of those that may say it, of an unborn worker, one that starts, that serves,
    /// that leaves, and a template before and behind its import.
    #[test]
    fn each_message_has_its_time() {
        let text = |text: &str| text.to_owned();
        let table = [
            (Message::Ready, "s l t "),
            (Message::Full, "s r l "),
            (Message::Retire(text("--max-requests")), "s r l "),
            (Message::Retire(text("a\nb")), ""),
            (Message::Retire("x".repeat(10_000)), ""),
            (Message::Outgrown(text("--max-rss")), "s r l "),
            (Message::Leaving(text("SIGTERM")), "s r l "),
            (Message::Log(3, text("a\nb")), "u s r l t T "),
            (Message::Log(0, text("")), ""),
            (Message::Log(6, text("")), ""),
            (Message::CannotLoad(text("why")), "s r l t T "),
            (Message::Files(text("/a")), "s r l t T "),
            (Message::Forked, "u "),
            (Message::Drain, ""),
            (Message::Finish, ""),
            (Message::Abort(text("")), ""),
            (Message::Listen(Vec::new()), ""),
            (Message::Trouble(text("")), ""),
            (Message::Resume, ""),
            (Message::Fork(1, Vec::new()), ""),
        ];
        let speakers = [
            ("u ", Speaker::Unborn),
            ("s ", Speaker::WorkerProcess(WorkerState::Starting)),
            ("r ", Speaker::WorkerProcess(WorkerState::Ready)),
            ("l ", Speaker::WorkerProcess(WorkerState::Leaving)),
            ("t ", Speaker::Template { is_ready: false }),
            ("T ", Speaker::Template { is_ready: true }),
        ];
        for (message, may) in table {
            let found: String = speakers
                .into_iter()
                .filter(|(_, speaker)| judge(&message, *speaker, true).is_ok())
                .map(|(letter, _)| letter)
                .collect();
            assert_eq!(found, may, "{message:?}");
        }
        let files = Message::Files(text("/a"));
        assert!(judge(&files, Speaker::WorkerProcess(WorkerState::Ready), false).is_err());
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
            let line = Message::Log(3, "x".repeat(text));
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
