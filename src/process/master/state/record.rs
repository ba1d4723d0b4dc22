//! What the gateway has been through, for who asks: what came of reloads, and why workers have ended.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::super::snapshot::{ReloadSeen, Reloads};
use super::super::reaction::Died;

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReloadResult {
    /// The generation that was to serve.
    pub(super) generation: u32,
    /// Why it does not, where it does not.
    pub(super) failure: Option<String>,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct GatewayRecord {
    succeeded: u64,
    failed: u64,
    last: Option<(Instant, Option<String>)>,
    last_failed: Option<(Instant, Option<String>)>,
    ended: BTreeMap<String, u64>,
}

impl GatewayRecord {
    pub(super) fn note_reload(&mut self, result: &ReloadResult, now: Instant) {
        if let Some((at, Some(failure))) = self.last.take() {
            self.last_failed = Some((at, Some(failure)));
        }
        match &result.failure {
            None => self.succeeded += 1,
            Some(_) => self.failed += 1,
        }
        self.last = Some((now, result.failure.clone()));
    }

    /// A worker has ended so, `reason` being why it was to end, if it was.
    pub(super) fn note_end(&mut self, died: Died, reason: Option<&str>) {
        let label = label(died, reason);
        *self.ended.entry(label.to_owned()).or_default() += 1;
    }

    pub(super) fn ended(&self) -> BTreeMap<String, u64> {
        self.ended.clone()
    }

    pub(super) fn reloads(&self, now: Instant) -> Reloads {
        let seen = |it: &Option<(Instant, Option<String>)>| {
            it.as_ref().map(|(at, failure)| ReloadSeen {
                age: now.saturating_duration_since(*at),
                failure: failure.clone(),
            })
        };
        Reloads {
            succeeded: self.succeeded,
            failed: self.failed,
            last: seen(&self.last),
            last_failed: seen(&self.last_failed),
        }
    }
}

/// A word of few for why a worker has ended: a label of figures. What the reasons begin with are this program's own words, and
/// whatever else a worker says is one more word.
fn label(died: Died, reason: Option<&str>) -> &'static str {
    const LABELS: [(&str, &str); 9] = [
        ("--max-requests", "max_requests"),
        ("--max-lifetime", "max_lifetime"),
        ("--max-rss", "max_rss"),
        ("half of the", "cpu_limit"),
        ("idle for", "idle"),
        ("reload", "reload"),
        ("one worker too many", "resize"),
        ("the gateway ends", "end"),
        ("SIGTERM", "sigterm"),
    ];
    let reason = reason.unwrap_or_default();
    let known = LABELS.iter().find(|(begin, _)| reason.starts_with(begin));
    match (known, died) {
        _ if reason.ends_with("--request-timeout") => "request_timeout",
        (_, Died::Killed(_)) => "signal",
        (Some((_, label)), _) => label,
        (None, Died::Exited(0)) => "other",
        (None, Died::Exited(3)) => "cannot_load",
        (None, _) => "exit_code",
    }
}

#[cfg(test)]
mod tests {
    use super::label;
    use crate::process::master::reaction::Died;
    use nix::sys::signal::Signal;

    #[test]
    fn why_a_worker_has_ended_is_a_word_of_few() {
        for (died, reason, expected) in [
            (Died::Exited(0), Some("--max-rss with 61 MiB"), "max_rss"),
            (
                Died::Exited(0),
                Some("GET / took longer than --request-timeout"),
                "request_timeout",
            ),
            (Died::Exited(0), Some("reload"), "reload"),
            (Died::Exited(0), Some("GET /reload"), "other"),
            (Died::Exited(3), None, "cannot_load"),
            (Died::Exited(1), None, "exit_code"),
            (Died::NeverBegan(1), None, "exit_code"),
            (Died::Killed(Signal::SIGSEGV), None, "signal"),
            (Died::Killed(Signal::SIGKILL), Some("reload"), "signal"),
        ] {
            assert_eq!(label(died, reason), expected, "{died:?} {reason:?}");
        }
    }
}
