//! The lines of the screen.

use std::cmp::Reverse;

use super::samples::{Change, Samples};
use crate::control::{Status, WorkerStatus, age};

/// How it is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) sort: Sort,
    /// Whether what stands behind the path of URLs is shown.
    pub(super) shows_query: bool,
    pub(super) is_frozen: bool,
}

/// In which order workers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Number,
    Busy,
    Requests,
    Memory,
}

/// What a line is. None says anything by its colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Head,
    Wrong,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// Places of the bar of busy threads.
const BAR: usize = 8;

/// Looks of which the most that waited is told.
const LATELY: usize = 10;

/// The lines that fit so much room.
pub(super) fn frame(samples: &Samples, look: &Look, width: usize, height: usize) -> Vec<Line> {
    let Some(status) = samples.last() else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut add = |tone, text: String| lines.push(Line { text, tone });
    let generation = status.generation.unwrap_or(0);
    add(
        Tone::Head,
        format!(
            "{}  {}  pid {}  up {}  generation {generation}  {}{}",
            status.name,
            status.application,
            status.pid,
            age(status.uptime_seconds),
            status.version,
            if look.is_frozen { "  (frozen)" } else { "" },
        ),
    );
    for problem in &status.problems {
        add(Tone::Wrong, format!("NOT WELL {problem}"));
    }
    add(Tone::Plain, row("reload", reload(status)));
    add(Tone::Plain, row("workers", workers(status)));
    add(Tone::Plain, row("waiting", waiting(samples, status)));
    add(Tone::Plain, row("requests", requests(samples, status)));
    add(Tone::Plain, row("answers", answers(samples, status)));
    add(Tone::Plain, row("machine", machine(samples, status)));
    add(Tone::Plain, row("ended", ended(status)));
    add(Tone::Plain, String::new());
    add(
        Tone::Head,
        " W     PID GEN STATE    BUSY    REQS    /s    95%   RSS CPU%     UP  NOW".to_owned(),
    );
    let lately = samples.lately();
    for worker in sorted(status, look.sort) {
        let before = lately.and_then(|change| {
            let then = change.then.worker_list.iter();
            let mut same = then.filter(|it| it.pid == worker.pid && it.pid.is_some());
            Some((same.next()?, change.seconds))
        });
        lines.push(Line {
            text: worker_row(worker, before),
            tone: match worker.state.as_str() {
                "stopped" => Tone::Wrong,
                _ => Tone::Plain,
            },
        });
    }
    if let Some(slowest) = slowest(status) {
        // Always there, whatever does not fit.
        lines.truncate(height.saturating_sub(2));
        lines.push(Line {
            text: slowest,
            tone: Tone::Plain,
        });
    }
    lines.truncate(height.saturating_sub(1));
    if height != usize::MAX {
        lines.push(Line {
            text: "q quit  s sort  u queries  space freeze".to_owned(),
            tone: Tone::Head,
        });
    }
    for line in &mut lines {
        line.text = fit(&line.text, width);
    }
    lines
}

fn row(name: &str, text: String) -> String {
    format!("{name:<8} {text}")
}

/// A text in so much room, and nothing in it that a terminal would obey.
fn fit(text: &str, width: usize) -> String {
    let shown = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().take(width).map(shown).collect()
}

fn reload(status: &Status) -> String {
    let reloads = &status.reloads;
    let last_line = |text: &str| {
        let last = text.trim_end().lines().last().unwrap_or_default();
        last.to_owned()
    };
    let Some(ago) = reloads.last_seconds_ago else {
        return "none so far".to_owned();
    };
    match (&reloads.last_failure, &reloads.failure_before) {
        (Some(failure), _) => format!("FAILED {} ago: {}", age(ago), last_line(failure)),
        (None, Some(before)) => format!(
            "ok {} ago; one before failed: {}",
            age(ago),
            last_line(before)
        ),
        (None, None) => format!("ok {} ago", age(ago)),
    }
}

fn workers(status: &Status) -> String {
    let counts = status.workers;
    let full = match status.threads {
        0 => 0,
        threads => usize::try_from(BAR as u64 * status.threads_busy / threads).unwrap_or(BAR),
    };
    let full = full.min(BAR);
    format!(
        "{} ready of {}..{}, {} starting, {} draining  threads {} of {} busy [{}{}]",
        counts.idle + counts.busy,
        counts.min,
        counts.max,
        counts.starting,
        counts.draining,
        status.threads_busy,
        status.threads,
        "#".repeat(full),
        "-".repeat(BAR - full),
    )
}

