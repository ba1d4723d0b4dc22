//! The explanation as a page: the verdict, what to change, and then what it was found from.

use std::fmt::{self, Write as _};

use super::redact::readable;
use super::report::{Report, Value, place};
use crate::gateway::html::{Escaped, begin_page, end_page};

pub(super) fn write(report: &Report<'_>) -> String {
    let mut out = String::with_capacity(8 * 1024);
    // Writing to a String does not fail.
    let _ = write_to(report, &mut out);
    out
}

fn write_to(report: &Report<'_>, out: &mut String) -> fmt::Result {
    begin_page(out, "wsgi-gateway explains this request", None);
    let class = if report.wrong() == 0 { "good" } else { "bad" };
    writeln!(
        out,
        "<h1 class=\"{class}\">{}</h1>\n<p>wsgi-gateway answers here in the application's place, and tells what the web server has sent \
         with this request.</p>",
        Escaped(&report.verdict())
    )?;
    findings(report, out)?;
    out.write_str("<h2>What the application would get</h2>\n<table class=\"pairs\">\n")?;
    for (name, value) in report.result() {
        row(out, name, &value, None)?;
    }
    out.write_str("</table>\n<h2>Where the request comes from</h2>\n<table class=\"pairs\">\n")?;
    for (name, value) in report.origin() {
        row(out, name, &value, None)?;
    }
    out.write_str(
        "</table>\n<h2>What the web server sent, in order</h2>\n<table class=\"pairs\">\n",
    )?;
    for variable in &report.variables {
        let value = match &variable.value {
            Value::Shown(value) => readable(value),
            Value::Hidden(text) => text.clone(),
        };
        let name = readable(variable.name);
        row(out, &name, &value, variable.note.as_deref())?;
    }
    out.write_str("</table>\n")?;
    if report.left_out > 0 {
        let count = report.left_out;
        writeln!(
            out,
            "<p class=\"quiet\">Not shown, since they are this process's own: {count}.</p>"
        )?;
    }
    out.write_str("<h2>What the application gets besides</h2>\n<table class=\"pairs\">\n")?;
    for (name, value) in &report.added {
        row(out, name, &readable(value), None)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    writeln!(
        out,
        "</table>\n<p class=\"quiet\">wsgi-gateway {version}. For programs: <a href=\"?format=json\">JSON</a>, \
         <a href=\"?format=text\">text</a>. Cookies, passwords and tokens are hidden; look all the same before you show this page to \
         others.</p>"
    )?;
    end_page(out);
    Ok(())
}

/// What is wrong, what to know, and what may be wrong although it does not show.
fn findings(report: &Report<'_>, out: &mut String) -> fmt::Result {
    if !report.findings.is_empty() {
        out.write_str("<ul>\n")?;
    }
    for finding in &report.findings {
        let (class, word) = match finding.is_wrong() {
            true => ("bad", "Wrong:"),
            false => ("note", "To know:"),
        };
        write!(
            out,
            "<li class=\"{class}\"><b>{word}</b> {}",
            Escaped(&finding.text)
        )?;
        if let Some(line) = &finding.change {
            change(out, line)?;
        }
        out.write_str("</li>\n")?;
    }
    if !report.findings.is_empty() {
        out.write_str("</ul>\n")?;
    }
    if report.hints.is_empty() {
        return Ok(());
    }
    out.write_str("<h2>What this request cannot show</h2>\n<ul>\n")?;
    for hint in &report.hints {
        write!(out, "<li>{}", Escaped(&hint.text))?;
        if let Some(look) = hint.look {
            write!(out, " <a href=\"{look}\">Try it.</a>")?;
        }
        change(out, &hint.change)?;
        out.write_str("</li>\n")?;
    }
    out.write_str("</ul>\n")
}

fn change(out: &mut String, line: &str) -> fmt::Result {
    let (place, line) = (place(line), Escaped(line));
    write!(
        out,
        "<p class=\"quiet\">{place}:</p><pre><code>{line}</code></pre>"
    )
}

fn row(out: &mut String, name: &str, value: &str, note: Option<&str>) -> fmt::Result {
    let (name, value) = (Escaped(name), Escaped(value));
    write!(out, "<tr><th>{name}</th><td><code>{value}</code>")?;
    if let Some(note) = note {
        write!(out, "<small>{}</small>", Escaped(note))?;
    }
    out.write_str("</td></tr>\n")
}
