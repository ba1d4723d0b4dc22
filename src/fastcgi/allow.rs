//! Who may connect. Over TCP, which hosts: the operator's `--allow`, and FCGI_WEB_SERVER_ADDRS (FastCGI 1.0 section 3.2).

use std::net::IpAddr;

use thiserror::Error;

/// Addresses and networks that may connect over TCP, where an empty list allows everyone; and who may on this machine.
#[derive(Clone, Debug, Default)]
pub struct AllowList {
    networks: Vec<Network>,
    user: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl AllowList {
    /// One of no address, and of this user alone over Unix sockets if it is named: else of whoever the socket's mode lets.
    pub fn of_user(user: Option<u32>) -> Self {
        Self {
            networks: Vec::new(),
            user,
        }
    }

    /// The only user who may connect over Unix sockets.
    pub(super) fn user(&self) -> Option<u32> {
        self.user
    }

    /// Reads the text of this setting: `192.0.2.1,2001:db8::/32`.
    ///
    /// # Errors
    /// When it cannot be read, or names nobody.
    pub fn read(setting: &'static str, text: &str) -> Result<Self, AllowError> {
        let parts = text.split(',').map(str::trim);
        let read = |part: &str| {
            Network::parse(part).ok_or_else(|| AllowError::Unreadable {
                setting,
                part: part.to_owned(),
            })
        };
        let named = parts.filter(|part| !part.is_empty()).map(read);
        let list = Self {
            networks: named.collect::<Result<_, _>>()?,
            user: None,
        };
        if list.is_empty() {
            let text = text.to_owned();
            return Err(AllowError::Nobody { setting, text });
        }
        Ok(list)
    }

    /// Whether no host is named, so that everyone may connect.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Whether this host may connect.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.is_empty() || self.networks.iter().any(|network| network.contains(peer))
    }

    /// Adds the addresses of another list.
    pub fn extend(&mut self, other: Self) {
        self.networks.extend(other.networks);
    }
}

/// Why a setting does not say who may connect.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum AllowError {
    #[error(
        "{setting} cannot be read: '{part}' is not an IP address such as 192.0.2.1 or a network such as 192.0.2.0/24"
    )]
    Unreadable { setting: &'static str, part: String },
    #[error("{setting} '{text}' names nobody: give addresses such as 127.0.0.1, or leave it out")]
    Nobody { setting: &'static str, text: String },
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).ok()?;
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(self, peer: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, peer) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        (ours ^ theirs).checked_shr(width - self.bits).unwrap_or(0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::AllowList;

    #[test]
    fn addresses_and_networks_are_matched() {
        let read = |text| AllowList::read("--allow", text);
        let list = read("127.0.0.1, 192.0.2.0/24,2001:db8::/32").unwrap();
        for (peer, allowed) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("192.0.2.200", true),
            ("192.0.3.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(list.allows(peer.parse().unwrap()), allowed, "{peer}");
        }
        for all in [read("0.0.0.0/0").unwrap(), AllowList::default()] {
            assert!(all.allows("1.2.3.4".parse().unwrap()));
        }
        for bad in ["localhost", "1.2.3", "1.2.3.4/33", "1.2.3.4/x", " , "] {
            let message = read(bad).unwrap_err().to_string();
            assert!(message.contains(&format!("'{bad}'")), "{message}");
        }
    }
}
