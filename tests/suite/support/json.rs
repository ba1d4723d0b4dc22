//! JSON as Python reads it, which is what operators' scripts do.

use std::io::Write;
use std::process::{Command, Stdio};

use super::gateway::venv;

/// Members of the JSON form as Python's own reader understands it.
pub(crate) fn members(json: &str, expression: &str) -> String {
    let program = format!("import json, sys; d = json.load(sys.stdin); print({expression})");
    let mut child = Command::new(venv().join("bin/python3"))
        .args(["-I", "-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(json.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{expression} of\n{json}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}
