//! What stands in a topic's file: the few constructs of Markdown that the topics use, without what is not for readers.

use std::iter::Peekable;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};

/// A part of a page that stands by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PageBlock {
    /// A heading, with its level.
    Heading(usize, Vec<PageText>),
    /// A paragraph.
    Paragraph(Vec<PageText>),
    /// What is typed, written to a file or shown, line by line.
    Code(String),
    /// A list, and whether its items are counted.
    List(bool, Vec<Vec<PageBlock>>),
    /// Rows of cells; the first is the head, whose cells may be empty.
    Table(Vec<Vec<Vec<PageText>>>),
}

/// A piece of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PageText {
    Plain(String),
    /// A word of the program's or of a file.
    Code(String),
    Emphasis(String),
    /// Where more is said of the words before.
    Reference(PageReference),
}

/// What a link leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PageReference {
    /// Another topic, by its name.
    Topic(String),
    /// A file of the project, or a URL.
    Elsewhere(String),
    /// Another part of this page.
    Here,
}

impl PageText {
    /// Its words, for a heading.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Emphasis(text) | Self::Code(text) => text,
            Self::Reference(_) => "",
        }
    }
}

/// Reads a page. HTML is left out: it is for those who test and show the file.
pub(super) fn read(markdown: &str) -> Vec<PageBlock> {
    let parser = Parser::new_ext(markdown, Options::ENABLE_TABLES);
    let mut reader = PageReader {
        events: parser.peekable(),
    };
    reader.blocks()
}

struct PageReader<'a> {
    events: Peekable<Parser<'a>>,
}

impl PageReader<'_> {
    /// All blocks until the one that they stand in ends.
    fn blocks(&mut self) -> Vec<PageBlock> {
        let mut blocks = Vec::new();
        loop {
            // The items of a list without empty lines have no paragraphs.
            let text = self.text();
            if !text.is_empty() {
                blocks.push(PageBlock::Paragraph(text));
            }
            match self.events.next() {
                None | Some(Event::End(_)) => return blocks,
                Some(Event::Start(Tag::Heading { level, .. })) => {
                    blocks.push(PageBlock::Heading(level as usize, self.whole_text()));
                }
                Some(Event::Start(Tag::Paragraph)) => {
                    blocks.push(PageBlock::Paragraph(self.whole_text()));
                }
                Some(Event::Start(Tag::CodeBlock(kind))) => {
                    let code = self.code();
                    blocks.push(PageBlock::Code(match &kind {
                        CodeBlockKind::Fenced(language) if &**language == "sh" => prompted(&code),
                        _ => code,
                    }));
                }
                Some(Event::Start(Tag::List(first))) => {
                    blocks.push(PageBlock::List(first.is_some(), self.parts(Self::blocks)));
                }
                Some(Event::Start(Tag::Table(_))) => {
                    let row = |reader: &mut Self| reader.parts(Self::whole_text);
                    blocks.push(PageBlock::Table(self.parts(row)));
                }
                Some(Event::Start(_)) => drop(self.code()),
                Some(_) => {}
            }
        }
    }

    /// The items of a list, the rows of a table or the cells of a row.
    fn parts<T>(&mut self, read: impl Fn(&mut Self) -> T) -> Vec<T> {
        let mut parts = Vec::new();
        while let Some(Event::Start(_)) = self.events.next() {
            parts.push(read(self));
        }
        parts
    }

    /// The lines of a block, as they are, and its end.
    fn code(&mut self) -> String {
        let mut code = String::new();
        loop {
            match self.events.next() {
                None | Some(Event::End(_)) => return code,
                Some(Event::Text(text)) => code.push_str(&text),
                Some(_) => {}
            }
        }
    }

    /// All text of a block, and its end.
    fn whole_text(&mut self) -> Vec<PageText> {
        let text = self.text();
        self.events.next();
        text
    }

    /// Text until something else begins or ends.
    fn text(&mut self) -> Vec<PageText> {
        let mut text = Vec::new();
        let mut link = None;
        let mut stressed = false;
        while let Some(event) = self.events.peek() {
            match event {
                Event::Text(words) if stressed => {
                    text.push(PageText::Emphasis(words.to_string()));
                }
                Event::Text(words) => plain(&mut text, words),
                Event::Code(words) => text.push(PageText::Code(words.to_string())),
                Event::SoftBreak | Event::HardBreak => plain(&mut text, " "),
                Event::Start(Tag::Emphasis | Tag::Strong) => stressed = true,
                Event::Start(Tag::Link { dest_url, .. }) => link = Some(reference(dest_url)),
                Event::End(end) => match end {
                    pulldown_cmark::TagEnd::Emphasis | pulldown_cmark::TagEnd::Strong => {
                        stressed = false;
                    }
                    pulldown_cmark::TagEnd::Link => {
                        let link = link.take().filter(|link| !says(&text, link));
                        text.extend(link.map(PageText::Reference));
                    }
                    _ => break,
                },
                Event::InlineHtml(_) => {}
                _ => break,
            }
            self.events.next();
        }
        text
    }
}

