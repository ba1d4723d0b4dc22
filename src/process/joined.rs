//! Joins the lines of a traceback, which come from a worker as many: one failure is one message.
//!
//! A line waits for those that belong to it only where they are here already, or where they must come: the rest of a traceback
//! that has begun. For these it waits a moment, as Python may write them one by one.

use std::time::{Duration, Instant};

/// How long a traceback that has begun waits for its end.
const WAIT: Duration = Duration::from_millis(100);

/// The longest message of several lines, in bytes.
const MOST: usize = 64 * 1024;

/// The lines that were not told yet.
#[derive(Debug, Default)]
pub(super) struct JoinedLines {
    text: String,
    state: JoinState,
    /// When they are told though something lacks.
    until: Option<Instant>,
}

/// What the last of them was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum JoinState {
    /// There are none.
    #[default]
    Empty,
    /// A line that a traceback may follow.
    Line,
    /// One of a traceback, whose exception lacks.
    Frame,
    /// The exception: another may have been raised while that was handled, or because of it.
    Exception,
    /// The empty line behind it.
    Gap,
    /// What says that there was another.
    Chain,
    /// One of what faulthandler writes of all threads.
    Stack,
}

/// Whether a line begins a traceback.
fn begins(line: &str) -> bool {
    const HEADS: [&str; 2] = [
        "Traceback (most recent call last):",
        "Exception Group Traceback (most recent call last):",
    ];
    let line = line.trim_start_matches([' ', '+', '|']);
    HEADS.iter().any(|head| line.starts_with(head))
}

/// Whether a line is one of faulthandler's, which has no indent.
fn is_of_stacks(line: &str) -> bool {
    const HEADS: [&str; 4] = [
        "Thread 0x",
        "Current thread 0x",
        "Python runtime state: ",
        "Extension modules: ",
    ];
    HEADS.iter().any(|head| line.starts_with(head))
}

/// Whether a line begins what Python says when it dies.
fn is_fatal(line: &str) -> bool {
    line.starts_with("Fatal Python error: ") || line.starts_with("Timeout (")
}

/// Whether a line is likely to have a traceback behind it, in a write of its own.
fn announces(line: &str) -> bool {
    line.starts_with("Exception in thread ") || line.starts_with("Exception ignored in")
}

fn says_why(line: &str) -> bool {
    line.starts_with("During handling of the above exception")
        || line.starts_with("The above exception was the direct cause")
}

impl JoinedLines {
    /// Takes in a line, and tells those that it does not belong to.
    pub(super) fn push(&mut self, line: &str, tell: &mut impl FnMut(&str)) {
        use JoinState::{Chain, Empty, Exception, Frame, Gap, Line, Stack};
        let is_indented = line.starts_with([' ', '\t']);
        let next = match self.state {
            Line | Chain if begins(line) => Some(Frame),
            // The line of the source that Python's warnings show.
            Line if is_indented && self.text.contains("Warning: ") => Some(Line),
            Chain if line.is_empty() => Some(Chain),
            Frame if is_indented || line.is_empty() => Some(Frame),
            Frame => Some(Exception),
            Exception if line.is_empty() => Some(Gap),
            Gap if says_why(line) => Some(Chain),
            Stack if is_indented || line.is_empty() || is_of_stacks(line) => Some(Stack),
            _ => None,
        };
        let next = next.filter(|_| self.text.len() + line.len() < MOST);
        if next.is_some() {
            self.text.push('\n');
        } else {
            self.tell(tell);
        }
        self.text.push_str(line);
        self.state = next.unwrap_or(match line {
            _ if begins(line) => Frame,
            _ if is_fatal(line) || is_of_stacks(line) => Stack,
            _ => Line,
        });
        debug_assert_ne!(self.state, Empty);
        self.until = None;
    }

    /// Nothing more is here for the moment: tells what may be whole.
    pub(super) fn pause(&mut self, now: Instant, tell: &mut impl FnMut(&str)) {
        let waits = match self.state {
            JoinState::Frame | JoinState::Chain | JoinState::Stack => true,
            JoinState::Line => announces(&self.text),
            JoinState::Empty | JoinState::Exception | JoinState::Gap => false,
        };
        let until = *self.until.get_or_insert(now + WAIT);
        if !waits || now >= until {
            self.tell(tell);
        }
    }

    /// When [`JoinedLines::pause`] is to be called again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Tells what there is.
    pub(super) fn tell(&mut self, tell: &mut impl FnMut(&str)) {
        if self.state != JoinState::Empty {
            tell(self.text.trim_end_matches('\n'));
            self.text.clear();
            self.text.shrink_to(MOST);
        }
        self.state = JoinState::Empty;
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::{JoinedLines, WAIT};
    use std::time::Instant;

    /// What is told of pieces of output, with a pause behind each.
    fn told(pieces: &[&str]) -> Vec<String> {
        let (mut joined, mut told) = (JoinedLines::default(), Vec::new());
        let mut tell = |text: &str| told.push(text.to_owned());
        let now = Instant::now();
        for piece in pieces {
            for line in piece.lines() {
                joined.push(line, &mut tell);
            }
            joined.pause(now, &mut tell);
        }
        joined.pause(now + WAIT, &mut tell);
        assert_eq!(joined.deadline(), None);
        told
    }

    const ONE: &str =
        "Traceback (most recent call last):\n  File \"x\", line 1\n    x\n    ^\nValueError: x";

    #[test]
    fn a_traceback_is_one_message() {
        assert_eq!(told(&["a\nb", "c"]), ["a", "b", "c"]);
        assert_eq!(told(&[ONE]), [ONE]);
        assert_eq!(told(&["a\n  b"]), ["a", "  b"]);
        let warned = "x.py:1: UserWarning: old\n  call()";
        assert_eq!(told(&[warned]), [warned]);
        let logged = format!("ERROR:root:failed\n{ONE}");
        assert_eq!(told(&[&format!("a\n{logged}\nb")]), ["a", &logged, "b"]);
        // Line by line.
        let lines: Vec<&str> = ONE.lines().collect();
        assert_eq!(told(&lines), [ONE]);
        let chained = format!(
            "{ONE}\n\nDuring handling of the above exception, another exception occurred:\n\n{ONE}"
        );
        assert_eq!(told(&[&chained]), [&*chained]);
        let thread = format!("Exception in thread T-1 (f):\n{ONE}");
        let (head, rest) = thread.split_once('\n').unwrap();
        assert_eq!(told(&[head, rest]), [&*thread]);
        let fatal = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  File \"x\"\n\n\
                     Thread 0x2 (most recent call first):\n  File \"y\"";
        assert_eq!(told(&[fatal]), [fatal]);
        let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"x\"\n  | ExceptionGroup: x\n    +----";
        assert_eq!(told(&[group]), [group]);
    }

    #[test]
    fn what_lacks_its_end_is_told_all_the_same() {
        let cut = "Traceback (most recent call last):\n  File \"x\"";
        assert_eq!(told(&[cut]), [cut]);
        let chain = format!("{ONE}\n\nDuring handling of the above exception, another");
        assert_eq!(told(&[&chain, "other"]), [&chain[..chain.len()], "other"]);
        assert_eq!(told(&["", "\n\na"]), ["", "", "a"]);
        let endless = format!(
            "Traceback (most recent call last):\n{}",
            " x\n".repeat(50_000)
        );
        assert!(told(&[&endless]).len() > 1);
    }
}
