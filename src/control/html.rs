//! How it stands, as a page for people, which the browser asks for again by itself.

use std::fmt::{self, Write as _};

use super::history::{EVERY, History, KEPT, Point};
use super::status::{Status, WorkerStatus};
use super::text::{age, reload, size, workers};
use crate::gateway::html::{Escaped, begin_page, end_page};

/// Seconds after which the browser asks again.
const REFRESH: u32 = 5;

/// How large a plot is, in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 90.0;

/// The page.
pub(super) fn write(status: &Status, history: &History) -> String {
    let mut out = String::with_capacity(8 * 1024);
    begin_page(
        &mut out,
        &format!("{}: gateway", status.name),
        Some(REFRESH),
    );
    // Writing to a String does not fail.
    let _ = write_to(status, history, &mut out);
    end_page(&mut out);
    out
}

fn write_to(status: &Status, history: &History, out: &mut String) -> fmt::Result {
    let name = Escaped(&status.name);
    match status.problems.as_slice() {
        [] => writeln!(
            out,
            "<h1>{name}: <span class=\"good\">all is well</span></h1>"
        )?,
        problems => {
            writeln!(
                out,
                "<h1>{name}: <span class=\"bad\">not well</span></h1>\n<ul>"
            )?;
            for problem in problems {
                writeln!(out, "<li class=\"bad\">{}</li>", Escaped(problem))?;
            }
            out.push_str("</ul>\n");
        }
    }
    if let Some(failure) = &status.reloads.last_failure {
        writeln!(
            out,
            "<h2>Why the last reload failed</h2>\n<pre>{}</pre>",
            Escaped(failure)
        )?;
    }
    let line = |value: fn(&Point) -> Option<f64>| -> Vec<Option<f64>> {
        history.points().map(value).collect()
    };
    let minutes = EVERY.as_secs() * KEPT as u64 / 60;
    writeln!(out, "<h2>The last {minutes} minutes</h2>")?;
    let requests = line(|it| Some(it.requests));
    plot(out, "Requests in a second", "", &[requests])?;
    let waiting = line(|it| Some(it.waiting));
    plot(out, "Connections that wait", "", &[waiting])?;
    let what = "Time of requests: half of them (dashed), 95 % of them";
    plot(out, what, " ms", &[line(|it| it.p95), line(|it| it.median)])?;
    figures(status, out)?;
    out.push_str("<h2>Workers</h2>\n<div class=\"wide\"><table>\n<tr>");
    for head in [
        "No.",
        "Process",
        "Generation",
        "State",
        "Busy",
        "Requests",
        "95 %",
        "Memory",
        "Processor",
        "Up",
        "Now",
    ] {
        write!(out, "<th>{head}</th>")?;
    }
    out.push_str("</tr>\n");
    for worker in &status.worker_list {
        worker_row(worker, out)?;
    }
    write!(
        out,
        "</table></div>\n<p><small>wsgi-gateway {}. The same for programs: <code>?json</code>, and <code>/metrics</code>.</small></p>\n",
        Escaped(&status.version)
    )
}

fn figures(status: &Status, out: &mut String) -> fmt::Result {
    let time = |seconds: Option<f64>| {
        seconds.map_or_else(|| "-".to_owned(), |it| format!("{:.1} ms", it * 1e3))
    };
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        let counts = counts.iter().filter(|(_, count)| **count > 0);
        let words: Vec<String> = counts
            .map(|(name, count)| format!("{} {count}", name.replace('_', " ")))
            .collect();
        match words.is_empty() {
            true => "none".to_owned(),
            false => words.join(", "),
        }
    };
    let waiting = |it: &super::status::WaitingAt| {
        let known = it
            .connections
            .map_or_else(|| "not known".to_owned(), |count| count.to_string());
        let room = it.room.map_or(String::new(), |room| format!(" of {room}"));
        format!("{known}{room} at {}", it.address)
    };
    let waiting: Vec<String> = status.waiting.iter().map(waiting).collect();
    let duration = &status.duration;
    let rows = [
        ("Application", status.application.clone()),
        (
            "Gateway",
            format!("process {}, up {}", status.pid, age(status.uptime_seconds)),
        ),
        (
            "Code",
            status.generation.map_or_else(
                || "none serves yet".to_owned(),
                |generation| format!("generation {generation}"),
            ),
        ),
        ("Last reload", reload(status)),
        ("Workers", workers(status)),
        (
            "Threads",
            format!("{} of {} busy", status.threads_busy, status.threads),
        ),
        ("Waiting", waiting.join(", ")),
        (
            "Requests",
            format!(
                "{}; half took {}, 95 % {}, 99 % {} at the most",
                status.requests,
                time(duration.median_seconds),
                time(duration.p95_seconds),
                time(duration.p99_seconds)
            ),
        ),
        ("Answers", counts(&status.answers)),
        (
            "Failures of the application",
            counts(&status.application_errors),
        ),
        ("Refused", counts(&status.refused)),
        (
            "Left by the client, slow, timed out",
            format!(
                "{}, {}, {}",
                status.client_aborts, status.slow_requests, status.request_timeouts
            ),
        ),
        ("Workers that have ended", counts(&status.worker_exits)),
        (
            "Machine",
            format!(
                "{:.0} s of processor time, {} of memory",
                status.cpu_seconds,
                size(status.resident_bytes)
            ),
        ),
    ];
    out.push_str("<h2>Since the start</h2>\n<table class=\"pairs\">\n");
    for (name, value) in rows {
        writeln!(out, "<tr><th>{name}</th><td>{}</td></tr>", Escaped(&value))?;
    }
    out.push_str("</table>\n");
    Ok(())
}

