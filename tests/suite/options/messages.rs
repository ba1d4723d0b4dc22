//! What is said of wrong invocations: a table, run through the real program. Each is one line (and a traceback below it where the
//! application's own code has raised), which names what is wrong and the way out, and has its exit code: 2 for what the operator wrote,
//! 3 for what cannot be loaded, 1 for the rest.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::support::cgi::{Cgi, Output};
use crate::support::gateway::binary;

/// The exit code, the words of the command line, and parts of the line that is said.
const COMMAND_LINES: &str = "
2 | serve hello | 'serve' is no command; did you mean 'fastcgi'?
2 | run hello | 'run' is no command; did you mean 'fastcgi'?
2 | start hello | 'start' is no command; did you mean 'fastcgi'?
2 | chek hello | 'chek' is no command; did you mean 'check'?; cgi, fastcgi, check, explain
2 | fastgci hello | 'fastgci' is no command; did you mean 'fastcgi'?
2 | hello world | 'hello' is no command; give one of
2 | hello:app world | which command is for 'hello:app'; wsgi-gateway fastcgi --bind ADDR hello:app
2 | serve | 'serve' is no command; did you mean 'fastcgi'?
2 | hello | nothing says which door; use 'wsgi-gateway cgi APP'
2 | help chek | 'chek' is no topic and no command; did you mean 'check'?; applications, cgi-scripts; ps, status
2 | help prefix | 'prefix' is no topic and no command; did you mean 'prefixes'?
2 | help zzzz | 'zzzz' is no topic and no command (topics: applications
2 | help prefixes more | 'more' is one word too many
2 | --debug fastcgi hello | options come behind the command; wsgi-gateway fastcgi --debug
2 | --bind /x hello | --bind is an option of 'fastcgi'; wsgi-gateway fastcgi --bind
2 | cgi --bind /x hello | --bind is no option of 'cgi'; leave it out
2 | ps x | 'x' is one word too many; 'ps' takes none
2 | resize many | N; 'many' is no number from 1 to 1000
2 | resize | 'resize' needs N; --help
2 | status --full --json | --full and --json; give one of them
2 | fastcgi --control x hello | --control; 'x' is neither a path such as /run/shop.ctl nor off
2 | fastcgi --metrics x hello | --metrics; 'x' is no address such as 127.0.0.1:9117
2 | stop x --all | NAME and --all; give one of them
2 | completions | 'completions' needs SHELL; --help
2 | completions ksh | 'ksh'; bash
2 | fastcgi | 'fastcgi' needs APP; package.module:attribute
2 | cgi | 'cgi' needs APP; package.module:attribute
2 | check | 'check' needs APP; package.module:attribute
2 | check hello extra | 'extra' is one word too many; 'hello'
2 | check --debug 1 hello | --debug takes no word behind it; --debug=1
2 | check hello --reload yes | --reload takes no word behind it; --reload=yes
2 | check --wrokers 3 hello | no option --wrokers; did you mean --workers?
2 | check --max_body 3 hello | no option --max_body; did you mean --max-body?
2 | check --zzzz hello | no option --zzzz; --help
2 | check -x hello | no option -x; --help
2 | fastcgi --timeout 30 hello | no option --timeout; gunicorn's --timeout is --request-timeout 30 here
2 | fastcgi --timeout=30 hello | no option --timeout; --request-timeout 30
2 | fastcgi --access-logfile - hello | no option --access-logfile; --access-log -
2 | fastcgi --error-logfile e.log hello | no option --error-logfile; --log-file e.log
2 | fastcgi --worker-class gevent hello | no option --worker-class; --threads N
2 | fastcgi --worker-connections 9 hello | no option --worker-connections; --max-connections 9
2 | fastcgi --keep-alive 5 hello | no option --keep-alive; --idle-connection-timeout 5
2 | fastcgi --daemon hello | no option --daemon; leave it out
2 | fastcgi -D hello | no option -D; leave it out
2 | fastcgi --env A=b hello | no option --env; Environment=
2 | fastcgi -n shop hello | no option -n; --name shop
2 | fastcgi --certfile a.pem hello | no option --certfile; the web server
2 | fastcgi --harakiri 20 hello | no option --harakiri; uWSGI's --harakiri is --request-timeout 20 here
2 | fastcgi --processes 4 hello | no option --processes; --workers 4
2 | fastcgi --virtualenv /v hello | no option --virtualenv; --venv /v
2 | fastcgi -H /v hello | no option -H; --venv /v
2 | fastcgi --socket /a.sock hello | no option --socket; --bind /a.sock
2 | fastcgi -s /a.sock hello | no option -s; --bind /a.sock
2 | fastcgi --chmod-socket 660 hello | no option --chmod-socket; --socket-mode 660
2 | fastcgi --pidfile a.pid hello | no option --pidfile; --pid a.pid
2 | fastcgi --touch-reload f hello | no option --touch-reload; SIGHUP
2 | fastcgi --reload-on-rss 200M hello | no option --reload-on-rss; --max-rss 200M
2 | fastcgi --stats /a hello | no option --stats; 'wsgi-gateway status'
2 | fastcgi --uid www-data hello | no option --uid; --user www-data
2 | fastcgi --gid www-data hello | no option --gid; --group www-data
2 | fastcgi --http :80 hello | no option --http; --bind
2 | fastcgi --ini u.ini hello | no option --ini; --config
2 | fastcgi --module hello | no option --module; wsgi-gateway fastcgi
2 | fastcgi --master hello | no option --master; leave it out
2 | fastcgi --cheaper 2 hello | no option --cheaper; --min-workers 2
2 | fastcgi --pm.max_children 5 hello | no option --pm.max_children; php-fpm's; --workers 5
2 | fastcgi --request_terminate_timeout 9s hello | no option --request_terminate_timeout; --request-timeout 9s
2 | fastcgi --maximum-requests 9 hello | no option --maximum-requests; --max-requests 9
2 | fastcgi --host 0.0.0.0 hello | no option --host; --bind HOST:PORT
2 | fastcgi --port 80 hello | no option --port; --bind HOST:PORT
2 | fastcgi --factory hello | no option --factory; package.module:factory()
2 | fastcgi --bind | --bind needs a value; --bind ADDR
2 | fastcgi hello -b | --bind needs a value; --bind ADDR
2 | check --workers -1 hello | --workers; '-1' is no number from 1 to 1000
2 | check -w -1 hello | --workers; '-1' is no number from 1 to 1000
2 | check --workers 0 hello | --workers; '0' is no number from 1 to 1000
2 | check --workers 99999999999 hello | --workers; '99999999999' is no number from 1 to 1000
2 | check -w many hello | --workers; 'many' is no number from 1 to 1000
2 | check --threads 1.5 hello | --threads; '1.5' is no number from 1 to 512
2 | check --workers 2 --workers 0 hello | --workers; '0' is no number from 1 to 1000
2 | check --max-requests 0 hello | --max-requests; '0'; leave the option out
2 | check --max-requests x hello | --max-requests; 'x' is no number such as 1000
2 | check -t 30x hello | --request-timeout; '30x' is no duration such as 10s
2 | check --request-timeout 0 hello | --request-timeout; '0'; leave the option out
2 | check --io-timeout 9000h hello | --io-timeout; '9000h' is more than a year; leave the option out
2 | check --max-body 10X hello | --max-body; '10X' is no size such as 65536, 64K
2 | check --max-body -5 hello | --max-body; '-5' is no size such as 65536, 64K
2 | check --umask 999 hello | --umask; '999' is no mode such as 0022
2 | check --socket-mode rw hello | --socket-mode; 'rw' is no mode such as 0660
2 | check --log-level loud hello | --log-level; 'loud' is no level; give error, warn
2 | check --log-format xml hello | --log-format; 'xml'; give text
2 | check --worker-output html hello | --worker-output; 'html'; give tagged or raw
2 | check --debug=maybe hello | --debug; 'maybe' is neither 1, true, yes or on
2 | check --mount shop hello | --mount; 'shop'; /shop
2 | check --mount /a --script-name /b hello | --mount (command line); --script-name; alone
2 | check --python python3 --venv /v hello | --python (command line); --venv; give one of them
2 | check -w 2 --min-workers 3 hello | --min-workers 3 (command line); --workers 2 (command line); lower the one
2 | check --max-requests-jitter 3 hello | --max-requests-jitter 3 (command line); give --max-requests too
2 | check --chdir -x hello | --chdir needs a value; --chdir=-x
2 | check --config /nowhere.toml hello | /nowhere.toml of --config; No such file; leave it out
2 | check -c site.toml --chdir lib hello | lib/site.toml of --config; (seen from --chdir lib); correct its name
2 | check --allow 300.0.0.1 hello | --allow (command line); '300.0.0.1'; 192.0.2.1
2 | check --bind 9000 hello | --bind (command line); '9000' is a port alone; write :9000
2 | check --bind h:70000 hello | '70000' is no port in 'h:70000'; from 1 to 65535
2 | check --bind a.sock hello | 'a.sock' is no address; give unix:/path
2 | check --bind http://h:80 hello | 'http://h:80' is no address; give unix:/path
2 | check -b /a -b unix:/a hello | unix:/a is given twice; leave one of them out
2 | check hello:app:x | 'hello:app:x' names no application; give package.module:attribute
2 | check a-b | 'a-b' names no application; give package.module:attribute
2 | fastcgi hello | nothing says where to listen; give --bind ADDR
2 | fastcgi --bind fd:9 hello | descriptor 9 is not a listening socket; it has to be opened by who starts the gateway
2 | fastcgi --bind systemd hello | LISTEN_FDS is not set; start it by its .socket unit
2 | fastcgi -b /nowhere/a.sock hello | unix:/nowhere/a.sock; its folder /nowhere is not there: make it, or choose another path
2 | fastcgi -b {dir}/site.toml hello | site.toml; something else than a socket; choose another path
2 | fastcgi -b {dir}/a.sock hello:app:x | 'hello:app:x' names no application; give package.module:attribute
2 | fastcgi -b {dir}/a.sock --max-open-files 10 hello | 10 is too few for --max-open-files (command line); at least 64
2 | fastcgi -b {dir}/a.sock -u no-such-user hello | 'no-such-user'; leave it out
2 | fastcgi -b {dir}/a.sock -g no-such-group hello | 'no-such-group'; leave it out
2 | fastcgi -b {dir}/a.sock --socket-group no-such-group hello | 'no-such-group'; leave it out
2 | fastcgi -b {dir}/a.sock --chdir /nowhere hello | /nowhere of --chdir (command line); choose another
2 | fastcgi -b {dir}/b.sock -p /nowhere/a.pid hello | '/nowhere/a.pid' of --pid (command line); choose another
2 | fastcgi -b {dir}/a.sock --log-file /nowhere/a.log hello | '/nowhere/a.log' of --log-file (command line); choose another
1 | fastcgi -b 192.0.2.1:9000 hello | tcp:192.0.2.1:9000; this machine has no such address; :port for all
";

/// What one variable says, and parts of the line about it.
const VARIABLES: &str = "
WORKERS=0 | variable WSGI_GATEWAY_WORKERS; '0' is no number from 1 to 1000; unset it
MAX_BODY=10X | variable WSGI_GATEWAY_MAX_BODY; '10X' is no size; unset it
LOG_LEVEL=loud | variable WSGI_GATEWAY_LOG_LEVEL; 'loud' is no level
UMASK=x | variable WSGI_GATEWAY_UMASK; 'x' is no mode such as 0022
BIND=9000 | --bind (environment variable WSGI_GATEWAY_BIND); write :9000
CONFIG=/nowhere.toml | /nowhere.toml of --config; No such file; leave it out
";

/// What the file of options says, and parts of the line about it.
const FILES: &str = "
workers = 0 | line 1; for workers; '0' is no number from 1 to 1000; leave the line out
wrokers = 3 | line 1; 'wrokers'; did you mean 'workers'?
timeout = 30 | line 1; 'timeout'; did you mean 'request-timeout'?
processes = 4 | line 1; 'processes'; did you mean 'workers'?
pm.max_children = 5 | line 1; 'pm.max_children'; did you mean 'workers'?
chmod-socket = '660' | line 1; 'chmod-socket'; did you mean 'socket-mode'?
[uwsgi] | line 1; 'uwsgi'; at the top
threads = [1, 2] | line 1; threads; one value
config = 'a.toml' | line 1; another file
threads =  | line 1; is not TOML
bind = ['/a', '/a'] | unix:/a is given twice; leave one of them out
";

/// The exit code, the words of the command line, and parts of the line about an application that cannot be loaded.
const APPLICATIONS: &str = "
3 | check no_such_module | no module named 'no_such_module'; --pythonpath
3 | check lib.nothing | no module named 'lib.nothing'; --pythonpath
3 | check nothing.py | 'nothing.py' cannot be read; No such file
3 | check factory:create_app | 'create_app' of module 'factory' takes no environ and start_response; write 'factory:create_app()'
3 | check factory.py:create_app | write 'factory.py:create_app()'
3 | check factory:one | 'one' of module 'factory' takes 1 argument; two, environ and start_response
3 | check factory:Site.page | takes 3 arguments; two, environ and start_response
3 | check factory | has neither 'application' nor 'app'; 'create_app' looks like a factory; 'factory:create_app()'
3 | check names | has neither 'application' nor 'app'; it has 'shop'; name the attribute behind a colon
3 | check names:shpo | no attribute 'shpo'; it has 'shop'
3 | check names:VERSION | it is of type 'int', which cannot be called
3 | check asgi | asynchronous (ASGI); a2wsgi
3 | check exits | called os._exit(0) while it was loaded; take that out
3 | check exits_three | called os._exit(3) while it was loaded; take that out
3 | check syntax | importing 'syntax' raised SyntaxError
3 | check raises | importing 'raises' raised ValueError; no luck
3 | check raises:make() | raised ValueError; no luck
3 | check needs | No module named 'not_installed'; a virtual environment is in {dir}/env; --venv {dir}/env
3 | check hiding/colorsys.py | cannot import name; {dir}/hiding/colorsys.py hides the module 'colorsys'; rename it
3 | check --chdir hiding hidden | cannot import name; {dir}/hiding/colorsys.py hides the module 'colorsys'; rename it
3 | check --venv /nowhere hello | no virtual environment /nowhere; --venv
3 | check --python /nowhere/python3 hello | /nowhere/python3; name another with --python
3 | fastcgi -w 1 -b {dir}/c.sock exits | called os._exit(0) while it was loaded; take that out
3 | fastcgi -w 1 -b {dir}/d.sock exits_three --preload | called os._exit(3) while it was loaded; take that out
3 | fastcgi -w 1 -b {dir}/e.sock syntax | importing 'syntax' raised SyntaxError
3 | fastcgi -w 1 -b {dir}/f.sock no_such_module --preload | no module named 'no_such_module'; --pythonpath
3 | fastcgi -w 1 -b {dir}/g.sock factory:create_app | write 'factory:create_app()'
";

/// Files by their names, and what stands in them.
const SITE: [(&str, &str); 15] = [
    (
        "hello.py",
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\napp = application\n",
    ),
    ("lib/__init__.py", ""),
    ("site.toml", "threads = 1\n"),
    (
        "factory.py",
        "from textwrap import dedent\ndef create_app(): pass\ndef create_site(config=None, debug=False): pass\ndef one(environ): pass\nclass Site:\n    def page(self, environ, start_response): pass\n",
    ),
    (
        "names.py",
        "from textwrap import dedent, indent\nVERSION = 1\ndef shop(environ, start_response): pass\n",
    ),
    (
        "asgi.py",
        "async def application(scope, receive, send): pass\n",
    ),
    ("exits.py", "import os\nos._exit(0)\n"),
    ("exits_three.py", "import os\nos._exit(3)\n"),
    ("syntax.py", "def application(environ start_response):\n"),
    ("raises.py", "raise ValueError('no luck')\n"),
    ("needs.py", "import not_installed\n"),
    ("env/pyvenv.cfg", "home = /usr/bin\n"),
    ("hiding/colorsys.py", "from colorsys import rgb_to_hsv\n"),
    ("hiding/hidden.py", "import colorsys\n"),
    // What is no mistake, however it looks.
    (
        "fine.py",
        "\
import functools
class Instance:
    def __call__(self, environ, start_response): pass
class Old:
    def __init__(self, environ, start_response): pass
class Methods:
    def page(self, environ, start_response): pass
    @staticmethod
    def static(environ, start_response): pass
    @classmethod
    def of_class(cls, environ, start_response): pass
def plain(environ, start_response, more=None): pass
def any_number(*args): pass
def all_kinds(*args, **kwargs): pass
def named(environ, start_response, *, debug=False): pass
def three(site, environ, start_response): pass
def wrapper(function):
    @functools.wraps(function)
    def inner(*args, **kwargs): return function(*args, **kwargs)
    return inner
@wrapper
def create_app(): pass
instance = Instance()
method = Methods().page
partial = functools.partial(three, None)
cached = functools.lru_cache(plain)
in_c = zip
shorter = lambda *rest: None
",
    ),
];

struct Site(TempDir);

impl Site {
    fn new() -> Site {
        let folder = TempDir::with_prefix("wsgi-gateway-messages-").unwrap();
        for (name, text) in SITE {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Site(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{dir}", self.path().to_str().unwrap())
    }

    fn run(&self, words: &str) -> Cgi {
        let words = self.fill(words);
        let words: Vec<&str> = words.split(' ').collect();
        Cgi::bare("")
            .program(binary())
            .words(&words)
            .env("PATH", "/usr/bin:/bin")
            .cwd(self.path())
    }
}

/// What is wrong with what was said.
fn faults(output: &Output, code: &str, parts: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut lines: Vec<&str> = output.stderr.lines().collect();
    // The tests are run as root in containers.
    lines.retain(|line| !line.contains("the application runs as root"));
    let line = lines.first().copied().unwrap_or_default();
    if output.code.to_string() != code {
        faults.push(format!("exit code {} and not {code}", output.code));
    }
    if !output.stdout.is_empty() {
        faults.push("something on standard output".to_owned());
    }
    let is_of_traceback = |line: &&str| {
        line.starts_with(' ') || line.starts_with("Traceback") || line.contains("Error: ")
    };
    if line.is_empty() || !lines[1..].iter().all(is_of_traceback) {
        faults.push(format!("{} lines", lines.len()));
    }
    let is_ours = line.contains("wsgi-gateway: error: ") || line.contains("] error: ");
    if !is_ours || output.stderr.contains("tip:") || output.stderr.contains("Usage:") {
        faults.push("no line of ours".to_owned());
    }
    for part in parts.split("; ") {
        if !line.contains(part.trim()) {
            faults.push(format!("no {part:?}"));
        }
    }
    faults
}

/// Does something with all of these, as many at a time as there are processors; gives what it says of each.
fn each<T: Sync>(all: &[T], work: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (next, said) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let go_on = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            said.lock().unwrap().extend(work(one));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(go_on);
        }
    });
    said.into_inner().unwrap()
}

