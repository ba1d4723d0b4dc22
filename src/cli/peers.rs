//! What other programs of this kind call what there is here, or is not: their commands and options, for whoever types them by
//! habit. Names as their manuals have them (gunicorn 23, uWSGI 2.0, php-fpm 8.4, mod_wsgi 5, granian 2, waitress 3, uvicorn,
//! spawn-fcgi); `_` and `.` in them count as `-`.

use super::settings::Known;

/// Commands, and the one of ours that does that.
const COMMANDS: [(&str, &str); 12] = [
    ("serve", "fastcgi"),
    ("server", "fastcgi"),
    ("run", "fastcgi"),
    ("runserver", "fastcgi"),
    ("start", "fastcgi"),
    ("start-server", "fastcgi"),
    ("fcgi", "fastcgi"),
    ("daemon", "fastcgi"),
    ("test", "check"),
    ("configtest", "check"),
    ("kill", "stop"),
    ("list", "ps"),
];

/// Options, whose they are, and what is here for them: an option that takes the same, or the end of a sentence.
const OPTIONS: &str = "\
bind-address uds unix-socket | others | --bind
socket fastcgi-socket -s | uWSGI | --bind
host port -a | others | host and port are one address: --bind HOST:PORT
fd | uvicorn | it is an address: --bind fd:N
http http-socket | uWSGI | it is the web server in front that speaks HTTP: --bind is where that finds this by FastCGI
https certfile keyfile ca-certs ssl-certificate | others | it is the web server in front that has the certificates
protocol interface | others | it speaks FastCGI and CGI, and runs WSGI: leave it out
reuse-port thunder-lock | others | all workers share one socket: leave it out
chmod-socket -C | uWSGI | --socket-mode
listen.mode unix-socket-perms socket-perms | others | --socket-mode
listen.owner | php-fpm | --socket-user
listen.group | php-fpm | --socket-group
chown-socket | uWSGI | the user is --socket-user here, the group --socket-group
listen -l | uWSGI, php-fpm and waitress | the queue's length is --backlog here, the address --bind
listen.backlog | php-fpm and mod_wsgi | --backlog
listen.allowed_clients | php-fpm | --allow
vacuum master die-on-term need-app enable-threads single-interpreter no-orphans -M | uWSGI | it is always so: leave it out
enable-stdio-inheritance no-sendfile worker-tmp-dir | gunicorn | it is always so: leave it out
processes | uWSGI and mod_wsgi | --workers
pm.max_children | php-fpm | --workers
fork | spawn-fcgi | --workers
pm | php-fpm | --workers alone is static, with --min-workers below it dynamic, with --min-workers 0 on demand
pm.min_spare_servers pm.start_servers | php-fpm | --min-workers
pm.max_spare_servers | php-fpm | workers above --min-workers end after --idle-timeout
pm.process_idle_timeout | php-fpm | --idle-timeout
pm.max_requests | php-fpm | --max-requests
cheaper cheaper-initial | uWSGI | --min-workers
idle die-on-idle | uWSGI | --idle-timeout
inactivity-timeout | mod_wsgi | --idle-timeout
worker-class -k | gunicorn | workers have threads, --threads N; asynchronous ones there are none
blocking-threads runtime-threads | granian | --threads
worker-connections | gunicorn | --max-connections
limit-concurrency connection-limit max-clients | others | --max-connections
preload-app | gunicorn | --preload
lazy lazy-apps | uWSGI | that is the default; --preload is the other way
maximum-requests limit-max-requests | others | --max-requests
max-worker-lifetime workers-lifetime restart-interval | others | --max-lifetime
reload-on-rss evil-reload-on-rss reload-on-as | uWSGI | --max-rss
memory-limit workers-max-rss | others | --max-rss
py-autoreload reload-engine reload-on-changes | others | --reload
touch-reload reload-extra-file | others | SIGHUP is a reload; --reload watches what is imported
timeout | gunicorn | --request-timeout
harakiri | uWSGI | --request-timeout
request_terminate_timeout | php-fpm | --request-timeout
deadlock-timeout | mod_wsgi | --request-timeout
harakiri-verbose | uWSGI | stacks are always logged: leave it out
request_slowlog_timeout | php-fpm | --slow-log
slowlog | php-fpm | --slow-log-file
keep-alive keepalive timeout-keep-alive channel-timeout | others | --idle-connection-timeout
socket-timeout | uWSGI | --io-timeout
connect-timeout queue-timeout | mod_wsgi | that is the web server's: leave it out
reload-mercy worker-reload-mercy | uWSGI | --graceful-timeout
process_control_timeout | php-fpm | --graceful-timeout
shutdown-timeout eviction-timeout workers-kill-timeout timeout-graceful-shutdown | others | --graceful-timeout
limit-request-line limit-request-fields limit-request-field-size | gunicorn | --max-params
buffer-size | uWSGI | --max-params
post-buffering | uWSGI | --buffer
limit-post limit-request-body max-request-body-size | others | --max-body
max-fd rlimit_files | others | --max-open-files
home virtualenv pyhome -H | uWSGI | --venv
python-home | mod_wsgi | --venv
python-path pp app-dir | others | --pythonpath
working-directory working-dir | others | --chdir
chroot rootdir | others | have systemd do it, by RootDirectory= of the unit
plugin plugins | uWSGI | Python is in it already: leave it out
module wsgi wsgi-file | uWSGI | it is APP, without an option: wsgi-gateway fastcgi --bind ADDR package.module:attribute
callable callable-object app-module | others | name it behind the module: package.module:attribute
factory call | others | write the call: package.module:factory()
paste | gunicorn | name a file, in which application = loadapp('config:/srv/site/production.ini')
manage-script-name | uWSGI | --mount
mount-point url-path-prefix url-prefix root-path | others | --mount
static-map document-root url-alias static-path-mount | others | files are for the web server in front, which is faster at it
uid | uWSGI | --user
gid | uWSGI | --group
allow-to-run-as-root -R | php-fpm | that is a warning and no error here: leave it out, or give --user
env clear_env -e | others | set variables for all: NAME=value wsgi-gateway ..., or Environment= of the unit
pidfile pid-file safe-pidfile | others | --pid
daemon daemonize nodaemonize -D -d -F | others | it stays in the foreground, for systemd or whoever starts it: leave it out
procname procname-prefix process-name display-name -n | others | --name
emperor | uWSGI | one gateway serves one site: the unit wsgi-gateway@.service starts one for each
ini yaml xml fpm-config -y | others | options are in a TOML file, workers = 4, that --config names: copy the values to one
check-config | gunicorn | the command 'check' does that: wsgi-gateway check APP
print-config | gunicorn | the command 'check' shows all settings: wsgi-gateway check APP
error-logfile error_log logto | others | --log-file
log-syslog log-syslog-to logger syslog | others | messages go to standard error, which the journal reads, or to --log-file
log-config logger-class | gunicorn | the application sets up its own logging; --log-level is for the gateway's messages
force-stderr -O | php-fpm | messages go to standard error where there is no --log-file: leave it out
capture-output catch_workers_output | others | what the application writes is in the log already: see --worker-output
access-logfile access.log | others | --access-log
access-logformat access.format | others | --access-log-format
access.suppress_path | php-fpm | --access-log-skip
disable-logging | uWSGI | requests are not logged where there is no --access-log: leave it out
forwarded-allow-ips proxy-protocol trusted-proxy url-scheme | others | what the web server in front says holds: set it right there
stats stats-server server-status pm.status_path | others | 'wsgi-gateway status' shows it; --metrics is for Prometheus
statsd-host dogstatsd-tags | gunicorn | there is no statsd here: --metrics is for Prometheus, and what reads its form
control-socket | gunicorn | --control";