fn worker_row(worker: &WorkerStatus, out: &mut String) -> fmt::Result {
    let dash = || "-".to_owned();
    let now = worker.now.first().map_or_else(String::new, |request| {
        format!("{:.2} s {}", request.seconds, request.request)
    });
    let p95 = worker.duration.p95_seconds;
    let cells = [
        worker.number.to_string(),
        worker.pid.map_or_else(dash, |pid| pid.to_string()),
        worker
            .generation
            .map_or_else(dash, |generation| generation.to_string()),
        worker.state.clone(),
        format!("{} of {}", worker.threads_busy, worker.threads),
        worker.requests.to_string(),
        p95.map_or_else(dash, |seconds| format!("{:.1} ms", seconds * 1e3)),
        size(worker.resident_bytes),
        format!("{:.1} s", worker.cpu_seconds),
        age(worker.uptime_seconds),
        now,
    ];
    out.push_str("<tr>");
    for cell in &cells {
        write!(out, "<td>{}</td>", Escaped(cell))?;
    }
    out.push_str("</tr>\n");
    Ok(())
}

/// A plot of lines, the second of which is dashed; what it is of, and the largest value, in words.
fn plot(out: &mut String, what: &str, unit: &str, lines: &[Vec<Option<f64>>]) -> fmt::Result {
    let most = lines
        .iter()
        .flatten()
        .flatten()
        .copied()
        .fold(0.0, f64::max);
    writeln!(
        out,
        "<p>{what} <small>(at the most {most:.1}{unit})</small></p>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{what}\"><path d=\"M0 {bottom}H{WIDTH}\" stroke=\"currentColor\" stroke-opacity=\".4\" fill=\"none\"/>",
        bottom = HEIGHT - 1.0
    )?;
    for (number, values) in lines.iter().enumerate() {
        let dash = if number == 0 {
            ""
        } else {
            " stroke-dasharray=\"4 4\""
        };
        write!(
            out,
            "<path fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.5\"{dash} d=\""
        )?;
        // The newest stands at the right.
        let missing = KEPT.saturating_sub(values.len());
        let mut is_drawn = false;
        for (place, value) in values.iter().enumerate() {
            let Some(value) = value else {
                is_drawn = false;
                continue;
            };
            let x = WIDTH * (missing + place) as f64 / (KEPT - 1) as f64;
            let y = (HEIGHT - 2.0) * (1.0 - value / most.max(f64::MIN_POSITIVE)) + 1.0;
            let step = if is_drawn { 'L' } else { 'M' };
            write!(out, "{step}{x:.1} {y:.1}")?;
            // One by itself would not be seen.
            if !is_drawn {
                write!(out, "h.1")?;
            }
            is_drawn = true;
        }
        out.push_str("\"/>");
    }
    out.push_str("</svg>\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::control::history::History;
    use crate::control::{RequestStatus, Status, WorkerStatus};
    use std::time::{Duration, Instant};

    #[test]
    fn a_page_shows_all_and_runs_nothing() {
        let mut status = Status {
            name: "<shop>".to_owned(),
            problems: vec!["no worker serves".to_owned()],
            worker_list: vec![WorkerStatus {
                now: vec![RequestStatus {
                    seconds: 1.0,
                    request: "GET /<script>".to_owned(),
                }],
                ..WorkerStatus::default()
            }],
            ..Status::default()
        };
        status.reloads.last_failure = Some("Traceback <x>".to_owned());
        let mut history = History::default();
        let now = Instant::now();
        for look in 0..5 {
            status.requests += 10 * look;
            let at = Duration::from_secs(5 * look);
            history.note(now + at, &status);
        }
        let page = write(&status, &history);
        for word in [
            "not well",
            "no worker serves",
            "GET /&lt;script&gt;",
            "Traceback &lt;x&gt;",
        ] {
            assert!(page.contains(word), "no '{word}' in {page}");
        }
        assert!(!page.contains("<script") && !page.contains("NaN") && !page.contains("inf"));
        assert_eq!(page.matches("<svg").count(), 3);
        // Nothing has waited, and no request has ended.
        assert!(page.contains("at the most 0.0 ms"), "{page}");
    }
}
