//! ADDR, as an operator names where to listen.

use std::fmt;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket in the file system.
    Unix(PathBuf),
    /// A Unix socket with a name that only the kernel knows.
    Abstract(String),
    /// A TCP socket: host (an IPv6 address without its brackets) and port.
    Tcp(String, u16),
    /// A listening socket that this process was started with.
    Fd(RawFd),
    /// The sockets of systemd's socket activation (sd_listen_fds(3)).
    Systemd,
}

/// The host that is all addresses of this machine.
pub(super) const ALL: &str = "*";

/// A text that is no address to listen on.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum AddressError {
    #[error(
        "'{0}' is no address to listen on: give unix:/path, /path, unix:@name, tcp:host:port, host:port ([::1]:9000 for \
         IPv6), :port for all addresses of this machine, fd:N or systemd"
    )]
    Unknown(String),
    #[error(
        "'{0}' is a port alone: write :{0} for all addresses of this machine, or 127.0.0.1:{0}"
    )]
    Port(u16),
    #[error("'{0}' is no port in '{1}': give one from 1 to 65535")]
    NoPort(String, String),
    #[error("{0} is given twice: leave one of them out")]
    Twice(Address),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::Unknown(text.to_owned());
        if text == "systemd" {
            return Ok(Self::Systemd);
        }
        if let Some(number) = text.strip_prefix("fd:") {
            return number
                .parse()
                .ok()
                .filter(|fd| *fd >= 0)
                .map(Self::Fd)
                .ok_or_else(bad);
        }
        if let Some(path) = text
            .strip_prefix("unix:")
            .or(text.starts_with('/').then_some(text))
        {
            return match path.strip_prefix('@') {
                Some("") => Err(bad()),
                Some(name) => Ok(Self::Abstract(name.to_owned())),
                None if path.is_empty() => Err(bad()),
                None => Ok(Self::Unix(path.into())),
            };
        }
        if let Ok(port) = text.parse() {
            return Err(AddressError::Port(port));
        }
        let text_of_host = text.strip_prefix("tcp:").unwrap_or(text);
        let (host, port) = text_of_host.rsplit_once(':').ok_or_else(bad)?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        if host.contains('/') || port.is_empty() {
            return Err(bad());
        }
        let no_port = |_| AddressError::NoPort(port.to_owned(), text.to_owned());
        let port = port.parse().map_err(no_port)?;
        let host = if host.is_empty() { ALL } else { host };
        Ok(Self::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
            Self::Fd(fd) => write!(f, "fd:{fd}"),
            Self::Systemd => f.write_str("systemd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn every_form_is_read_and_shown_in_its_long_form() {
        for (text, shown) in [
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("/run/a.sock", "unix:/run/a.sock"),
            ("unix:a.sock", "unix:a.sock"),
            ("unix:@a", "unix:@a"),
            ("tcp:127.0.0.1:9000", "tcp:127.0.0.1:9000"),
            ("localhost:9000", "tcp:localhost:9000"),
            ("[::1]:9000", "tcp:[::1]:9000"),
            (":9000", "tcp:*:9000"),
            ("*:9000", "tcp:*:9000"),
            ("tcp::9000", "tcp:*:9000"),
            ("fd:3", "fd:3"),
            ("systemd", "systemd"),
        ] {
            assert_eq!(
                text.parse::<Address>().unwrap().to_string(),
                shown,
                "{text}"
            );
        }
        for bad in [
            "",
            "9000",
            "localhost",
            "host:port",
            "::1:9000",
            "[::1:9000",
            "fd:x",
            "fd:-1",
            "unix:",
            "unix:@",
            ":",
            "h:99999",
            "http://h:80",
            "70000",
        ] {
            let message = bad.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains(&format!("'{bad}'")), "{message}");
        }
    }
}
