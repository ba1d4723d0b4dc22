//! A file of `conf/` on its way to an operator. Each change is one that its comments tell the reader to make; the tests make all of them,
//! so that a line that is no longer there is found.

/// What stands before the part that a web server needs which has other sites, and behind it.
const RULE: &str = "# -----";

/// The text of such a file.
pub(super) struct SampleConf(String);

impl SampleConf {
    /// All of it but the comment that it begins with.
    pub(super) fn whole(text: &str) -> Self {
        let lines = text.split_inclusive('\n');
        let rest = lines.skip_while(|line| line.starts_with('#'));
        let is_rule = |line: &&str| line.trim_start().starts_with(RULE);
        Self(rest.filter(|line| !is_rule(line)).collect())
    }

    /// What stands between the lines of dashes, or behind the only one, without its indentation.
    pub(super) fn part(text: &str) -> Self {
        let mut parts = text.split_inclusive('\n');
        let is_rule = |line: &&str| line.trim_start().starts_with(RULE);
        let part: Vec<&str> = match parts.by_ref().any(|line| is_rule(&line)) {
            true => parts.take_while(|line| !is_rule(line)).collect(),
            false => text.split_inclusive('\n').collect(),
        };
        Self::dedented(part.into_iter())
    }

    /// The text between two lines, which it does not have, without its indentation.
    pub(super) fn inside(self, first: &str, last: &str) -> Self {
        let lines = self.0.split_inclusive('\n');
        let inside = lines
            .skip_while(|line| line.trim_end() != first)
            .skip(1)
            .take_while(|line| line.trim_end() != last);
        Self::dedented(inside)
    }

    fn dedented<'a>(lines: impl Iterator<Item = &'a str> + Clone) -> Self {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let filled = lines.clone().filter(|line| !line.trim().is_empty());
        let least = filled.map(indent).min().unwrap_or(0);
        let cut = lines.map(|line| match line.trim().is_empty() {
            true => "\n",
            false => &line[least..],
        });
        Self(cut.collect())
    }

    /// What stands there, everywhere.
    pub(super) fn put(mut self, from: &str, to: &str) -> Self {
        debug_assert!(self.0.contains(from), "{from:?} in\n{}", self.0);
        self.0 = self.0.replace(from, to);
        self
    }

    /// These lines, given without what they are indented by, in place of the lines of one group; none: the lines stay.
    pub(super) fn instead(mut self, group: &[&str], lines: &[String]) -> Self {
        if lines.is_empty() {
            return self;
        }
        let all: Vec<&str> = self.0.split_inclusive('\n').collect();
        let found = all.windows(group.len()).position(|window| {
            let mut pairs = window.iter().zip(group);
            pairs.all(|(line, wanted)| line.trim() == *wanted)
        });
        debug_assert!(found.is_some(), "{group:?} in\n{}", self.0);
        let Some(at) = found else {
            return self;
        };
        let indent = &all[at][..all[at].len() - all[at].trim_start().len()];
        let mut text = all[..at].concat();
        for line in lines {
            text += &format!("{indent}{line}\n");
        }
        text += &all[at + group.len()..].concat();
        self.0 = text;
        self
    }

    /// The text without these lines.
    pub(super) fn without(mut self, lines: &[&str]) -> Self {
        for wanted in lines {
            debug_assert!(
                self.0.lines().any(|line| line.trim() == *wanted),
                "{wanted:?} in\n{}",
                self.0
            );
            let kept = self.0.split_inclusive('\n');
            self.0 = kept.filter(|line| line.trim() != *wanted).collect();
        }
        self
    }

    pub(super) fn into_text(self) -> String {
        // What was left out leaves empty lines behind.
        let mut text = String::new();
        let mut is_begun = false;
        for line in self.0.lines() {
            if !line.trim().is_empty() || is_begun {
                text += line;
                text.push('\n');
            }
            let opens = line.ends_with('{') || line.starts_with("<VirtualHost");
            is_begun = !line.trim().is_empty() && !opens;
        }
        format!("{}\n", text.trim_end())
    }
}
