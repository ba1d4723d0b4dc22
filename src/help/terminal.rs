//! A page as a terminal shows it: plain text of 80 columns.

use super::page::{PageBlock, PageReference, PageText};

/// The columns of a page.
const WIDTH: usize = 80;
/// The widest first column of a table of two whose second stands beside it.
const NARROW: usize = 30;

/// The longest of what is typed that is not broken over lines, and what its spaces are until then.
const WHOLE: usize = 40;
const KEPT_SPACE: &str = "\u{1}";

/// The page as text.
pub(super) fn text(page: &[PageBlock]) -> String {
    let mut out = String::new();
    write(page, 0, &mut out);
    out
}

/// Writes blocks with an empty line between, so far to the right.
fn write(page: &[PageBlock], indent: usize, out: &mut String) {
    for (place, block) in page.iter().enumerate() {
        if place > 0 {
            out.push('\n');
        }
        match block {
            PageBlock::Heading(level, text) => {
                let text = flat(text);
                let line = if *level == 1 { "=" } else { "-" };
                let line = line.repeat(text.len());
                lines(out, indent, "", &text);
                lines(out, indent, "", &line);
            }
            PageBlock::Paragraph(text) => lines(out, indent, "", &flat(text)),
            PageBlock::Code(code) => {
                for line in code.lines() {
                    let indent = if line.is_empty() { 0 } else { indent + 4 };
                    out.push_str(&format!("{:indent$}{line}\n", ""));
                }
            }
            PageBlock::List(counted, items) => list(*counted, items, indent, out),
            PageBlock::Table(rows) => table(rows, indent, out),
        }
    }
}

fn list(counted: bool, items: &[Vec<PageBlock>], indent: usize, out: &mut String) {
    for (place, item) in items.iter().enumerate() {
        let mark = match counted {
            true => format!("{}. ", place + 1),
            false => "- ".to_owned(),
        };
        let rest = match item.split_first() {
            Some((PageBlock::Paragraph(text), rest)) => {
                lines(out, indent, &mark, &flat(text));
                rest
            }
            _ => item,
        };
        write(rest, indent + mark.len(), out);
    }
}

/// Two columns side by side; else what a row is about, and below it what is said of that.
fn table(rows: &[Vec<Vec<PageText>>], indent: usize, out: &mut String) {
    let Some((head, rows)) = rows.split_first() else {
        return;
    };
    let head: Vec<String> = head.iter().map(|cell| flat(cell)).collect();
    let rows = rows
        .iter()
        .map(|row| row.iter().map(|cell| flat(cell)).collect());
    let rows: Vec<Vec<String>> = rows.collect();
    let first = |row: &Vec<String>| row.first().map_or(0, String::len);
    let widest = rows.iter().chain([&head]).map(first).max().unwrap_or(0);
    let is_narrow = head.len() == 2 && widest <= NARROW;
    if is_narrow {
        let shown = head.iter().any(|cell| !cell.is_empty());
        let ruled = vec!["-".repeat(first(&head)), "-".repeat(head[1].len())];
        let heads = [&head, &ruled].into_iter().filter(|_| shown);
        for row in heads.chain(&rows) {
            let mark = format!("{:widest$}  ", row[0]).replace(KEPT_SPACE, " ");
            lines(out, indent, &mark, &row[1]);
        }
        return;
    }
    for (place, row) in rows.iter().enumerate() {
        if place > 0 {
            out.push('\n');
        }
        lines(out, indent, "", &row[0]);
        for (name, cell) in head
            .iter()
            .zip(row)
            .skip(1)
            .filter(|(_, cell)| !cell.is_empty())
        {
            let is_last = row.last() == Some(cell);
            let named = match is_last || name.is_empty() {
                true => cell.clone(),
                false => format!("{name}: {cell}"),
            };
            lines(out, indent + 4, "", &named);
        }
    }
}

/// Writes text in lines of the page's width, the first with a mark, the others as far to the right as it is wide.
fn lines(out: &mut String, indent: usize, mark: &str, text: &str) {
    let mut line = format!("{:indent$}{mark}", "");
    let begin = line.len();
    for word in text.split_whitespace() {
        let is_first = line.len() == begin;
        if !is_first && line.len() + 1 + word.len() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(begin);
        } else if !is_first {
            line.push(' ');
        }
        line.push_str(&word.replace(KEPT_SPACE, " "));
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Text without its marks, but for those of what is typed.
fn flat(text: &[PageText]) -> String {
    let mut flat = String::new();
    for piece in text {
        match piece {
            PageText::Plain(text) | PageText::Emphasis(text) => flat.push_str(text),
            PageText::Code(code) if code.len() <= WHOLE => {
                flat.push_str(&format!("`{}`", code.replace(' ', KEPT_SPACE)));
            }
            PageText::Code(code) => flat.push_str(&format!("`{code}`")),
            PageText::Reference(PageReference::Topic(name)) => {
                let command = ["(wsgi-gateway", "help", name].join(KEPT_SPACE);
                flat.push_str(&format!(" {command})"));
            }
            PageText::Reference(PageReference::Elsewhere(place)) => {
                flat.push_str(&format!(" ({place})"));
            }
            PageText::Reference(PageReference::Here) => {}
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::super::page::read;
    use super::text;

    #[test]
    fn a_page_is_plain_text() {
        let page = "# Title\n\nSee [prefixes](prefixes.md) and `a b`.\n\n## Part\n\n```sh\nx\n\ny\n```\n\n1. one\n2. two\n\n\
            | | |\n|---|---|\n| `a` | b |\n| `ccc` | d |\n\n| option | default | |\n|---|---|---|\n| `-x` | 1 | means |\n| `-y` | | is |\n";
        let expected = "Title\n=====\n\nSee prefixes (wsgi-gateway help prefixes) and `a b`.\n\nPart\n----\n\n    $ x\n\n    $ y\n\n\
            1. one\n2. two\n\n`a`    b\n`ccc`  d\n\n`-x`\n    default: 1\n    means\n\n`-y`\n    is\n";
        assert_eq!(text(&read(page)), expected);
        let long = text(&read(&"word ".repeat(40)));
        assert!(long.lines().count() == 3 && long.lines().all(|line| line.len() <= 80));
        let whole = format!("{}`a bc`", "word ".repeat(15));
        assert!(text(&read(&whole)).ends_with("word\n`a bc`\n"));
    }
}