/// Whether the words say already where the link leads.
fn says(text: &[PageText], link: &PageReference) -> bool {
    match (text.last(), link) {
        (Some(last), PageReference::Elsewhere(place)) => last.words().ends_with(place.as_str()),
        _ => false,
    }
}

fn plain(text: &mut Vec<PageText>, words: &str) {
    match text.last_mut() {
        Some(PageText::Plain(before)) => before.push_str(words),
        _ => text.push(PageText::Plain(words.to_owned())),
    }
}

/// Commands as they look in a terminal, so that they are told from what they print.
fn prompted(commands: &str) -> String {
    let mut shown = String::new();
    let mut continued = false;
    for line in commands.lines() {
        let prompt = match line.is_empty() {
            true => "",
            false if continued => "  ",
            false => "$ ",
        };
        shown.extend([prompt, line, "\n"]);
        continued = line.ends_with('\\');
    }
    shown
}

fn reference(link: &str) -> PageReference {
    let file = link.split('#').next().unwrap_or_default();
    let topic = file.strip_suffix(".md").filter(|name| !name.contains('/'));
    match topic {
        _ if file.is_empty() => PageReference::Here,
        Some(name) => PageReference::Topic(name.to_owned()),
        None => PageReference::Elsewhere(link.trim_start_matches("../").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{PageBlock, PageReference, PageText, read};

    #[test]
    fn a_page_is_what_is_for_readers() {
        let page = "# One `a`\n<!-- hidden -->\n\nTo *be* [read](b.md#c), [too](../../conf/README.md), [b.md](../b.md).\nOn.\n\n\
            <!-- file: /x -->\n```sh\na \\\nc\n\nb\n```\n\n- one\n- two\n  more\n\n| a | |\n|---|---|\n| `x\\|y` | b |\n";
        let plain = |text: &str| PageText::Plain(text.to_owned());
        let code = |text: &str| PageText::Code(text.to_owned());
        let expected = vec![
            PageBlock::Heading(1, vec![plain("One "), code("a")]),
            PageBlock::Paragraph(vec![
                plain("To "),
                PageText::Emphasis("be".to_owned()),
                plain(" read"),
                PageText::Reference(PageReference::Topic("b".to_owned())),
                plain(", too"),
                PageText::Reference(PageReference::Elsewhere("conf/README.md".to_owned())),
                plain(", b.md. On."),
            ]),
            PageBlock::Code("$ a \\\n  c\n\n$ b\n".to_owned()),
            PageBlock::List(
                false,
                vec![
                    vec![PageBlock::Paragraph(vec![plain("one")])],
                    vec![PageBlock::Paragraph(vec![plain("two more")])],
                ],
            ),
            PageBlock::Table(vec![
                vec![vec![plain("a")], vec![]],
                vec![vec![code("x|y")], vec![plain("b")]],
            ]),
        ];
        assert_eq!(read(page), expected);
    }
}
