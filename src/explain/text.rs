//! The explanation as plain text, for a terminal: the verdict, what to change, and then what it was found from.

use std::fmt::Write as _;

use super::redact::readable;
use super::report::{Report, Value, place};

pub(super) fn write(report: &Report<'_>) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_to(report, &mut out);
    out
}

fn write_to(report: &Report<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{}\n", report.verdict())?;
    for finding in &report.findings {
        let word = if finding.is_wrong() {
            "WRONG"
        } else {
            "To know"
        };
        writeln!(out, "- {word}: {}", finding.text)?;
        if let Some(line) = &finding.change {
            writeln!(out, "    {}:\n    {line}", place(line))?;
        }
    }
    if !report.findings.is_empty() {
        writeln!(out)?;
    }
    if !report.hints.is_empty() {
        writeln!(out, "WHAT THIS REQUEST CANNOT SHOW")?;
        for hint in &report.hints {
            writeln!(out, "- {}", hint.text)?;
            writeln!(out, "    {}:\n    {}", place(&hint.change), hint.change)?;
        }
        writeln!(out)?;
    }
    writeln!(out, "WHAT THE APPLICATION WOULD GET")?;
    for (name, value) in report.result() {
        writeln!(out, "{name:12} {value}")?;
    }
    writeln!(out, "\nWHERE THE REQUEST COMES FROM")?;
    for (name, value) in report.origin() {
        writeln!(out, "{name:12} {value}")?;
    }
    writeln!(out, "\nWHAT THE WEB SERVER SENT, IN ORDER")?;
    for variable in &report.variables {
        let value = match &variable.value {
            Value::Shown(value) => readable(value),
            Value::Hidden(text) => text.clone(),
        };
        write!(out, "{}={value}", readable(variable.name))?;
        match &variable.note {
            Some(note) => writeln!(out, "    [{note}]")?,
            None => writeln!(out)?,
        }
    }
    if report.left_out > 0 {
        writeln!(
            out,
            "(not shown, since they are this process's own: {})",
            report.left_out
        )?;
    }
    writeln!(out, "\nWHAT THE APPLICATION GETS BESIDES")?;
    for (name, value) in &report.added {
        writeln!(out, "{name}={}", readable(value))?;
    }
    let version = env!("CARGO_PKG_VERSION");
    writeln!(
        out,
        "\nwsgi-gateway {version} explains this request in the application's place."
    )
}
