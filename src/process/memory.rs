//! Memory that other processes are given by a descriptor.

use std::ffi::CStr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// Makes such memory, of no size yet, which may be sealed and closes on exec. Not by the C library, which knows the call since 2.27
/// only.
///
/// # Errors
/// As memfd_create(2).
pub(super) fn make(name: &CStr) -> nix::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: memfd_create(2) reads the name, which outlives the call, up to its end.
    let made = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) };
    let made = RawFd::try_from(Errno::result(made)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made the descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}
