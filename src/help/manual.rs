//! A page as a manual has it: roff, with the macros of man(7).

use roff::{Inline, Roff, bold, italic, roman};

use super::page::{PageBlock, PageReference, PageText};

/// The manual page of this name in section 7, with its title, the program's version, and the day.
pub(super) fn roff([name, title, version, day]: [&str; 4], page: &[PageBlock]) -> String {
    let mut out = Roff::new();
    let source = format!("wsgi-gateway {version}");
    out.control(
        "TH",
        [
            name.to_uppercase().as_str(),
            "7",
            day,
            source.as_str(),
            "wsgi-gateway",
        ],
    );
    out.control("SH", ["NAME"]);
    out.text([roman(format!("{name} - {title}"))]);
    if !matches!(page.first(), Some(PageBlock::Heading(..))) {
        out.control("SH", ["DESCRIPTION"]);
    }
    // Behind a heading no paragraph is begun anew.
    write(page, true, &mut out);
    out.control("SH", ["SEE ALSO"]);
    let mut others = vec![bold("wsgi-gateway"), roman("(1)")];
    for other in references(page) {
        others.extend([
            roman(", "),
            bold(format!("wsgi-gateway-{other}")),
            roman("(7)"),
        ]);
    }
    out.text(others);
    // The way to write a backslash that is to be seen, in every mode.
    out.render().replace(r"\\", r"\(rs")
}

fn write(page: &[PageBlock], after_heading: bool, out: &mut Roff) {
    let mut begins = after_heading;
    for block in page {
        match block {
            PageBlock::Heading(level, text) => {
                let macro_name = if *level <= 2 { "SH" } else { "SS" };
                let heading: String = text.iter().map(PageText::words).collect();
                out.control(macro_name, [heading.as_str()]);
            }
            PageBlock::Paragraph(text) => {
                if !begins {
                    out.control("PP", []);
                }
                out.text(inlines(text));
            }
            PageBlock::Code(code) => {
                if !begins {
                    out.control("PP", []);
                }
                out.control("RS", ["4"]).control("EX", []);
                for line in code.lines() {
                    out.text([roman(line)]);
                }
                out.control("EE", []).control("RE", []);
            }
            PageBlock::List(counted, items) => list(*counted, items, out),
            PageBlock::Table(rows) => table(rows, out),
        }
        begins = matches!(block, PageBlock::Heading(..));
    }
}

fn list(counted: bool, items: &[Vec<PageBlock>], out: &mut Roff) {
    for (place, item) in items.iter().enumerate() {
        let (mark, width) = match counted {
            true => (format!("{}.", place + 1), "4"),
            false => (r"\(bu".to_owned(), "2"),
        };
        out.control("IP", [mark.as_str(), width]);
        let rest = match item.split_first() {
            Some((PageBlock::Paragraph(text), rest)) => {
                out.text(inlines(text));
                rest
            }
            _ => item,
        };
        if !rest.is_empty() {
            out.control("RS", [width]);
            write(rest, true, out);
            out.control("RE", []);
        }
    }
}

/// What a row is about, and below it what is said of that.
fn table(rows: &[Vec<Vec<PageText>>], out: &mut Roff) {
    let Some((head, rows)) = rows.split_first() else {
        return;
    };
    for row in rows {
        let Some((term, cells)) = row.split_first() else {
            continue;
        };
        out.control("TP", []).text(inlines(term));
        let told = head.iter().skip(1).zip(cells);
        let told: Vec<_> = told.filter(|(_, cell)| !cell.is_empty()).collect();
        for (place, (name, cell)) in told.iter().enumerate() {
            if place > 0 {
                out.control("br", []);
            }
            let is_last = cells.last() == Some(*cell);
            let mut text = match is_last || name.is_empty() {
                true => Vec::new(),
                false => {
                    let mut name = inlines(name);
                    name.push(roman(": "));
                    name
                }
            };
            text.extend(inlines(cell));
            out.text(text);
        }
    }
}

fn inlines(text: &[PageText]) -> Vec<Inline> {
    let mut inlines = Vec::new();
    for piece in text {
        match piece {
            PageText::Plain(text) => inlines.push(roman(text)),
            PageText::Emphasis(text) => inlines.push(italic(text)),
            PageText::Code(code) => inlines.push(bold(code)),
            PageText::Reference(PageReference::Topic(name)) => {
                inlines.extend([
                    roman(" ("),
                    bold(format!("wsgi-gateway-{name}")),
                    roman("(7))"),
                ]);
            }
            PageText::Reference(PageReference::Elsewhere(place)) => {
                inlines.push(roman(format!(" ({place})")));
            }
            PageText::Reference(PageReference::Here) => {}
        }
    }
    inlines
}

/// The topics that a page leads to, each once.
fn references(page: &[PageBlock]) -> Vec<&str> {
    let mut found = Vec::new();
    collect(page, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

fn collect<'a>(page: &'a [PageBlock], found: &mut Vec<&'a str>) {
    let topic = |piece: &'a PageText| match piece {
        PageText::Reference(PageReference::Topic(name)) => Some(name.as_str()),
        _ => None,
    };
    for block in page {
        match block {
            PageBlock::Paragraph(text) | PageBlock::Heading(_, text) => {
                found.extend(text.iter().filter_map(topic));
            }
            PageBlock::Table(rows) => {
                let cells = rows.iter().flatten().flatten();
                found.extend(cells.filter_map(topic));
            }
            PageBlock::List(_, items) => items.iter().for_each(|item| collect(item, found)),
            PageBlock::Code(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::read;
    use super::roff;

    #[test]
    fn a_page_is_one_of_the_manual() {
        let page = "Text of `--mount`, see [that](b.md).\n\n## Part\n\n.dot\n\n```sh\na \\n\n'b\n```\n\n- one\n\n\
            | option | default | |\n|---|---|---|\n| `-x` | 1 | means |\n";
        let expected = [
            ".TH WSGI-GATEWAY-A 7 2026-11-30 \"wsgi-gateway 1.2.3\" wsgi-gateway",
            ".SH NAME",
            "wsgi\\-gateway\\-a \\- Title",
            ".SH DESCRIPTION",
            "Text of \\fB\\-\\-mount\\fR, see that (\\fBwsgi\\-gateway\\-b\\fR(7)).",
            ".SH Part",
            "\\&.dot",
            ".PP",
            ".RS 4",
            ".EX",
            "$ a \\(rsn",
            "$ \\*(Aqb",
            ".EE",
            ".RE",
            ".IP \\(bu 2",
            "one",
            ".TP",
            "\\fB\\-x\\fR",
            "default: 1",
            ".br",
            "means",
            ".SH \"SEE ALSO\"",
            "\\fBwsgi\\-gateway\\fR(1), \\fBwsgi\\-gateway\\-b\\fR(7)",
        ];
        let found = roff(
            ["wsgi-gateway-a", "Title", "1.2.3", "2026-11-30"],
            &read(page),
        );
        let found: Vec<&str> = found
            .lines()
            .skip_while(|line| !line.starts_with(".TH"))
            .collect();
        assert_eq!(found, expected);
    }
}
