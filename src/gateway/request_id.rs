//! The id of a request, by which it is found in every log: that which the web server sends, else one that is made here.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Variables;

/// The variable of the web server's id, `X-Request-ID`.
const SENT: &[u8] = b"HTTP_X_REQUEST_ID";

/// The longest of these that is used.
const MOST: usize = 128;

/// Digits of which those that are made consist: no two that are taken for one another.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Digits that all ids of a process begin with.
const PREFIX: usize = 6;

/// An id that was made here: no two of a site's processes make the same, but by a chance of one in a thousand million.
#[derive(Clone, Copy, Debug)]
pub struct MadeId {
    bytes: [u8; Self::MOST],
    length: u8,
}

impl MadeId {
    /// Those of the process, `-`, and as many as a number of 64 bits has of five.
    const MOST: usize = PREFIX + 1 + 13;

    /// The next of this process.
    // As many digits as fit a byte.
    #[allow(clippy::cast_possible_truncation)]
    pub fn next() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let mut id = Self {
            bytes: [0; Self::MOST],
            length: 0,
        };
        id.bytes[..=PREFIX].copy_from_slice(prefix());
        let digits = (64 - number.leading_zeros() as usize).div_ceil(5);
        for at in (0..digits).rev() {
            id.bytes[PREFIX + 1 + at] = DIGITS[(number % 32) as usize];
            number /= 32;
        }
        id.length = (PREFIX + 1 + digits) as u8;
        id
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        let bytes = &self.bytes[..usize::from(self.length)];
        // SAFETY: they are digits of `DIGITS` and a hyphen, all of them ASCII; nobody else writes there.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }
}

/// The first digits of this process's ids, and `-`. Asked for in the process that serves, as a forked one has what the one before
/// it had: so its number and the time are in them.
// Five bits at a time.
#[allow(clippy::cast_possible_truncation)]
fn prefix() -> &'static [u8; PREFIX + 1] {
    static DRAWN: OnceLock<[u8; PREFIX + 1]> = OnceLock::new();
    DRAWN.get_or_init(|| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        hasher.write_u128(now.unwrap_or_default().as_nanos());
        let number = hasher.finish();
        let mut digits = [b'-'; PREFIX + 1];
        for (at, digit) in digits[..PREFIX].iter_mut().enumerate() {
            *digit = DIGITS[(number >> (5 * at)) as usize % 32];
        }
        digits
    })
}

/// The id that the web server has sent, if it can stand in a log as it is.
pub fn sent_id(variables: &Variables) -> Option<&str> {
    let is_sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    let sent = variables.get(SENT)?;
    let fits = (1..=MOST).contains(&sent.len()) && sent.iter().all(is_sane);
    std::str::from_utf8(sent).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::{MadeId, sent_id};
    use crate::gateway::Variables;

    #[test]
    fn no_two_ids_are_the_same() {
        let ids: Vec<MadeId> = (0..2000).map(|_| MadeId::next()).collect();
        let mut texts: Vec<&str> = ids.iter().map(MadeId::as_str).collect();
        assert!(texts.iter().all(|id| id.len() >= 8 && id.len() <= 10));
        assert!(texts.iter().all(|id| id[..7] == texts[0][..7]));
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 2000);
    }

    #[test]
    fn an_id_is_used_only_where_it_can_stand_anywhere() {
        let long = "a".repeat(128);
        for (sent, is_used) in [
            ("7f3a", true),
            ("urn:uuid:0b-1_2.3/4+5=@", true),
            (&long, true),
            (&format!("{long}a"), false),
            ("", false),
            ("a b", false),
            ("a\"", false),
            ("a\nb", false),
            ("\u{e9}", false),
        ] {
            let mut variables = Variables::new();
            variables.push(b"HTTP_X_REQUEST_ID", sent.as_bytes());
            assert_eq!(sent_id(&variables), is_used.then_some(sent), "{sent}");
        }
        assert_eq!(sent_id(&Variables::new()), None);
    }
}
