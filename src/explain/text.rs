//! The explanation as plain text, for a terminal.

use std::fmt::Write as _;

use super::redact::readable;
use super::report::{Report, Value};

pub(super) fn write(report: &Report<'_>) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_to(report, &mut out);
    out
}

fn write_to(report: &Report<'_>, out: &mut String) -> std::fmt::Result {
    let (rule, why) = report.rule();
    let request = &report.request;
    writeln!(
        out,
        "wsgi-gateway {} explains this request\n",
        env!("CARGO_PKG_VERSION")
    )?;
    writeln!(out, "door         {}", report.door)?;
    writeln!(out, "web server   {}", readable(report.software))?;
    writeln!(out, "set-up       {}", report.setup)?;
    if let Some(mount) = report.mount {
        writeln!(out, "{:12} {}/", mount.option(), readable(mount.prefix()))?;
    }
    writeln!(out, "SCRIPT_NAME  '{}'", readable(&request.script_name))?;
    writeln!(out, "PATH_INFO    '{}'", readable(&request.path_info))?;
    writeln!(out, "rule         {rule}: {why}")?;
    writeln!(out, "URL          {}\n", readable(&report.url))?;
    writeln!(out, "FINDINGS")?;
    for finding in &report.findings {
        let kind = if finding.is_wrong { "WRONG" } else { "note" };
        writeln!(out, "- {kind}: {}", finding.text)?;
        if let Some(change) = &finding.change {
            writeln!(out, "    {change}")?;
        }
    }
    if report.findings.is_empty() {
        writeln!(out, "none")?;
    }
    if !report.hints.is_empty() {
        writeln!(out, "\nWHAT THIS REQUEST CANNOT SHOW")?;
    }
    for hint in &report.hints {
        writeln!(out, "- {}", hint.text)?;
        writeln!(out, "    {}", hint.change)?;
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
    writeln!(out, "\nWHAT THE APPLICATION SEES BESIDES")?;
    for (name, value) in &report.added {
        writeln!(out, "{name}={}", readable(value))?;
    }
    Ok(())
}
