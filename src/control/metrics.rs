//! How it stands, as OpenMetrics (<https://openmetrics.io>): what Prometheus and its kin read. No label has a value that strangers
//! choose: no path, no user, no process id.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::status::{Status, TimesStatus};

/// The media type of what [`write`] gives.
pub(super) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PREFIX: &str = "wsgi_gateway";

/// Labels of one sample.
type Labels<'a> = Vec<(&'a str, String)>;

/// The whole.
pub(super) fn write(status: Status) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(StatusCollector(status)));
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = encode(&mut out, &registry);
    out
}

#[derive(Debug)]
struct StatusCollector(Status);

/// Where families are written.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, [(Vec::new(), value)])
    }

    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) -> fmt::Result {
        let (name, kind) = (named(name), MetricType::Gauge);
        let mut family = self.0.encode_descriptor(&name, help, None, kind)?;
        for (labels, value) in samples {
            let value = ConstGauge::new(value);
            match labels.is_empty() {
                true => value.encode(family.encode_family(&NONE)?)?,
                false => value.encode(family.encode_family(&labels)?)?,
            }
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(Vec::new(), value as f64)])
    }

    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) -> fmt::Result {
        let (name, kind) = (named(name), MetricType::Counter);
        let mut family = self.0.encode_descriptor(&name, help, None, kind)?;
        for (labels, value) in samples {
            let value = ConstCounter::new(value);
            match labels.is_empty() {
                true => value.encode(family.encode_family(&NONE)?)?,
                false => value.encode(family.encode_family(&labels)?)?,
            }
        }
        Ok(())
    }

    fn times(&mut self, name: &str, help: &str, times: &TimesStatus) -> fmt::Result {
        let (name, kind) = (named(name), MetricType::Histogram);
        let mut family = self.0.encode_descriptor(&name, help, None, kind)?;
        let bounds = times.bounds_seconds.iter().copied();
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(times.counts.iter().copied()).collect();
        let count = times
            .counts
            .iter()
            .fold(0_u64, |sum, count| sum.saturating_add(*count));
        family.encode_histogram::<[(String, String); 0]>(times.sum_seconds, count, &buckets, None)
    }
}

const NONE: [(&str, &str); 0] = [];

/// The name of a family.
fn named(name: &str) -> String {
    format!("{PREFIX}_{name}")
}

/// Counts by a label.
fn by<'a>(
    label: &'a str,
    counts: &'a std::collections::BTreeMap<String, u64>,
) -> impl Iterator<Item = (Labels<'a>, f64)> {
    let counts = counts.iter();
    counts.map(move |(value, count)| (vec![(label, value.clone())], *count as f64))
}

impl Collector for StatusCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.0;
        let mut to = Families(encoder);
        let info = Info::new(vec![
            ("version", status.version.clone()),
            ("name", status.name.clone()),
        ]);
        let family =
            to.0.encode_descriptor(PREFIX, "Which gateway this is", None, MetricType::Info)?;
        info.encode(family)?;
        let flag = |is: bool| f64::from(u8::from(is));
        to.gauge(
            "up",
            "Whether requests are served",
            flag(status.state == "serving"),
        )?;
        to.gauge(
            "uptime_seconds",
            "Time since the gateway began",
            status.uptime_seconds,
        )?;
        let generation = status.generation.unwrap_or(0);
        to.gauge(
            "generation",
            "Generation of the application's code that serves",
            generation.into(),
        )?;
        to.gauge(
            "settings_stale",
            "Whether the settings have changed since they were read",
            flag(status.settings_stale),
        )?;
        self.reloads(&mut to)?;
        self.workers(&mut to)?;
        self.requests(&mut to)?;
        self.each_worker(&mut to)
    }
}

impl StatusCollector {
    fn reloads(&self, to: &mut Families<'_>) -> fmt::Result {
        let reloads = &self.0.reloads;
        to.gauge(
            "last_reload_successful",
            "Whether the last reload has brought new code; 1 before the first",
            f64::from(u8::from(reloads.last_failure.is_none())),
        )?;
        if let Some(ago) = reloads.last_seconds_ago {
            to.gauge("last_reload_age_seconds", "Time since the last reload", ago)?;
        }
        let results = [("success", reloads.succeeded), ("failure", reloads.failed)];
        to.counters(
            "reloads",
            "Reloads by what came of them",
            results.map(|(result, count)| (vec![("result", result.to_owned())], count as f64)),
        )
    }

