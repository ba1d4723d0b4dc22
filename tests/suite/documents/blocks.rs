//! What a document consists of, for those who check it: blocks of code with what the comments above say of them, headings and links.
//! Knows how Markdown is written and nothing of what becomes of it.

use std::path::{Path, PathBuf};

/// A document with the line numbers of all that it has.
#[derive(Default)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) steps: Vec<(usize, Step)>,
    pub(super) headings: Vec<String>,
    pub(super) links: Vec<(usize, String)>,
    /// What stands between backquotes in a line.
    pub(super) codes: Vec<(usize, String)>,
    /// What cannot be checked, each with its place.
    pub(super) wrong: Vec<String>,
}

/// What a reader does next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Run(Run),
    Write(File),
    EndSession,
}

/// Commands, and what is to be seen.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Run {
    pub(super) commands: String,
    /// They stay; what they print when they are ready.
    pub(super) stays: Option<String>,
    pub(super) prints: Vec<String>,
    /// They fail, with this exit code if one is given, and print this.
    pub(super) fails: Option<(Option<i32>, String)>,
    /// What they print, line by line.
    pub(super) lines: Vec<String>,
    pub(super) needs: Option<String>,
}

/// A file, or a part of one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct File {
    pub(super) text: String,
    /// Where it is written to, and the mode.
    pub(super) path: Option<(String, String)>,
    pub(super) appends: bool,
    /// The file of the repository that has these lines.
    pub(super) part_of: Option<String>,
    pub(super) needs: Option<String>,
}

impl Document {
    pub(super) fn read(path: &Path) -> Document {
        Document::parse(path, &super::text(path))
    }

    pub(super) fn parse(path: &Path, text: &str) -> Document {
        let mut document = Document {
            path: path.to_owned(),
            ..Document::default()
        };
        let mut comments: Vec<(usize, String)> = Vec::new();
        // Whether the line before was the end of a block of commands: a `text` block may follow, after one empty line.
        let mut printed = false;
        let mut before = "";
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line));
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                let block: Vec<&str> = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| line.trim_start() != "```")
                    .collect();
                let text = block.join("\n") + "\n";
                let comments = std::mem::take(&mut comments);
                document.block(number, language.trim(), text, &comments, printed);
                printed = language == "sh";
            } else if let Some(comment) = line.strip_prefix("<!--") {
                let mut comment = comment.to_owned();
                while !comment.contains("-->") {
                    let (_, more) = lines.next().expect("a comment that ends");
                    comment = comment + "\n" + more;
                }
                for comment in comment.split("<!--") {
                    let comment = comment.trim().trim_end_matches("-->").trim();
                    if comment == "end of session" {
                        document.steps.push((number, Step::EndSession));
                    } else {
                        comments.push((number, comment.to_owned()));
                    }
                }
            } else {
                for (number, comment) in comments.drain(..) {
                    document.say(
                        number,
                        format_args!("no block below the comment {comment:?}"),
                    );
                }
                if line.starts_with("    ") && before.is_empty() {
                    document.say(
                        number,
                        "a block without a language: put it between ``` lines",
                    );
                }
                if line.starts_with('#') {
                    document
                        .headings
                        .push(line.trim_start_matches('#').trim().to_owned());
                }
                document.find_links(number, line);
                printed = printed && line.is_empty();
            }
            before = line;
        }
        document
    }

    fn say(&mut self, line: usize, what: impl std::fmt::Display) {
        self.wrong
            .push(format!("{}:{line}: {what}", self.path.display()));
    }

    fn block(
        &mut self,
        line: usize,
        language: &str,
        text: String,
        comments: &[(usize, String)],
        printed: bool,
    ) {
        match language {
            "" => self.say(line, "a block without a language"),
            "sh" => self.commands(line, text, comments),
            "text" if comments.is_empty() && printed => {
                let lines = text.lines().map(|line| line.trim_end().to_owned());
                if let Some((_, Step::Run(run))) = self.steps.last_mut() {
                    run.lines.extend(lines);
                }
            }
            "text"
                if comments
                    .iter()
                    .any(|(_, words)| words.starts_with("only to be read: ")) => {}
            _ => self.file(line, text, comments),
        }
    }

    fn commands(&mut self, line: usize, commands: String, comments: &[(usize, String)]) {
        let mut run = Run {
            commands,
            ..Run::default()
        };
        for (line, comment) in comments {
            match comment.split_once(": ") {
                Some(("stays", words)) => run.stays = Some(words.to_owned()),
                Some(("prints", words)) => run.prints.push(words.to_owned()),
                Some(("needs", words)) => run.needs = Some(words.to_owned()),
                Some((fails, words)) if fails.starts_with("fails") => {
                    run.fails =
                        Some((fails["fails".len()..].trim().parse().ok(), words.to_owned()));
                }
                _ => self.say(*line, format_args!("what is {comment:?} above commands?")),
            }
        }
        self.steps.push((line, Step::Run(run)));
    }

    fn file(&mut self, line: usize, text: String, comments: &[(usize, String)]) {
        let mut file = File {
            text,
            ..File::default()
        };
        for (line, comment) in comments {
            match comment.split_once(": ") {
                Some(("file", words)) => {
                    let (path, mode) = words.split_once(' ').unwrap_or((words, "644"));
                    file.path = Some((path.to_owned(), mode.to_owned()));
                }
                Some(("add to", path)) => {
                    file.path = Some((path.to_owned(), "644".to_owned()));
                    file.appends = true;
                }
                Some(("part of", name)) => file.part_of = Some(name.to_owned()),
                Some(("needs", words)) => file.needs = Some(words.to_owned()),
                _ => self.say(
                    *line,
                    format_args!("what is {comment:?} above a block that is no command?"),
                ),
            }
        }
        if file.path.is_none() && file.part_of.is_none() {
            self.say(
                line,
                "a block that nothing is checked of: see tests/suite/documents/mod.rs",
            );
        }
        self.steps.push((line, Step::Write(file)));
    }

    /// `[words](target)`, outside of `code`.
    fn find_links(&mut self, number: usize, line: &str) {
        if line.matches('`').count() % 2 == 1 {
            self.say(number, "code that does not end on its line");
        }
        for (index, outside) in line.split('`').enumerate() {
            // What stands between two backquotes is code, but its surroundings may be a link: [`explain`](#explain).
            if index % 2 == 1 {
                self.codes.push((number, outside.to_owned()));
                continue;
            }
            for (at, _) in outside.match_indices("](") {
                let rest = &outside[at + 2..];
                match rest.split_once(')') {
                    Some((target, _)) => self.links.push((number, target.to_owned())),
                    None => self.say(number, "a link that does not end on its line"),
                }
            }
            if outside.contains("://") && !outside.contains("](http") {
                let words = outside.split([' ', '<', '>', ')', ',']);
                let bare = words.filter(|word| word.starts_with("http"));
                let bare: Vec<String> = bare.map(str::to_owned).collect();
                self.links
                    .extend(bare.into_iter().map(|link| (number, link)));
            }
        }
    }
}

