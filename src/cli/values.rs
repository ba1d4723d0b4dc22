//! Durations and sizes as operators write them.

use std::time::Duration;

/// Reads `10s`, `300ms`, `1.5s`, `2m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is no duration such as 10s, 300ms, 1.5s or 2m");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = digits.parse().map_err(|_| bad())?;
    let duration = Duration::try_from_secs_f64(number * unit).map_err(|_| bad())?;
    // More than anyone waits, and little enough to be added to a point in time.
    const MOST: Duration = Duration::from_secs(366 * 24 * 3600);
    if duration > MOST {
        Err(bad())
    } else {
        Ok(duration)
    }
}

/// Reads `65536`, `64K`, `1M`, `2G`, as bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is no size such as 65536, 64K, 1M or 2G");
    let (digits, shift) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 10),
        None => match text.strip_suffix(['M', 'm']) {
            Some(digits) => (digits, 20),
            None => text
                .strip_suffix(['G', 'g'])
                .map_or((text, 0), |digits| (digits, 30)),
        },
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// Reads `0660`, as permission bits.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let bits = u32::from_str_radix(text, 8)
        .ok()
        .filter(|bits| *bits <= 0o777);
    bits.ok_or_else(|| format!("'{text}' is no mode such as 0660"))
}

#[cfg(test)]
mod tests {
    use super::{duration, mode, size};

    #[test]
    fn values_are_read_with_their_units() {
        assert_eq!(duration("300ms").unwrap().as_millis(), 300);
        assert_eq!(duration("1.5s").unwrap().as_millis(), 1500);
        assert_eq!(duration("2m").unwrap().as_secs(), 120);
        assert_eq!(size("64K").unwrap(), 65536);
        assert_eq!(size("1").unwrap(), 1);
        assert_eq!(size("2G").unwrap(), 2 << 30);
        assert_eq!(mode("0660").unwrap(), 0o660);
        for bad in ["", "10", "s", "-1s", "1d", "nans", "infs", "9000h"] {
            assert!(
                duration(bad).unwrap_err().contains(&format!("'{bad}'")),
                "{bad}"
            );
        }
        for bad in ["", "K", "-1", "1.5M", "99999999999G"] {
            assert!(
                size(bad).unwrap_err().contains(&format!("'{bad}'")),
                "{bad}"
            );
        }
        assert!(mode("999").is_err() && mode("10000").is_err());
    }
}