/// Runs all rows of a table; gives how many there are.
fn try_all(table: &str, run: impl Fn(&str) -> Output + Sync, site: &Site) -> usize {
    let rows: Vec<&str> = table.trim().lines().collect();
    let wrong = each(&rows, |row| {
        let (asked, parts) = row.rsplit_once(" | ").unwrap();
        let (code, told) = asked.split_once(" | ").unwrap_or(("2", asked));
        let output = run(told);
        let faults = faults(&output, code, &site.fill(parts));
        (!faults.is_empty())
            .then(|| format!("{told}: {}\n    {}", faults.join(", "), output.stderr))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    rows.len()
}

#[test]
fn wrong_invocations_are_told_in_one_line() {
    let site = Site::new();
    let mut count = try_all(COMMAND_LINES, |words| site.run(words).run(), &site);
    count += try_all(
        VARIABLES,
        |variable| {
            let (name, value) = variable.split_once('=').unwrap();
            let name = format!("WSGI_GATEWAY_{name}");
            site.run("check hello").env(name, value).run()
        },
        &site,
    );
    count += try_all(
        FILES,
        |text| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, text).unwrap();
            let run = site.run("check hello");
            run.env("WSGI_GATEWAY_CONFIG", file.path()).run()
        },
        &site,
    );
    count += try_all(APPLICATIONS, |words| site.run(words).run(), &site);
    assert!(count >= 111, "{count}");
}

