//! Whether a virtual environment and its interpreter fit together: CPython takes one of another version in silence, and it only
//! shows as confusing import errors.

use std::path::Path;

/// What does not fit in this environment, whose interpreter is of this version, in one sentence.
pub(super) fn mismatch(venv: &Path, (major, minor): (u8, u8)) -> Option<String> {
    let config = std::fs::read_to_string(venv.join("pyvenv.cfg")).ok()?;
    let (told_major, told_minor) = version(&config)?;
    ((told_major, told_minor) != (major, minor)).then(|| {
        format!(
            "the virtual environment {} is of Python {told_major}.{told_minor}, and its interpreter is Python {major}.{minor} now: \
             make the environment again with 'python3 -m venv', or name another with --venv",
            venv.display()
        )
    })
}

/// The version that a pyvenv.cfg tells: `version = 3.11.2` (venv) or `version_info = 3.11.2.final.0` (virtualenv, uv).
fn version(config: &str) -> Option<(u8, u8)> {
    config.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        if !matches!(key.trim(), "version" | "version_info") {
            return None;
        }
        let mut parts = value.trim().split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    })
}
