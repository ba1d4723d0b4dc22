//! Keeps the log readable, and the disk from filling, where one thing goes wrong over and over: what is said from one place in
//! this program more than a few times a second is counted instead.
//!
//! Not so what the application says, and what workers have said already.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::{Level, Record};

/// How often one place may speak in [`WHILE`].
const MOST: u32 = 10;

const WHILE: Duration = Duration::from_secs(1);

/// Places by file and line.
static PLACES: Mutex<Sites> = Mutex::new(Sites(BTreeMap::new()));

struct Sites(BTreeMap<(&'static str, u32), Site>);

struct Site {
    since: Instant,
    told: u32,
    left_out: u32,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is told; before it, so many like it were not.
    Tell(u32),
    LeaveOut,
}

/// Looks how often this was said.
pub(super) fn judge(record: &Record<'_>) -> Verdict {
    let place = record.file_static().zip(record.line());
    let (Some(place), true) = (place, is_limited(record)) else {
        return Verdict::Tell(0);
    };
    // Who holds it may be a thread that is not there any more, in a child.
    match PLACES.try_lock() {
        Ok(mut places) => places.judge(place, Instant::now()),
        Err(_) => Verdict::Tell(0),
    }
}

/// Whether it is trouble of the gateway's own: not what is relayed, nor what the application has done in each request.
fn is_limited(record: &Record<'_>) -> bool {
    let Some(inside) = record.target().strip_prefix("wsgi_gateway::") else {
        return false;
    };
    let relays = ["process::master", "worker::controller"];
    record.level() <= Level::Warn && !relays.iter().any(|relay| inside.starts_with(relay))
}

impl Sites {
    fn judge(&mut self, place: (&'static str, u32), now: Instant) -> Verdict {
        let fresh = Site {
            since: now,
            told: 0,
            left_out: 0,
        };
        let known = self.0.entry(place).or_insert(fresh);
        if now >= known.since + WHILE {
            known.since = now;
            known.told = 0;
        }
        if known.told >= MOST {
            known.left_out += 1;
            return Verdict::LeaveOut;
        }
        known.told += 1;
        Verdict::Tell(std::mem::take(&mut known.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Sites, Verdict, WHILE};
    use std::time::Instant;

    #[test]
    fn what_is_left_out_is_counted() {
        let mut places = Sites(Default::default());
        let now = Instant::now();
        for _ in 0..MOST {
            assert_eq!(places.judge(("file", 1), now), Verdict::Tell(0));
        }
        for _ in 0..5 {
            assert_eq!(places.judge(("file", 1), now), Verdict::LeaveOut);
        }
        assert_eq!(places.judge(("file", 2), now), Verdict::Tell(0));
        assert_eq!(places.judge(("file", 1), now + WHILE), Verdict::Tell(5));
        assert_eq!(places.judge(("file", 1), now + WHILE), Verdict::Tell(0));
    }
}
