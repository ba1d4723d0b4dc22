//! The explanation as JSON, the verdict first. Values of variables are as `environ` has them: each byte is the character of its number (PEP
//! 3333, "Unicode Issues").

use super::report::{Report, Value};

pub(super) fn write(report: &Report<'_>) -> String {
    let (rule, why) = report.rule();
    let request = &report.request;
    let variables = report.variables.iter().map(|variable| {
        let (value, hidden) = match &variable.value {
            Value::Shown(value) => (native(value), false),
            Value::Hidden(text) => (string(text), true),
        };
        object(&[
            ("name", native(variable.name)),
            ("value", value),
            ("hidden", hidden.to_string()),
            ("note", maybe(variable.note.as_deref())),
        ])
    });
    let added = report
        .added
        .iter()
        .map(|(name, value)| object(&[("name", string(name)), ("value", native(value))]));
    let findings = report.findings.iter().map(|finding| {
        let kind = if finding.is_wrong() { "wrong" } else { "note" };
        object(&[
            ("kind", string(kind)),
            ("wrong", maybe(finding.wrong.as_deref())),
            ("text", string(&finding.text)),
            ("change", maybe(finding.change.as_deref())),
        ])
    });
    let hints = report.hints.iter().map(|hint| {
        object(&[
            ("text", string(&hint.text)),
            ("look", maybe(hint.look)),
            ("change", string(&hint.change)),
        ])
    });
    let said = |stripped| report.mount.filter(|mount| mount.is_stripped() == stripped);
    let mount = said(false).map(|mount| native(mount.prefix()));
    let script_name = said(true).map(|mount| native(mount.prefix()));
    let mut text = object(&[
        ("verdict", string(&report.verdict())),
        ("wrong", report.wrong().to_string()),
        ("findings", array(findings)),
        ("unseen", array(hints)),
        (
            "gateway",
            string(concat!("wsgi-gateway ", env!("CARGO_PKG_VERSION"))),
        ),
        ("protocol", string(report.protocol)),
        ("server", native(report.software)),
        ("setup", string(report.setup)),
        (
            "script_name_option",
            script_name.unwrap_or_else(|| "null".to_owned()),
        ),
        ("mount", mount.unwrap_or_else(|| "null".to_owned())),
        ("script_name", native(&request.script_name)),
        ("path_info", native(&request.path_info)),
        ("rule", string(rule)),
        ("why", string(why)),
        ("url", native(&report.url)),
        ("variables", array(variables)),
        ("left_out", report.left_out.to_string()),
        ("added", array(added)),
    ]);
    text.push('\n');
    text
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\": {value}"))
        .collect();
    format!("{{{}}}", members.join(", "))
}

fn array(elements: impl Iterator<Item = String>) -> String {
    let elements: Vec<String> = elements.collect();
    format!("[\n{}\n]", elements.join(",\n"))
}

fn maybe(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), string)
}

fn native(bytes: &[u8]) -> String {
    quoted(bytes.iter().map(|&byte| char::from(byte)))
}

fn string(text: &str) -> String {
    quoted(text.chars())
}

/// A string in ASCII (RFC 8259 section 7).
fn quoted(characters: impl Iterator<Item = char>) -> String {
    let mut out = String::from("\"");
    for character in characters {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::{native, string};

    #[test]
    fn strings_are_ascii() {
        assert_eq!(
            string("a\"\\\n\u{e9}\u{1f600}"),
            r#""a\"\\\u000a\u00e9\ud83d\ude00""#
        );
        assert_eq!(
            native(b"/caf\xe9\0</script>"),
            r#""/caf\u00e9\u0000</script>""#
        );
    }
}