    fn workers(&self, to: &mut Families<'_>) -> fmt::Result {
        let (status, workers) = (&self.0, &self.0.workers);
        let states = [
            ("starting", workers.starting),
            ("idle", workers.idle),
            ("busy", workers.busy),
            ("draining", workers.draining),
        ];
        to.gauges(
            "workers",
            "Workers by what they do",
            states.map(|(state, count)| (vec![("state", state.to_owned())], count as f64)),
        )?;
        to.gauge(
            "workers_min",
            "The least number of workers",
            workers.min as f64,
        )?;
        to.gauge("workers_max", "The most workers", workers.max as f64)?;
        to.gauge(
            "threads",
            "Application threads of workers that serve",
            status.threads as f64,
        )?;
        to.gauge(
            "threads_busy",
            "Those that are in a request",
            status.threads_busy as f64,
        )?;
        to.gauge("connections", "Open connections", status.connections as f64)?;
        to.gauge(
            "oldest_request_seconds",
            "Time that the oldest request has run; 0 without one",
            status.oldest_request_seconds.unwrap_or(0.0),
        )?;
        let waiting = |value: fn(&super::status::WaitingAt) -> Option<u64>| {
            let known = status.waiting.iter();
            known.filter_map(move |it| {
                Some((vec![("address", it.address.clone())], value(it)? as f64))
            })
        };
        to.gauges(
            "waiting_connections",
            "Connections that nobody has taken yet",
            waiting(|it| it.connections),
        )?;
        to.gauges(
            "waiting_connections_limit",
            "How many may wait",
            waiting(|it| it.room),
        )?;
        to.counters(
            "worker_exits",
            "Workers that have ended, by reason",
            by("reason", &status.worker_exits),
        )
    }

    fn requests(&self, to: &mut Families<'_>) -> fmt::Result {
        let status = &self.0;
        to.counters("requests", "Answers by class", by("code", &status.answers))?;
        to.times(
            "request_duration_seconds",
            "Time of requests in the application",
            &status.duration,
        )?;
        to.times(
            "queue_duration_seconds",
            "Time that requests waited for a thread, as far as workers have seen it",
            &status.queue_duration,
        )?;
        to.counter(
            "request_bytes",
            "Bytes of requests' bodies",
            status.request_bytes,
        )?;
        to.counter(
            "response_bytes",
            "Bytes of responses' bodies",
            status.response_bytes,
        )?;
        to.counters(
            "application_errors",
            "Failures of the application, by kind",
            by("kind", &status.application_errors),
        )?;
        to.counter(
            "client_aborts",
            "Requests whose client had gone",
            status.client_aborts,
        )?;
        to.counter(
            "slow_requests",
            "Requests longer than --slow-log",
            status.slow_requests,
        )?;
        to.counter(
            "request_timeouts",
            "Requests longer than --request-timeout",
            status.request_timeouts,
        )?;
        to.counters(
            "refused",
            "Requests that were not served as they were sent, by reason",
            by("reason", &status.refused),
        )?;
        to.counter(
            "log_lines_dropped",
            "Lines of the access log that nobody took",
            status.log_lines_dropped,
        )
    }

    fn each_worker(&self, to: &mut Families<'_>) -> fmt::Result {
        let workers = || self.0.worker_list.iter();
        let label = |number: u32| vec![("worker", number.to_string())];
        to.gauges(
            "worker_start_seconds",
            "Time that a worker took until it was ready",
            workers().filter_map(|it| Some((label(it.number), it.start_seconds?))),
        )?;
        to.gauges(
            "worker_resident_bytes",
            "Resident memory of a worker",
            workers().map(|it| (label(it.number), it.resident_bytes as f64)),
        )?;
        to.counters(
            "worker_cpu_seconds",
            "Processor time of a worker",
            workers().map(|it| (label(it.number), it.cpu_seconds)),
        )
    }
}
