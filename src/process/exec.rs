//! What another program of ours is started with: descriptors that it inherits, and where it reads which is which.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, SealFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{self, SigSet, SigmaskHow};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, execv, execve, setsid};

use super::forks;
use super::memory;
use super::signals;

/// The most bytes of a text that is passed on.
const MOST: u64 = 16 << 20;

/// Has the program that takes this process's place inherit the descriptor; gives its number.
///
/// # Errors
/// When it is none.
pub fn leave_open(fd: impl AsFd) -> io::Result<RawFd> {
    let fd = fd.as_fd();
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(fd.as_raw_fd())
}

/// Takes a descriptor that this process has inherited by its number; it closes on exec from here on.
///
/// # Errors
/// When there is none of this number.
///
/// # Safety
/// Nobody else in this process may have it for his own.
pub unsafe fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(nix::Error::EBADF.into());
    }
    // SAFETY: only looked at until it is known that there is one.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and the caller says that it is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts a text where a program that inherits the descriptor reads it, and where nobody can change it.
///
/// # Errors
/// When the kernel has no memory or descriptors left.
pub fn seal(text: &[u8]) -> io::Result<OwnedFd> {
    let mut file: File = memory::make(c"wsgi-gateway settings")?.into();
    file.write_all(text)?;
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Reads such a text.
///
/// # Errors
/// When the descriptor leads to something else.
pub fn unseal(sealed: OwnedFd) -> io::Result<Vec<u8>> {
    let seals = fcntl(&sealed, FcntlArg::F_GET_SEALS)?;
    if seals & SealFlag::F_SEAL_WRITE.bits() == 0 {
        return Err(nix::Error::EINVAL.into());
    }
    let file = File::from(sealed);
    let mut text = Vec::new();
    // By its place and not from where the descriptor is: a wrapper that starts Python twice may have read it already.
    FromStart(&file, 0).take(MOST).read_to_end(&mut text)?;
    Ok(text)
}

struct FromStart<'a>(&'a File, u64);

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let count = self.0.read_at(buffer, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

/// Becomes another program, with these words behind its name. Signals that are the master's business wait until that program
/// takes them: their defaults would end it.
///
/// Returns only the reason why that cannot be done.
pub fn become_program(program: &Path, words: &[&OsStr]) -> io::Error {
    let word = |word: &OsStr| CString::new(word.as_bytes());
    let words = std::iter::once(program.as_os_str())
        .chain(words.iter().copied())
        .map(word)
        .collect::<Result<Vec<_>, _>>();
    let (program, words) = match (word(program.as_os_str()), words) {
        (Ok(program), Ok(words)) => (program, words),
        (Err(error), _) | (_, Err(error)) => return error.into(),
    };
    let waiting: SigSet = signals::PASSING.into_iter().collect();
    let _ = signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&waiting), None);
    let Err(error) = execv(&program, &words);
    let _ = signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&waiting), None);
    error.into()
}

/// Runs `child` in a process of its own, with what it returns as its exit code, and waits for its end: minus the signal that
/// ended it.
///
/// # Errors
/// When there can be no more processes.
///
/// # Safety
/// This process must have a single thread.
pub unsafe fn in_child(child: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the caller has one thread, so that nothing is held by another in the child.
    let pid = match unsafe { forks::fork() }? {
        ForkResult::Child => signals::end_at_once(child()),
        ForkResult::Parent { child } => child,
    };
    loop {
        match nix::sys::wait::waitpid(pid, None) {
            Ok(nix::sys::wait::WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(nix::sys::wait::WaitStatus::Signaled(_, signal, _)) => {
                return Ok(-(signal as i32));
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts a program that outlives this one and whoever has started it: in a session of its own, with `input` as its standard input and
/// `output` as the other two, and of all other descriptors with `kept` alone, under their numbers.
///
/// # Errors
/// When there can be no more processes. One that cannot be executed says so in `output`.
///
/// # Safety
/// This process must have a single thread.
pub unsafe fn start_detached(
    program: &Path,
    words: &[&OsStr],
    variables: &[CString],
    input: &OwnedFd,
    output: &OwnedFd,
    kept: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let word = |word: &OsStr| CString::new(word.as_bytes());
    let file = word(program.as_os_str())?;
    let words = std::iter::once(program.as_os_str()).chain(words.iter().copied());
    let words: Vec<CString> = words.map(word).collect::<Result<_, _>>()?;
    // SAFETY: as the caller says, there is one thread, so that nothing is held by another in the child.
    if let ForkResult::Parent { .. } = unsafe { forks::fork() }? {
        return Ok(());
    }
    let begun = || -> io::Result<()> {
        setsid()?;
        dup2_stdin(input)?;
        dup2_stdout(output)?;
        dup2_stderr(output)?;
        close_others_on_exec()?;
        for kept in kept {
            leave_open(kept)?;
        }
        // It is for one request that a web server limits the time of the processor (RLimitCPU), and not for a life.
        let (_, most) = getrlimit(Resource::RLIMIT_CPU)?;
        setrlimit(Resource::RLIMIT_CPU, most, most)?;
        Ok(())
    };
    let error = match begun() {
        Ok(()) => match execve(&file, &words, variables) {
            Ok(never) => match never {},
            Err(error) => error.into(),
        },
        Err(error) => error,
    };
    let _ = writeln!(
        io::stderr(),
        "{} cannot be started: {error}",
        program.display()
    );
    signals::end_at_once(127)
}

/// Has no program that takes this process's place inherit anything but the three standard descriptors.
fn close_others_on_exec() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        if let Some(number) = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .filter(|it| *it > 2)
        {
            // SAFETY: only a flag of it is set; one that was closed meanwhile is an error and no harm.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
    }
    Ok(())
}

/// What to say where the program that was to load this one's core has ended, in this way, without having done that.
pub fn never_began(how: &str) -> String {
    format!(
        "Python has ended {how} before it came to load the gateway's core; what it says above is the reason, or its environment \
         (PYTHONHOME, a sitecustomize.py, a wrapper script)"
    )
}

/// What to say where the application has ended the process that loaded it, with this exit code.
pub fn ended_itself(code: i32) -> String {
    format!(
        "the application, or a library that it imports, called os._exit({code}) while it was loaded: take that out of what is \
         imported"
    )
}

/// Whether this process may execute the file, as far as its user and group decide that.
pub fn may_execute(file: &Path) -> bool {
    use nix::fcntl::AtFlags;
    use nix::unistd::{AccessFlags, faccessat};
    let at = nix::fcntl::AT_FDCWD;
    file.is_file() && faccessat(at, file, AccessFlags::X_OK, AtFlags::AT_EACCESS).is_ok()
}

/// A pipe: where it is read and where it is written; neither waits.
///
/// # Errors
/// When there are no descriptors left.
pub fn pipe() -> io::Result<(File, File)> {
    let (from, to) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok((from.into(), to.into()))
}
