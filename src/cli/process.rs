//! How many processes serve FastCGI, how long each lives, and as whom.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::values::{duration, limit, mode, number, size_limit, switch, time_limit, worker_output};
use crate::config::{Origin, WorkerOutput};

/// The processes of the FastCGI door. Where standard input is the listening socket, the web server manages the
/// processes, and this one is the only worker unless `workers` says otherwise.
#[derive(Args, Clone, Debug)]
pub(super) struct ProcessOptions {
    /// The most worker processes [default: the number of CPUs, or MIN if more; 1 when the web server starts this program; 2 with
    /// --persistent].
    #[arg(short, long, value_name = "MAX", value_parser = number::<u16>(1..=1000))]
    pub workers: Option<u16>,

    /// The fewest worker processes: below --workers, they come with the load; 0 starts the first with a request
    /// [default: as many as --workers].
    #[arg(long, value_name = "MIN", value_parser = number::<u16>(0..=1000))]
    pub min_workers: Option<u16>,

    /// Time without a request after which a worker above --min-workers ends; with --persistent all of them, and what belongs
    /// to them [default: 10s, with --persistent 300s].
    #[arg(long, value_name = "TIME", value_parser = time_limit)]
    pub idle_timeout: Option<Duration>,

    /// Import the application once and fork the workers from there: they start at once and share its memory.
    #[arg(long, value_name = "YES|NO", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", default_value = "no", hide_default_value = true, value_parser = switch)]
    pub preload: bool,

    /// Requests after which a worker is replaced [default: no limit].
    #[arg(long, value_name = "N", value_parser = limit)]
    pub max_requests: Option<u64>,

    /// The most by which each worker's --max-requests is lessened by chance, so that not all are replaced at once.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::<u64>(0..=1_000_000_000))]
    pub max_requests_jitter: u64,

    /// Time after which a worker is replaced [default: no limit].
    #[arg(long, value_name = "TIME", value_parser = time_limit)]
    pub max_lifetime: Option<Duration>,

    /// Resident memory above which a worker is replaced, after the request that it is at [default: no limit, with --persistent
    /// 256M].
    #[arg(long, value_name = "SIZE", value_parser = size_limit)]
    pub max_rss: Option<u64>,

    /// Start new workers when an imported file changes. For developers.
    #[arg(long, value_name = "YES|NO", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", default_value = "no", hide_default_value = true, value_parser = switch)]
    pub reload: bool,

    /// Time for a request, after which its client gets 504, Python's stacks are logged and wsgi_gateway.RequestTimeout is raised
    /// in it [default: no limit].
    #[arg(short = 't', long, value_name = "TIME", value_parser = time_limit)]
    pub request_timeout: Option<Duration>,

    /// Time for a request to end when RequestTimeout was raised in it, after which its worker is replaced; with 0s it is not
    /// raised.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub kill_after: Duration,

    /// Time for a request after which Python's stack is logged, and nothing else done [default: never].
    #[arg(long, value_name = "TIME", value_parser = time_limit)]
    pub slow_log: Option<Duration>,

    /// Time for a worker to start and import the application.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time_limit)]
    pub startup_timeout: Duration,

    /// Time for what is in flight to end, after SIGTERM or in a worker that is replaced.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub graceful_timeout: Duration,

    /// What becomes of what the application writes to standard output and error: tagged, lines of the log under the worker's
    /// name; or raw, lines as they are to where the log goes, each whole up to 1 MiB, as for JSON.
    #[arg(long, value_name = "FORM", default_value = "tagged", value_parser = worker_output)]
    pub worker_output: WorkerOutput,

    /// The file that the process id of the one to send signals to is written to.
    #[arg(short, long, value_name = "FILE")]
    pub pid: Option<PathBuf>,

    /// The user that workers run as, by name or number; needs a start as root.
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,

    /// The group that workers run as, by name or number [default: the user's].
    #[arg(short, long, value_name = "NAME")]
    pub group: Option<String>,

    /// Take from workers, and all that they start, the right to gain privileges by running a setuid or setgid program, such
    /// as sendmail.
    #[arg(long, value_name = "YES|NO", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", default_value = "no", hide_default_value = true, value_parser = switch)]
    pub no_new_privileges: bool,

    /// Permission bits that files made by the application do not get [default: as inherited].
    #[arg(long, value_name = "MODE", value_parser = mode("0022"))]
    pub umask: Option<u32>,

    /// Files that each process may have open [default: what --max-connections needs].
    #[arg(long, value_name = "N", value_parser = limit)]
    pub max_open_files: Option<u64>,
}

impl ProcessOptions {
    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Which do not, where they were told, and the way out.
    pub(super) fn check(&self, origin: impl Fn(&str) -> Origin) -> Result<(), String> {
        let told = |key, value: u64| match origin(key) {
            // A request of CGI does not wait for that to be found out.
            Origin::Default => format!("--{key} {value}"),
            origin => format!("--{key} {value} ({origin})"),
        };
        if let (Some(min), Some(max)) = (self.min_workers, self.workers) {
            if min > max {
                return Err(format!(
                    "{} is more than {}: lower the one or raise the other",
                    told("min-workers", min.into()),
                    told("workers", max.into())
                ));
            }
        }
        let jitter = told("max-requests-jitter", self.max_requests_jitter);
        match self.max_requests {
            None if self.max_requests_jitter > 0 => Err(format!(
                "{jitter} has nothing to lessen: give --max-requests too, or leave it out"
            )),
            Some(requests) if self.max_requests_jitter >= requests => Err(format!(
                "{jitter} could leave a worker no request of {}: give less than that",
                told("max-requests", requests)
            )),
            _ => Ok(()),
        }
    }
}