#[test]
fn what_only_looks_wrong_is_loaded() {
    let site = Site::new();
    let names = [
        "instance",
        "Old",
        "method",
        "Methods.static",
        "Methods.of_class",
        "plain",
        "any_number",
        "all_kinds",
        "named",
        "create_app",
        "partial",
        "cached",
        "in_c",
        "shorter",
    ];
    let wrong = each(&names, |name| {
        let output = site.run(&format!("check fine:{name}")).run();
        let is_well = output.code == 0 && output.stderr.is_empty();
        (!is_well).then(|| format!("{name}: {}", output.stderr))
    });
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// As their habits are, where that contradicts nothing here.
#[test]
fn what_others_write_is_understood() {
    let site = Site::new();
    let rows = [
        ("check -w 3 --workers 4 hello", "  workers  ", "4"),
        ("check -w3 hello", "  workers  ", "3"),
        ("check -b :9000 -b /a hello", "  bind  ", ":9000 /a"),
        ("check -c site.toml hello", "  config  ", "site.toml"),
        ("check -t 30 hello", "  request-timeout  ", "30"),
        ("check -u 0 -g 0 hello", "  user  ", "0"),
        ("check -p a.pid hello", "  pid  ", "a.pid"),
        ("check --max-body 10MB hello", "  max-body  ", "10MB"),
        ("check --max-rss=1GiB hello", "  max-rss  ", "1GiB"),
        (
            "check --log-level warning hello",
            "  log-level  ",
            "warning",
        ),
        (
            "check --log-level CRITICAL hello",
            "  log-level  ",
            "CRITICAL",
        ),
    ];
    let wrong = each(&rows, |(words, key, value)| {
        let output = site.run(words).run();
        let text = output.text();
        let line = text
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default();
        let is_told = line[key.len().min(line.len())..]
            .trim_start()
            .starts_with(value);
        (output.code != 0 || !is_told).then(|| format!("{words}: {output:#?}"))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_warning_is_one_line_and_no_end() {
    let site = Site::new();
    for (words, parts) in [
        (
            "check --pythonpath /nowhere hello",
            &["no folder /nowhere of --pythonpath", "leave it out"][..],
        ),
        (
            "check factory:create_site",
            &[
                "'create_site' of module 'factory'",
                "'factory:create_site()'",
            ],
        ),
    ] {
        let output = site.run(words).run();
        assert_eq!(output.code, 0, "{output:#?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:#?}");
        for part in parts {
            assert!(output.stderr.contains(part), "no {part:?}: {output:#?}");
        }
    }
}

/// By whom an address is taken, and without a wait for who is not going to leave.
#[test]
fn who_has_the_address_is_named() {
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let path = site.path().join("taken.sock");
    let _unix = UnixListener::bind(&path).unwrap();
    let own = format!("process {}", std::process::id());
    for (address, what) in [
        (format!("127.0.0.1:{port}"), "port"),
        (format!(":{port}"), "port"),
        (path.display().to_string(), "path"),
    ] {
        let output = site.run(&format!("fastcgi -b {address} hello")).run();
        let parts = format!("{own}; already listens there; stop it or choose another {what}");
        assert_eq!(faults(&output, "1", &parts), [""; 0], "{output:#?}");
    }
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let words = format!("fastcgi -b {free} -b localhost:{} hello", free.port());
    let output = site.run(&words).run();
    assert_eq!(
        faults(&output, "2", "given twice; leave one of them out"),
        [""; 0]
    );
}

#[test]
fn a_folder_that_is_closed_for_the_user_is_named() {
    if !geteuid().is_root() {
        return;
    }
    let site = Site::new();
    std::fs::set_permissions(site.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let closed = site.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::copy(site.path().join("hello.py"), closed.join("shut.py")).unwrap();
    for mode in [0o700, 0o711] {
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = site.run("fastcgi -w 1 -u nobody -b {dir}/a.sock --pythonpath closed shut");
        let parts =
            "user 'nobody' may not; {dir}/closed; chmod o+rx; or have another user run this";
        let output = output.run();
        let parts = match mode {
            0o700 => parts.replace("chmod o+rx", "chmod o+"),
            _ => parts.to_owned(),
        };
        assert_eq!(
            faults(&output, "3", &site.fill(&parts)),
            [""; 0],
            "{output:#?}"
        );
    }
}

/// `check APP | head -1`.
#[test]
fn who_has_read_enough_is_not_told_of_it() {
    let site = Site::new();
    let mut running = site.run("check hello").spawn();
    running.leave();
    let output = running.finish();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

#[test]
fn help_is_as_long_as_it_is_asked_for() {
    let site = Site::new();
    let bare = Cgi::bare("").program(binary()).run();
    assert_eq!((bare.code, bare.stdout.len()), (2, 0), "{bare:#?}");
    assert_eq!(bare.stderr.lines().count(), 12, "{bare:#?}");
    let texts = [
        "fastcgi -h",
        "fastcgi --help",
        "--version",
        "completions bash",
    ]
    .map(|words| {
        let output = site.run(words).run();
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{words}");
        output.text()
    });
    let [short, long, version, completions] = texts;
    let is_option = |line: &&str| line.starts_with("  -") || line.starts_with("      --");
    let options = |text: &str| text.lines().filter(is_option).count();
    // With -h itself.
    assert_eq!(options(&short), 11, "{short}");
    assert!(short.contains("--help' has all"), "{short}");
    assert!(
        options(&long) > 40 && long.contains("\nLimits of requests:\n"),
        "{long}"
    );
    let numbers = concat!("wsgi-gateway ", env!("CARGO_PKG_VERSION"));
    assert!(
        version.starts_with(numbers) && version.contains("cores for Python 3."),
        "{version}"
    );
    assert!(
        completions.contains("complete -F _wsgi__gateway"),
        "{completions}"
    );
    let folder = site.path().join("manual");
    let output = site.run("manual {dir}/manual").run();
    assert_eq!(
        (output.code, output.text().as_str()),
        (0, ""),
        "{output:#?}"
    );
    let page = std::fs::read_to_string(folder.join("wsgi-gateway-fastcgi.1")).unwrap();
    assert!(page.contains("\\-\\-workers"), "{page}");
    assert!(folder.join("_wsgi-gateway").is_file());
}
