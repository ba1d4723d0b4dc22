//! How it stands, in lines for people.

use std::fmt::{self, Write as _};

use super::status::{Status, WorkerStatus};

/// The whole, with a line a worker where that is asked.
pub(super) fn write(status: &Status, full: bool) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_to(status, full, &mut out);
    out
}

fn write_to(status: &Status, full: bool, out: &mut String) -> fmt::Result {
    match status.problems.as_slice() {
        [] => writeln!(out, "well: {} {}", status.name, status.state)?,
        problems => {
            for problem in problems {
                writeln!(out, "not well: {problem}")?;
            }
        }
    }
    let generation = status.generation.map_or_else(
        || "none yet".to_owned(),
        |generation| generation.to_string(),
    );
    let mut row = |name: &str, value: String| writeln!(out, "{name:<12} {value}");
    row(
        "gateway",
        format!(
            "{} (pid {}, wsgi-gateway {}), up {}",
            status.name,
            status.pid,
            status.version,
            age(status.uptime_seconds)
        ),
    )?;
    row("application", status.application.clone())?;
    row("generation", generation)?;
    if let Some(candidate) = status.candidate {
        row("starting", format!("generation {candidate}"))?;
    }
    row("reload", reload(status))?;
    row("workers", workers(status))?;
    row(
        "threads",
        format!("{} of {} busy", status.threads_busy, status.threads),
    )?;
    for waiting in &status.waiting {
        let connections = waiting.connections.map_or_else(
            || "not known".to_owned(),
            |connections| connections.to_string(),
        );
        let room = waiting
            .room
            .map_or(String::new(), |room| format!(" (room for {room})"));
        row(
            "waiting",
            format!("{connections} at {}{room}", waiting.address),
        )?;
    }
    row("requests", status.requests.to_string())?;
    if let Some(oldest) = status.oldest_request_seconds {
        row("oldest", format!("{oldest:.3} s"))?;
    }
    row(
        "machine",
        format!(
            "cpu {} s, memory {}",
            status.cpu_seconds.round(),
            size(status.resident_bytes)
        ),
    )?;
    if !status.worker_exits.is_empty() {
        let ended = status.worker_exits.iter();
        let ended: Vec<String> = ended
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        row("ended", ended.join(", "))?;
    }
    if status.settings_stale {
        row(
            "settings",
            "changed since the start: restart the gateway to have them".to_owned(),
        )?;
    }
    if full {
        out.push('\n');
        out.push_str(&workers_table(status));
    }
    Ok(())
}

/// How many workers there are of each kind.
pub(super) fn workers(status: &Status) -> String {
    let counts = status.workers;
    format!(
        "{} idle, {} busy, {} starting, {} draining; at least {}, at most {}",
        counts.idle, counts.busy, counts.starting, counts.draining, counts.min, counts.max
    )
}

/// What came of the last reload.
pub(super) fn reload(status: &Status) -> String {
    let reloads = &status.reloads;
    let Some(ago) = reloads.last_seconds_ago else {
        return "none so far".to_owned();
    };
    let result = match &reloads.last_failure {
        Some(failure) => format!("failed: {}", last_line(failure)),
        None => "ok".to_owned(),
    };
    let before = reloads.failure_before.as_deref();
    let before = before.map_or(String::new(), |failure| {
        format!("; one before failed: {}", last_line(failure))
    });
    format!(
        "{result}, {} ago{before} ({} done, {} failed)",
        age(ago),
        reloads.succeeded,
        reloads.failed
    )
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

/// The workers, a line each.
fn workers_table(status: &Status) -> String {
    let head = [
        "W", "PID", "GEN", "STATE", "BUSY", "REQS", "RSS", "CPU", "UP", "NOW",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(status.worker_list.iter().map(row));
    table(&rows, &[0, 1, 2, 4, 5, 6, 7, 8])
}

fn row(worker: &WorkerStatus) -> [String; 10] {
    let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let now = worker.now.first().map_or_else(String::new, |request| {
        format!("{:.2}s {}", request.seconds, request.request)
    });
    let why = worker
        .reason
        .as_deref()
        .filter(|_| worker.state == "draining");
    let why = why.map_or(String::new(), |why| format!(" ({why})"));
    [
        worker.number.to_string(),
        number(worker.pid.map(|pid| pid.to_string())),
        number(worker.generation.map(|generation| generation.to_string())),
        worker.state.clone(),
        format!("{}/{}", worker.threads_busy, worker.threads),
        worker.requests.to_string(),
        size(worker.resident_bytes),
        format!("{:.1}s", worker.cpu_seconds),
        age(worker.uptime_seconds),
        now + &why,
    ]
}

/// Rows under each other, the cells of these columns to the right.
pub fn table<const N: usize>(rows: &[[String; N]], right: &[usize]) -> String {
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            let width = widths.max().unwrap_or(0);
            match right.contains(&column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Bytes in a word.
pub(super) fn size(bytes: u64) -> String {
    format!("{}M", bytes.div_ceil(1 << 20))
}

/// A time in its two largest units.
pub fn age(seconds: f64) -> String {
    // Whole seconds, and no more than that.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let seconds = seconds.clamp(0.0, 1e12) as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn an_age_is_two_units() {
        for (seconds, expected) in [
            (0.9, "0s"),
            (61.0, "1m01s"),
            (7200.0, "2h00m"),
            (90_000.0, "1d01h"),
            (-1.0, "0s"),
        ] {
            assert_eq!(age(seconds), expected);
        }
    }
}