/// The command of ours that does what another program's of this name does.
pub(super) fn command(word: &str) -> Option<&'static str> {
    let found = COMMANDS.iter().find(|(name, _)| *name == word);
    found.map(|(_, ours)| *ours)
}

/// What is here in the place of this option, `--daemon` or `-D`, which is none of ours: the end of a sentence, with the value that
/// it was given.
pub(super) fn instead(option: &str, value: Option<&str>) -> Option<String> {
    let (whose, here) = row(option)?;
    let value = value.map_or(String::new(), |value| format!(" {value}"));
    Some(match (is_option(here), whose) {
        (true, "others") => format!("what others call {option} is {here}{value} here"),
        (true, whose) => format!("{whose}'s {option} is {here}{value} here"),
        (false, _) => here.to_owned(),
    })
}

/// Whether that is an option of ours alone, which takes the same.
fn is_option(here: &str) -> bool {
    here.starts_with("--") && !here.contains(' ')
}

/// The key of ours for one of another's file of options, or variable.
pub(super) fn key(word: &str, known: &Known) -> Option<&'static str> {
    let (_, here) = row(&format!("--{word}"))?;
    here.strip_prefix("--")
        .filter(|ours| is_option(here) && known.get(ours).is_some())
}

/// Whose an option is, and what is here for it.
fn row(option: &str) -> Option<(&'static str, &'static str)> {
    rows().find_map(|(names, whose, here)| {
        names
            .split(' ')
            .any(|name| is(name, option))
            .then_some((whose, here))
    })
}