fn waits(status: &Status) -> u64 {
    let waiting = status.waiting.iter();
    waiting.filter_map(|it| it.connections).sum()
}

fn waiting(samples: &Samples, status: &Status) -> String {
    let room: u64 = status.waiting.iter().filter_map(|it| it.room).sum();
    let refused: u64 = status.refused.values().sum();
    format!(
        "{} now, {} most in {LATELY} s (room for {room})    refused {refused}    connections {}",
        waits(status),
        samples.most(LATELY, waits),
        status.connections
    )
}

fn requests(samples: &Samples, status: &Status) -> String {
    let rate = |change: Option<Change<'_>>| {
        change.map_or(0.0, |change| change.rate(|status| status.requests))
    };
    let minute = samples.in_a_minute();
    let times = minute.and_then(|change| change.times());
    let at = |part| {
        let time = times.as_ref().and_then(|times| times.quantile(part));
        time.map_or_else(|| "-".to_owned(), |time| short(time.as_secs_f64()))
    };
    format!(
        "{:.0}/s (1 min {:.0})  median {}  95 % {}  99 % {}  slow {}  late {}",
        rate(samples.lately()),
        rate(minute),
        at(0.5),
        at(0.95),
        at(0.99),
        status.slow_requests,
        status.request_timeouts
    )
}

/// The classes of the last minute, and what went wrong so far.
fn answers(samples: &Samples, status: &Status) -> String {
    let count = |status: &Status, class: &str| status.answers.get(class).copied().unwrap_or(0);
    let more = |class: &str| {
        samples
            .in_a_minute()
            .map_or(0, |change| change.more(|status| count(status, class)))
    };
    let classes = ["2xx", "3xx", "4xx", "5xx"];
    let all: u64 = classes.iter().map(|class| more(class)).sum();
    let shares: Vec<String> = classes
        .iter()
        .map(|class| match all {
            0 => format!("{class} -"),
            all => format!("{class} {:.1}%", 100.0 * more(class) as f64 / all as f64),
        })
        .collect();
    let error = |kind: &str| status.application_errors.get(kind).copied().unwrap_or(0);
    format!(
        "{}  failed {}  cut {}  left by client {}",
        shares.join(" "),
        error("exception") + error("protocol"),
        error("after_head"),
        status.client_aborts
    )
}

fn machine(samples: &Samples, status: &Status) -> String {
    let lately = samples.lately();
    let cpu = lately.map_or(0.0, |change| {
        let used = change.now.cpu_seconds - change.then.cpu_seconds;
        (used / change.seconds).max(0.0)
    });
    let rate = |value: fn(&Status) -> u64| lately.map_or(0.0, |change| change.rate(value) / 1e6);
    let largest = status.worker_list.iter().map(|it| it.resident_bytes).max();
    format!(
        "cpu {cpu:.2} of {}   memory {} MB (largest {})   in {:.1} MB/s   out {:.1} MB/s",
        status.cpus,
        status.resident_bytes >> 20,
        largest.unwrap_or(0) >> 20,
        rate(|status| status.request_bytes),
        rate(|status| status.response_bytes)
    )
}

fn ended(status: &Status) -> String {
    let ended = status.worker_exits.iter();
    let ended: Vec<String> = ended
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    match ended.is_empty() {
        true => "none so far".to_owned(),
        false => ended.join("  "),
    }
}

fn sorted(status: &Status, sort: Sort) -> Vec<&WorkerStatus> {
    let mut workers: Vec<&WorkerStatus> = status.worker_list.iter().collect();
    workers.sort_by_key(|worker| {
        let most = match sort {
            Sort::Number => 0,
            Sort::Busy => worker.threads_busy,
            Sort::Requests => worker.requests,
            Sort::Memory => worker.resident_bytes,
        };
        (Reverse(most), worker.number)
    });
    workers
}

