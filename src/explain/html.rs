//! The explanation as a page: one file, no scripts, nothing fetched from elsewhere.

use std::fmt::{self, Display, Write as _};

use super::redact::readable;
use super::report::{Report, Value, Variable};
use crate::gateway::Mount;

const STYLE: &str = "\
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
code, td.v { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884 }
th { font-weight: 600; white-space: nowrap } td.n { white-space: nowrap }
ul { padding: 0; list-style: none }
li { border-left: 4px solid #68a; padding: .1rem .8rem; margin: .8rem 0 } li.wrong { border-color: #c33 }
li code { display: block; white-space: pre-wrap; background: #8882; padding: .3rem .5rem; margin-top: .3rem }
small { opacity: .75; display: block }
";

pub(super) fn write(report: &Report<'_>) -> String {
    let mut out = String::with_capacity(8 * 1024);
    // Writing to a String does not fail.
    let _ = write_to(report, &mut out);
    out
}

fn write_to(report: &Report<'_>, out: &mut String) -> fmt::Result {
    let (rule, why) = report.rule();
    let request = &report.request;
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>wsgi-gateway explains</title>\n\
         <meta name=\"robots\" content=\"noindex\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>What the web server sent, and what becomes of it</h1>\n<table>\n"
    )?;
    let quoted = |bytes: &[u8]| format!("'{}'", readable(bytes));
    let mount = report
        .mount
        .map(|mount| format!("{}/", readable(mount.prefix())));
    let rows: [(&str, Option<String>); 8] = [
        ("Door", Some(report.door.to_owned())),
        ("Web server", Some(readable(report.software))),
        ("Set-up, by the looks of it", Some(report.setup.to_owned())),
        (report.mount.map_or("--mount", Mount::option), mount),
        ("SCRIPT_NAME", Some(quoted(&request.script_name))),
        ("PATH_INFO", Some(quoted(&request.path_info))),
        ("Rule", Some(format!("{rule}: {why}"))),
        (
            "The URL that the application can build",
            Some(readable(&report.url)),
        ),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            writeln!(
                out,
                "<tr><th>{name}</th><td class=\"v\">{}</td></tr>",
                Escaped(&value)
            )?;
        }
    }
    out.write_str("</table>\n<h2>Findings</h2>\n<ul>\n")?;
    for finding in &report.findings {
        let class = if finding.is_wrong { "wrong" } else { "note" };
        write!(out, "<li class=\"{class}\">{}", Escaped(&finding.text))?;
        if let Some(change) = &finding.change {
            write!(out, "<code>{}</code>", Escaped(change))?;
        }
        out.write_str("</li>\n")?;
    }
    if report.findings.is_empty() {
        out.write_str("<li>Nothing is wrong.</li>\n")?;
    }
    out.write_str("</ul>\n")?;
    if !report.hints.is_empty() {
        out.write_str("<h2>What this request cannot show</h2>\n<ul>\n")?;
        for hint in &report.hints {
            write!(out, "<li>{}", Escaped(&hint.text))?;
            if let Some(look) = hint.look {
                write!(out, " <a href=\"{look}\">Try it.</a>")?;
            }
            writeln!(out, "<code>{}</code></li>", Escaped(&hint.change))?;
        }
        out.write_str("</ul>\n")?;
    }
    out.write_str("<h2>Variables, in the order sent</h2>\n<table>\n")?;
    for variable in &report.variables {
        row(out, variable)?;
    }
    out.write_str("</table>\n")?;
    if report.left_out > 0 {
        let count = report.left_out;
        writeln!(
            out,
            "<small>Not shown, since they are this process's own: {count}.</small>"
        )?;
    }
    out.write_str("<h2>Variables that the application sees besides</h2>\n<table>\n")?;
    for (name, value) in &report.added {
        let value = readable(value);
        writeln!(
            out,
            "<tr><td class=\"n\"><code>{name}</code></td><td class=\"v\">{}</td></tr>",
            Escaped(&value)
        )?;
    }
    let version = env!("CARGO_PKG_VERSION");
    write!(
        out,
        "</table>\n<p><small>wsgi-gateway {version}. As JSON: <code>?format=json</code>. Cookies, passwords and tokens are hidden; \
         look all the same before you show this page to others.</small></p>\n</body>\n</html>\n"
    )
}

fn row(out: &mut String, variable: &Variable<'_>) -> fmt::Result {
    let value = match &variable.value {
        Value::Shown(value) => readable(value),
        Value::Hidden(text) => text.clone(),
    };
    write!(
        out,
        "<tr><td class=\"n\"><code>{}</code></td><td class=\"v\">{}",
        Escaped(&readable(variable.name)),
        Escaped(&value)
    )?;
    if let Some(note) = &variable.note {
        write!(out, "<small>{}</small>", Escaped(note))?;
    }
    out.write_str("</td></tr>\n")
}

/// Text that is text wherever it stands in a page.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn nothing_of_a_value_is_markup() {
        let escaped = Escaped("<script>\"'&").to_string();
        assert_eq!(escaped, "&lt;script&gt;&quot;&#39;&amp;");
    }
}
