//! A file of `conf/` on its way to an operator. Each change is one that its comments tell the reader to make; the tests make all of them,
//! so that a line that is no longer there is found.

/// What stands before the part that a web server needs which has other sites, and behind it.
const RULE: &str = "# -----";

/// The text of such a file. A value that is put in is not looked at by later changes, whatever stands in it.
pub(super) struct SampleConf {
    /// With marks where values are to stand.
    text: String,
    values: Vec<String>,
}

/// Stands before and behind the number of a value: no file of ours has it.
const MARK: char = '\0';

impl SampleConf {
    /// All of it but the comment that it begins with.
    pub(super) fn whole(text: &str) -> Self {
        let lines = text.split_inclusive('\n');
        let rest = lines.skip_while(|line| line.starts_with('#'));
        let is_rule = |line: &&str| line.trim_start().starts_with(RULE);
        Self::of(rest.filter(|line| !is_rule(line)).collect())
    }

    /// What stands between the lines of dashes, or behind the only one, without its indentation.
    pub(super) fn part(text: &str) -> Self {
        let mut parts = text.split_inclusive('\n');
        let is_rule = |line: &&str| line.trim_start().starts_with(RULE);
        let part: Vec<&str> = match parts.by_ref().any(|line| is_rule(&line)) {
            true => parts.take_while(|line| !is_rule(line)).collect(),
            false => text.split_inclusive('\n').collect(),
        };
        Self::of(dedented(part.into_iter()))
    }

    /// The text between two lines, which it does not have, without its indentation.
    pub(super) fn inside(self, first: &str, last: &str) -> Self {
        let lines = self.text.split_inclusive('\n');
        let inside = lines
            .skip_while(|line| line.trim_end() != first)
            .skip(1)
            .take_while(|line| line.trim_end() != last);
        let text = dedented(inside);
        Self { text, ..self }
    }

    fn of(text: String) -> Self {
        let values = Vec::new();
        Self { text, values }
    }

    /// What stands for a value until the end.
    fn mark(&mut self, value: &str) -> String {
        self.values.push(value.to_owned());
        format!("{MARK}{}{MARK}", self.values.len() - 1)
    }

    /// What stands there, everywhere.
    pub(super) fn put(mut self, from: &str, to: &str) -> Self {
        debug_assert!(self.text.contains(from), "{from:?} in\n{}", self.text);
        let mark = self.mark(to);
        self.text = self.text.replace(from, &mark);
        self
    }

    /// These lines, given without what they are indented by, in place of the lines of one group; none: the lines stay.
    pub(super) fn instead(mut self, group: &[&str], lines: &[String]) -> Self {
        if lines.is_empty() {
            return self;
        }
        let text = std::mem::take(&mut self.text);
        let all: Vec<&str> = text.split_inclusive('\n').collect();
        let found = all.windows(group.len()).position(|window| {
            let mut pairs = window.iter().zip(group);
            pairs.all(|(line, wanted)| line.trim() == *wanted)
        });
        debug_assert!(found.is_some(), "{group:?} in\n{text}");
        let at = found.unwrap_or(0);
        let indent = &all[at][..all[at].len() - all[at].trim_start().len()];
        let mut changed = all[..at].concat();
        for line in lines {
            changed += &format!("{indent}{}\n", self.mark(line));
        }
        changed += &all[at + group.len()..].concat();
        self.text = changed;
        self
    }

    /// The text without these lines.
    pub(super) fn without(mut self, lines: &[&str]) -> Self {
        for wanted in lines {
            debug_assert!(
                self.text.lines().any(|line| line.trim() == *wanted),
                "{wanted:?} in\n{}",
                self.text
            );
            let kept = self.text.split_inclusive('\n');
            self.text = kept.filter(|line| line.trim() != *wanted).collect();
        }
        self
    }

    pub(super) fn into_text(self) -> String {
        // What was left out leaves empty lines behind.
        let mut text = String::new();
        let mut is_begun = false;
        for line in self.text.lines() {
            if !line.trim().is_empty() || is_begun {
                text += line;
                text.push('\n');
            }
            let opens = line.ends_with('{') || line.starts_with("<VirtualHost");
            is_begun = !line.trim().is_empty() && !opens;
        }
        // Every second piece is the number of a value.
        let pieces = text.trim_end().split(MARK).enumerate();
        let filled = pieces.map(|(at, piece)| match at % 2 {
            0 => piece,
            _ => piece
                .parse()
                .map_or("", |number: usize| &*self.values[number]),
        });
        filled.chain(["\n"]).collect()
    }
}

fn dedented<'a>(lines: impl Iterator<Item = &'a str> + Clone) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let filled = lines.clone().filter(|line| !line.trim().is_empty());
    let least = filled.map(indent).min().unwrap_or(0);
    let cut = lines.map(|line| match line.trim().is_empty() {
        true => "\n",
        false => &line[least..],
    });
    cut.collect()
}

#[cfg(test)]
mod tests {
    use super::SampleConf;

    #[test]
    fn a_value_is_not_changed_by_what_follows() {
        let text = "# head\n\n    a b {\n\n\n        # c\n        #d\n    }\n";
        let sample = SampleConf::whole(text).put("a", "b}").put("b", "a");
        let lines = ["b a".to_owned(), "e".to_owned()];
        let text = sample
            .instead(&["# c", "#d"], &lines)
            .put("}", ")")
            .into_text();
        assert_eq!(text, "    b} a {\n        b a\n        e\n    )\n");
    }

    #[test]
    fn a_part_is_what_stands_between_the_lines_of_dashes() {
        let text = "x\n  # -----\n  a\n\n    b\n  # -----\nx\n";
        assert_eq!(SampleConf::part(text).into_text(), "a\n\n  b\n");
        assert_eq!(SampleConf::part("x\n# -----\na\n").into_text(), "a\n");
        let inside = SampleConf::part("<V>\n  a\n</V>\n").inside("<V>", "</V>");
        assert_eq!(inside.into_text(), "a\n");
    }
}
