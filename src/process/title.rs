//! What `ps` shows for a process.

use std::fs;

/// Names this process in the place where its command line was, as far as there is room. The command line must have been
/// read, and this process must have one thread.
pub fn set_title(title: &str) {
    let Some((start, end)) = arguments() else {
        return;
    };
    let room = end.saturating_sub(start);
    if room < 2 {
        return;
    }
    let used = title.len().min(room - 1);
    // SAFETY: the kernel says that the arguments of this process lie there; they are writable memory of the first stack,
    // and nobody reads them any more. The last byte stays 0, so that who does read finds an end.
    unsafe {
        let at = std::ptr::with_exposed_provenance_mut::<u8>(start);
        std::ptr::copy_nonoverlapping(title.as_ptr(), at, used);
        std::ptr::write_bytes(at.add(used), 0, room - used);
    }
}

/// Where the arguments begin and end: fields 48 and 49 of /proc/self/stat (proc_pid_stat(5)).
fn arguments() -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let start = fields.nth(45)?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    Some((start, end))
}
