//! Which hosts may connect over TCP: the operator's `--allow`, and FCGI_WEB_SERVER_ADDRS (FastCGI 1.0 section 3.2).

use std::net::IpAddr;
use std::str::FromStr;

/// Addresses and networks that may connect. An empty list allows everyone.
#[derive(Clone, Debug, Default)]
pub struct AllowList(Vec<Network>);

#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl AllowList {
    /// Whether nobody is named, so that everyone may connect.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this host may connect.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.is_empty() || self.0.iter().any(|network| network.contains(peer))
    }

    /// Adds the addresses of another list.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl FromStr for AllowList {
    type Err = String;

    /// Reads `192.0.2.1,2001:db8::/32`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts
            .map(Network::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "'{text}' is not an IP address such as 192.0.2.1 or a network such as 192.0.2.0/24"
            )
        };
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| bad())?;
        if bits > most {
            return Err(bad());
        }
        Ok(Self { address, bits })
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
        let list: AllowList = "127.0.0.1, 192.0.2.0/24,2001:db8::/32".parse().unwrap();
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
        assert!(
            "0.0.0.0/0"
                .parse::<AllowList>()
                .unwrap()
                .allows("1.2.3.4".parse().unwrap())
        );
        assert!(
            "".parse::<AllowList>()
                .unwrap()
                .allows("1.2.3.4".parse().unwrap())
        );
        for bad in ["localhost", "1.2.3", "1.2.3.4/33", "1.2.3.4/x"] {
            assert!(bad.parse::<AllowList>().unwrap_err().contains(bad));
        }
    }
}
