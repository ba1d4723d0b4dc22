//! Who listens at an address that is taken: for the sentence about it, and to know whether it is worth a wait.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process that listens, as far as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressHolder {
    /// Nothing where it is another user's, or in another container.
    pid: Option<i32>,
    /// Whether it may be about to go: a gateway, or one that is gone already.
    may_go: bool,
}

impl AddressHolder {
    /// The process of this number.
    pub(super) fn of_pid(pid: i32) -> Self {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Self {
            pid: Some(pid),
            may_go: words.is_empty() || is_gateway(&words),
        }
    }

    /// One of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self {
            pid: None,
            may_go: true,
        }
    }

    /// Who listens on this port, at this address or at all.
    pub(super) fn of_port(place: SocketAddr) -> Self {
        let sockets: Vec<ListeningPort> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| {
                table
                    .lines()
                    .filter_map(ListeningPort::read)
                    .collect::<Vec<_>>()
            })
            .filter(|socket| socket.is_in_the_way_of(place))
            .collect();
        let found = sockets.iter().find_map(|socket| socket.process());
        if let Some(pid) = found {
            return Self::of_pid(pid);
        }
        let own = fs::metadata("/proc/self").map(|found| found.uid());
        // Root would see it, and a gateway of this user's could be seen by him.
        let is_others =
            own.is_ok_and(|own| own != 0 && sockets.iter().all(|socket| socket.uid != own));
        Self {
            pid: None,
            may_go: !is_others,
        }
    }

    /// Whether it is this process itself.
    pub(super) fn is_self(&self) -> bool {
        self.pid
            .is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id()))
    }

    /// Whether it is worth a wait.
    pub(super) fn may_go(&self) -> bool {
        self.may_go
    }
}

impl std::fmt::Display for AddressHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(pid) = self.pid else {
            return f.write_str("another process");
        };
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // A worker is Python to the kernel.
        let name = match is_gateway(&words) {
            true => "wsgi-gateway".to_owned(),
            false => fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default(),
        };
        match name.trim_end() {
            "" => write!(f, "process {pid}"),
            name => write!(f, "process {pid} ({name})"),
        }
    }
}

/// Whether a command line, or the title in its place, is a gateway's.
fn is_gateway(words: &[u8]) -> bool {
    let word = words.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(b"wsgi-gateway")
}

/// A line of /proc/net/tcp or tcp6 (proc_net(5)) of a socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct ListeningPort {
    address: IpAddr,
    port: u16,
    uid: u32,
    inode: u64,
}

impl ListeningPort {
    fn read(line: &str) -> Option<Self> {
        /// TCP_LISTEN.
        const LISTENS: &str = "0A";
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state) = (fields.get(1)?, fields.get(3)?);
        if *state != LISTENS {
            return None;
        }
        let (address, port) = local.split_once(':')?;
        Some(Self {
            address: address_of(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            uid: fields.get(7)?.parse().ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    }

    fn is_in_the_way_of(&self, place: SocketAddr) -> bool {
        let (own, other) = (self.address.to_canonical(), place.ip().to_canonical());
        let is_any = own.is_unspecified() || other.is_unspecified();
        self.port == place.port() && (is_any || own == other)
    }

    /// The process that has it open, of those whose files this one may see.
    fn process(&self) -> Option<i32> {
        let name = format!("socket:[{}]", self.inode);
        let is_it =
            |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|to| to == Path::new(&name));
        fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
            let pid: i32 = process.file_name().to_str()?.parse().ok()?;
            let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
            files.any(is_it).then_some(pid)
        })
    }
}

/// An address as the kernel shows it: words of 32 bits in the machine's own order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let words: Option<Vec<[u8; 4]>> = (0..hex.len() / 8)
        .map(|at| {
            u32::from_str_radix(hex.get(8 * at..8 * at + 8)?, 16)
                .ok()
                .map(u32::to_ne_bytes)
        })
        .collect();
    let bytes = words?.concat();
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{AddressHolder, ListeningPort, is_gateway};

    #[test]
    fn a_port_of_this_process_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let holder = AddressHolder::of_port(place);
        assert!(holder.is_self() && holder.to_string().contains(&std::process::id().to_string()));
        let any = ([0, 0, 0, 0], place.port()).into();
        assert!(AddressHolder::of_port(any).is_self());
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = "   0: 0100007F:46A3 00000000:0000 0A 00000000:00000000 00:00000000 00000000  33  0 4711 1 0 100 0 0 10 0";
        let socket = ListeningPort::read(line).unwrap();
        let at = |text: &str| text.parse().unwrap();
        assert_eq!((socket.uid, socket.inode), (33, 4711));
        for (place, expected) in [
            ("127.0.0.1:18083", true),
            ("0.0.0.0:18083", true),
            ("[::]:18083", true),
            ("10.0.0.1:18083", false),
            ("127.0.0.1:18084", false),
        ] {
            assert_eq!(socket.is_in_the_way_of(at(place)), expected, "{place}");
        }
        assert_eq!(ListeningPort::read(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(
            ListeningPort::read("  sl  local_address rem_address   st"),
            None
        );
    }

    #[test]
    fn gateways_are_known_by_what_they_call_themselves() {
        for (words, expected) in [
            ("/usr/local/bin/wsgi-gateway\0fastcgi\0", true),
            ("wsgi-gateway: worker 1 shop", true),
            ("python3\0wsgi-gateway\0", false),
            ("", false),
        ] {
            assert_eq!(is_gateway(words.as_bytes()), expected, "{words:?}");
        }
    }
}