fn worker_row(worker: &WorkerStatus, before: Option<(&WorkerStatus, f64)>) -> String {
    let dash = || "-".to_owned();
    let rate = before.map_or_else(dash, |(then, seconds)| {
        let more = worker.requests.saturating_sub(then.requests);
        format!("{:.0}", more as f64 / seconds)
    });
    let cpu = before.map_or_else(dash, |(then, seconds)| {
        let used = (worker.cpu_seconds - then.cpu_seconds).max(0.0);
        format!("{:.0}", 100.0 * used / seconds)
    });
    let p95 = worker.duration.p95_seconds.map_or_else(dash, short);
    let now = worker.now.first().map_or_else(String::new, |request| {
        format!("{:.2}s {}", request.seconds, request.request)
    });
    let cut = worker.limit_seconds.filter(|_| worker.state == "draining");
    let cut = cut.map_or_else(String::new, |left| format!(" (cut in {left:.0} s)"));
    format!(
        "{:>2} {:>7} {:>3} {:<8} {:>4} {:>7} {rate:>5} {p95:>6} {:>4}M {cpu:>4} {:>6}  {now}{cut}",
        worker.number,
        worker.pid.map_or_else(dash, |pid| pid.to_string()),
        worker
            .generation
            .map_or_else(dash, |generation| generation.to_string()),
        worker.state,
        format!("{}/{}", worker.threads_busy, worker.threads),
        worker.requests,
        worker.resident_bytes.div_ceil(1 << 20),
        age(worker.uptime_seconds),
    )
}

fn slowest(status: &Status) -> Option<String> {
    let running = status.worker_list.iter().filter_map(|worker| {
        let request = worker.now.first()?;
        Some((request.seconds, worker.number, &request.request))
    });
    let (seconds, number, request) = running.max_by(|one, other| one.0.total_cmp(&other.0))?;
    Some(format!("slowest now  W{number} {seconds:.1}s {request}"))
}

/// A time of a request in a few letters.
fn short(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.01 => format!("{:.1}ms", seconds * 1e3),
        seconds if seconds < 1.0 => format!("{:.0}ms", seconds * 1e3),
        seconds => format!("{seconds:.1}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Look, frame, short};
    use crate::control::{RequestStatus, Status, WorkerStatus};
    use crate::top::samples::Samples;
    use std::time::{Duration, Instant};

    fn status() -> Status {
        let mut status = Status {
            name: "shop".to_owned(),
            application: "mysite.wsgi:application".to_owned(),
            generation: Some(7),
            threads: 4,
            threads_busy: 3,
            problems: vec!["the last reload failed: SyntaxError".to_owned()],
            ..Status::default()
        };
        for number in 1..=40 {
            status.worker_list.push(WorkerStatus {
                number,
                pid: Some(1_000_000),
                state: "busy".to_owned(),
                threads: 4,
                now: vec![RequestStatus {
                    seconds: 1.24,
                    request: format!("GET /{}\u{1b}[2J", "x".repeat(200)),
                }],
                ..WorkerStatus::default()
            });
        }
        status
    }

    #[test]
    fn a_frame_is_no_larger_than_the_screen_and_obeys_nobody() {
        let now = Instant::now();
        let mut samples = Samples::default();
        assert!(frame(&samples, &Look::default(), 80, 24).is_empty());
        samples.add(now, status());
        let mut later = status();
        later.requests = 428;
        samples.add(now + Duration::from_secs(2), later);
        for (width, height) in [(80, 24), (20, 5), (1, 1), (300, 100)] {
            let lines = frame(&samples, &Look::default(), width, height);
            assert!(lines.len() <= height, "{lines:#?}");
            for line in &lines {
                assert!(line.text.chars().count() <= width, "{line:?}");
                assert!(!line.text.contains(char::is_control), "{line:?}");
            }
        }
        let lines = frame(&samples, &Look::default(), 80, 24);
        let text: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let text = text.join("\n");
        for word in [
            "shop  mysite.wsgi:application",
            "NOT WELL the last reload failed",
            "[######--]",
            "214/s",
            "slowest now  W",
            "q quit",
        ] {
            assert!(text.contains(word), "no '{word}':\n{text}");
        }
    }

    #[test]
    fn a_time_is_short() {
        for (seconds, expected) in [(0.0004, "0.4ms"), (0.061, "61ms"), (28.0, "28.0s")] {
            assert_eq!(short(seconds), expected);
        }
    }
}