/// Tells good documents from bad ones, for otherwise a comment with a typing error would be a block that is not run.
pub(super) fn check_examples() {
    let parse = |text: &str| Document::parse(Path::new("x.md"), text);
    let good = parse(
        "# A b\n<!-- file: /a/b.py 755 -->\n```python\nx\n```\n\n<!-- fails 3: no -->\n```sh\ny\n```\n\n```text\nz...\n```\n[`a`](#a-b)\n<!-- end of session -->\n",
    );
    assert_eq!(good.wrong, Vec::<String>::new());
    assert_eq!(good.headings, ["A b"]);
    assert_eq!(good.links, [(15, "#a-b".to_owned())]);
    let file = File {
        text: "x\n".to_owned(),
        path: Some(("/a/b.py".to_owned(), "755".to_owned())),
        ..File::default()
    };
    let run = Run {
        commands: "y\n".to_owned(),
        fails: Some((Some(3), "no".to_owned())),
        lines: vec!["z...".to_owned()],
        ..Run::default()
    };
    let steps = [
        (3, Step::Write(file)),
        (8, Step::Run(run)),
        (16, Step::EndSession),
    ];
    assert_eq!(good.steps, steps);
    for bad in [
        "```\nls\n```\n",
        "a\n\n    ls\n",
        "<!-- file: /a -->\n\n```toml\n```\n",
        "```nginx\nlisten 80;\n```\n",
        "```text\nalone\n```\n",
        "<!-- print: a -->\n```sh\nls\n```\n",
        "<!-- stays: a -->\n```toml\n```\n",
        "[a](b\n",
        "`a\nb`\n",
    ] {
        assert!(!parse(bad).wrong.is_empty(), "{bad}");
    }
}
