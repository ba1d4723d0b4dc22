//! What `scripts/bench` makes of what it has measured: the measuring itself takes minutes, and is done by hand.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Two servers that can and one that cannot; the second has the lower cost, the first the lower median of its three rounds.
const RESULTS: &str = r#"{"date": "2026-11-30", "command": "scripts/bench", "rounds": 3, "seconds": 2, "machine": "2 cores <test>",
 "versions": {"wsgi-gateway": "0.1.0"}, "rate": 70,
 "nginx": {"hello": {
   "wsgi-gateway": [
     {"per_second": 50000.0, "back_end": 9.0, "front": 12.0, "p50": 200.0, "p99": 900.0, "memory": 13000000},
     {"per_second": 70000.0, "back_end": 8.0, "front": 11.0, "p50": 210.0, "p99": 950.0, "memory": 13000000},
     {"per_second": 60000.0, "back_end": 8.5, "front": 11.5, "p50": 220.0, "p99": 1500.0, "memory": 13000000}],
   "granian": [
     {"per_second": 30000.0, "back_end": 20.0, "front": 20.0, "p50": 400.0, "p99": 2000.0, "memory": 36000000},
     {"per_second": 30000.0, "back_end": 20.0, "front": 20.0, "p50": 400.0, "p99": 2000.0, "memory": 36000000},
     {"per_second": 30000.0, "back_end": 20.0, "front": 20.0, "p50": 400.0, "p99": 2000.0, "memory": 36000000}],
   "flup": ["answers 502", "answers 502", "answers 502"]}},
 "apache": {}, "cgi": {"page": {"CGIHandler": [150.0, 160.0, 155.0], "one-shot": [140.0, 141.0, 139.0], "persistent": [2.5, 2.6, 2.4]}}}"#;

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

/// What is said of `results.json` in this folder, and drawn there as `chart.svg`.
#[track_caller]
fn shown(folder: &Path, options: &[&str]) -> String {
    let output = Command::new("/usr/bin/python3")
        .arg(Path::new(SOURCES).join("scripts/benchmark"))
        .args(["--from", "results.json", "--svg", "chart.svg"])
        .args(options)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn results_are_shown_as_medians_with_the_ratio_and_failures_by_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("results.json"), RESULTS).unwrap();
    let text = shown(folder.path(), &[]);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let ours = "wsgi-gateway 60,000 20.0 19.0-21.0 8.5 11.5 1.00 210 us 950 us 13 MB";
    let theirs = "granian 30,000 40.0 40.0-40.0 20.0 20.0 2.00 400 us 2.0 ms 36 MB";
    for row in [
        ours,
        theirs,
        "flup fails: answers 502",
        "wsgi-gateway --persistent 2.5",
    ] {
        let row: Vec<&str> = row.split(' ').collect();
        assert!(rows.contains(&row), "{row:?} in {text}");
    }
    let chart = fs::read_to_string(folder.path().join("chart.svg")).unwrap();
    for words in [
        "0.50   20.0 us",
        "1.00   40.0 us",
        ">fails<",
        "2 cores &lt;test&gt;",
        "2.5 ms   1/62",
    ] {
        assert!(chart.contains(words), "{words:?} in {chart}");
    }
    let parsed = Command::new("/usr/bin/python3")
        .args([
            "-c",
            "import sys, xml.dom.minidom as xml; xml.parse(sys.argv[1])",
        ])
        .arg(folder.path().join("chart.svg"))
        .status()
        .unwrap();
    assert!(parsed.success());
}

#[test]
fn the_figures_of_readme_are_those_of_the_last_measurement() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Path::new(SOURCES).join("scripts/benchmark");
    let results = folder.path().join("results.json");
    fs::copy(kept.join("results.json"), results).unwrap();
    let tables = shown(folder.path(), &["--markdown"]);
    let readme = fs::read_to_string(Path::new(SOURCES).join("README.md")).unwrap();
    for row in tables.lines() {
        assert!(readme.lines().any(|line| line == row), "{row}");
    }
    let drawn = fs::read_to_string(folder.path().join("chart.svg")).unwrap();
    let chart = fs::read_to_string(kept.join("chart.svg")).unwrap();
    assert!(
        drawn == chart,
        "scripts/bench --from scripts/benchmark/results.json --svg scripts/benchmark/chart.svg draws it anew"
    );
}
