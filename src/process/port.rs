//! How a TCP port is closed without resetting anybody.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// Has the kernel ignore whoever begins to connect to this listening socket from now on, through whichever process's
/// descriptor; those that are being let in still come in. So the socket can be closed once nobody waits at it: without this,
/// whoever connects between the last accept(2) and the close is let in and then reset. Who is ignored tries again
/// after a second, and is refused then, as the port is closed.
///
/// # Errors
/// When the kernel does not take the filter.
pub(super) fn ignore_new(listener: BorrowedFd<'_>) -> nix::Result<()> {
    /// Where the flags are in a TCP header (RFC 9293 section 3.1), and two of them.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let step = |code: u32, jump_if_not: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: jump_if_not,
        k,
    };
    // In the words of bpf(4): drop a SYN that is no answer, take everything else.
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, FLAGS),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, SYN | ACK),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, SYN),
        step(libc::BPF_RET | libc::BPF_K, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap_or_default(),
        filter: filter.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or_default();
    // SAFETY: the kernel reads `length` bytes of `program`, and as many steps as that says, which both live until after
    // the call; it copies them.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    nix::errno::Errno::result(set).map(drop)
}
