//! Other processes as the kernel shows them in /proc: who has forked whom, what they are called and what they use.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What `ps` shows: the words of the command line, or the title that a process has given itself. Empty when it has ended.
pub(crate) fn title(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&words);
    text.split('\0')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The fields of /proc/PID/stat behind the name, which may hold anything: the state is the first of them.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Whether the process runs: one that has ended and was not waited for does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// The processes whose parent this one is, those too that have ended and were not waited for.
/// Without the one that answers at the control socket: it is no part of the serving.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let mut found = all_children(parent);
    found.retain(|pid| !title(*pid).starts_with(OBSERVER));
    found
}

/// What the title of the process begins with that answers at the control socket.
const OBSERVER: &str = "wsgi-gateway: control socket";

/// That process of a gateway, if it has one.
pub(crate) fn observer(gateway: u32) -> Option<u32> {
    let mut all = all_children(gateway).into_iter();
    all.find(|pid| title(*pid).starts_with(OBSERVER))
}

fn all_children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    let mut found: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == parent.to_string()))
        .collect();
    found.sort_unstable();
    found
}

/// Those of its children that have ended and were not waited for.
pub(crate) fn zombies(parent: u32) -> Vec<u32> {
    let mut found = children(parent);
    found.retain(|pid| stat(*pid).is_some_and(|fields| fields[0] == "Z"));
    found
}

/// Processor time of the process itself in ticks.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let fields = stat(pid).expect("the process is there");
    // utime and stime are fields 14 and 15 (proc_pid_stat(5)); ours begin with the third.
    fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum()
}

/// For how long the process sleeps in poll(2) unless something happens, in milliseconds; nothing while it does anything else.
pub(crate) fn sleeps_for(pid: u32) -> Option<u64> {
    // proc_pid_syscall(5): the number of the call and its arguments, or "running". poll(2) has its time in the third.
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = call.split_whitespace();
    let is_poll = words.next()?.parse() == Ok(nix::libc::SYS_poll);
    let time = words.nth(2).filter(|_| is_poll)?;
    u64::from_str_radix(time.strip_prefix("0x")?, 16).ok()
}

/// A line of /proc/PID/status, without its name; nothing when the process has ended.
pub(crate) fn status(pid: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.strip_prefix(':')?.trim().to_owned())
}

/// A figure of /proc/PID/status that is in KiB.
pub(crate) fn status_kib(pid: u32, field: &str) -> Option<u64> {
    status(pid, field)?.split_whitespace().next()?.parse().ok()
}

/// Sends a signal, to a process that may have ended meanwhile.
pub(crate) fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}

/// Memory that the process uses in KiB, each page that several share counted in parts (Pss of /proc/PID/smaps_rollup).
pub(crate) fn share_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:"));
    let figure = line.and_then(|line| line.split_whitespace().nth(1));
    figure.unwrap().parse().unwrap()
}