fn is(name: &str, option: &str) -> bool {
    match option.strip_prefix("--") {
        Some(long) => plain(name) == plain(long),
        None => name == option,
    }
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    OPTIONS.lines().filter_map(|line| {
        let mut columns = line.split(" | ");
        Some((columns.next()?, columns.next()?, columns.next()?))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::{COMMANDS, Known, OPTIONS, command, instead, is, plain, rows};
    use crate::cli::Cli;
    use crate::help::Topic;

    #[test]
    fn what_is_named_exists() {
        let ours = Cli::command();
        let known = Known::of(&ours);
        assert_eq!(rows().count(), OPTIONS.lines().count());
        for (names, _, here) in rows() {
            let words = here.split(|sign: char| sign != '-' && !sign.is_ascii_alphanumeric());
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                assert!(known.get(option).is_some(), "{names}: no --{option}");
            }
        }
        for (name, command) in COMMANDS {
            assert!(ours.find_subcommand(command).is_some(), "{name}");
        }
    }

    #[test]
    fn a_name_stands_there_once_and_is_none_of_ours() {
        let ours = Cli::command();
        let door = ours.find_subcommand("fastcgi").unwrap();
        let letters: BTreeSet<String> = door
            .get_arguments()
            .filter_map(clap::Arg::get_short)
            .map(|letter| format!("-{letter}"))
            .collect();
        let mut seen = BTreeSet::new();
        for name in rows().flat_map(|(names, ..)| names.split(' ')) {
            let plain = match name.starts_with('-') {
                true => name.to_owned(),
                false => plain(name),
            };
            assert!(seen.insert(plain), "{name}");
            assert!(!letters.contains(name), "{name}");
        }
        assert!(seen.len() >= 100);
    }

    /// The rows of the topic's tables, each with the heading that it stands under.
    fn topic() -> Vec<(&'static str, Vec<&'static str>, &'static str)> {
        let mut heading = "";
        let mut found = Vec::new();
        for line in Topic::named("coming").unwrap().markdown().lines() {
            heading = line.strip_prefix("## From ").unwrap_or(heading);
            let row = line
                .strip_prefix("| `")
                .and_then(|row| row.split_once(" | "));
            if let Some((names, here)) = row {
                let names = names.split(['`', ',', ' ']).filter(|name| !name.is_empty());
                found.push((heading, names.collect(), here.trim_end_matches(" |")));
            }
        }
        found
    }

    #[test]
    fn the_topic_says_the_same() {
        let ours = Cli::command();
        let known = Known::of(&ours);
        let is_of = |whose: &str, heading: &str| whose == "others" || whose.contains(heading);
        let of_topic = topic();
        assert!(of_topic.len() > 150, "{}", of_topic.len());
        for (heading, names, here) in &of_topic {
            for name in names {
                let same = |known: &str| is(known, name) || is(known, &format!("--{name}"));
                let row = rows().find(|(names, whose, _)| {
                    (is_of(whose, heading) || *heading == "others") && names.split(' ').any(same)
                });
                let options = |text: &'static str| {
                    let words = text.split(|sign: char| sign != '-' && !sign.is_alphanumeric());
                    words
                        .filter(|word| word.starts_with("--"))
                        .collect::<Vec<_>>()
                };
                let told: Vec<&str> = row.map_or(Vec::new(), |(_, _, here)| options(here));
                for option in told {
                    assert!(here.contains(option), "{heading}: {name}: {here}");
                }
                // One of the same name, where the habit is not another.
                if row.is_none() && known.get(name.trim_start_matches('-')).is_some() {
                    let same = format!("--{}", name.trim_start_matches('-'));
                    assert!(here.contains(&same), "{heading}: {name}: {here}");
                }
            }
        }
        for (names, whose, _) in rows() {
            for name in names.split(' ') {
                let has = |(heading, names, _): &(&str, Vec<&str>, &str)| {
                    let is_there = names
                        .iter()
                        .any(|told| is(name, told) || is(name, &format!("--{told}")));
                    is_there
                        && (whose == "others" || whose.contains(heading) || *heading == "others")
                };
                assert!(
                    of_topic.iter().any(has),
                    "{whose}: {name} is not in src/help/coming.md"
                );
            }
        }
    }

    #[test]
    fn habits_are_told_what_is_here() {
        assert_eq!(command("serve"), Some("fastcgi"));
        for (option, value, told) in [
            (
                "--timeout",
                Some("30"),
                "gunicorn's --timeout is --request-timeout 30 here",
            ),
            (
                "--pm.max_children",
                None,
                "php-fpm's --pm.max_children is --workers here",
            ),
            (
                "--unix_socket",
                Some("/a"),
                "what others call --unix_socket is --bind /a here",
            ),
            ("-H", Some("/v"), "uWSGI's -H is --venv /v here"),
            ("-D", None, "it stays in the foreground"),
        ] {
            let found = instead(option, value).unwrap();
            assert!(found.contains(told), "{found}");
        }
        assert_eq!(instead("--zzz", None), None);
    }
}
