//! Points in time as logs have them, in UTC. The day is worked out once as long as it lasts.

use std::cell::Cell;
use std::time::Duration;

const DAY: u64 = 86_400;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
}

impl Date {
    /// That of so many days after 1970-01-01, in the Gregorian calendar: whole years from March on, in which a leap day comes last, in
    /// eras of 400 years.
    fn of(days: u64) -> Self {
        const ERA: u64 = 146_097;
        let days = days + 719_468;
        let (era, day) = (days / ERA, days % ERA);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let in_month = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self {
            year: 400 * era + year + u64::from(month <= 2),
            month,
            day: in_month,
        }
    }

    fn today(days: u64) -> Self {
        thread_local! {
            static LAST: Cell<(u64, Date)> = const { Cell::new((0, Date { year: 1970, month: 1, day: 1 })) };
        }
        let (known, date) = LAST.get();
        if known == days {
            return date;
        }
        let date = Self::of(days);
        LAST.set((days, date));
        date
    }
}

/// A number with at least so many digits, of which there are no more than twenty.
pub fn padded(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] += (value % 10) as u8;
        value /= 10;
    }
    let at = at.min(digits.len().saturating_sub(width));
    out.extend_from_slice(&digits[at..]);
}

fn write_clock(seconds: u64, out: &mut Vec<u8>) {
    let second = seconds % DAY;
    padded(second / 3600, 2, out);
    out.push(b':');
    padded(second / 60 % 60, 2, out);
    out.push(b':');
    padded(second % 60, 2, out);
}

/// `2000-10-10T13:55:36.000Z` (RFC 3339), of what has passed since 1970.
pub fn write_iso(since: Duration, out: &mut Vec<u8>) {
    let date = Date::today(since.as_secs() / DAY);
    padded(date.year, 4, out);
    out.push(b'-');
    padded(date.month, 2, out);
    out.push(b'-');
    padded(date.day, 2, out);
    out.push(b'T');
    write_clock(since.as_secs(), out);
    out.push(b'.');
    padded(since.subsec_millis().into(), 3, out);
    out.push(b'Z');
}

/// `[10/Oct/2000:13:55:36 +0000]`, the same.
pub fn write_common(since: Duration, out: &mut Vec<u8>) {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let date = Date::today(since.as_secs() / DAY);
    out.push(b'[');
    padded(date.day, 2, out);
    out.push(b'/');
    let at = 3 * usize::try_from(date.month - 1).unwrap_or(0);
    out.extend_from_slice(&MONTHS[at..at + 3]);
    out.push(b'/');
    padded(date.year, 4, out);
    out.push(b':');
    write_clock(since.as_secs(), out);
    out.extend_from_slice(b" +0000]");
}

#[cfg(test)]
mod tests {
    use super::{write_common, write_iso};
    use std::time::Duration;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_704_067_199_000, "2023-12-31T23:59:59.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            write_iso(Duration::from_millis(millis), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        let mut out = Vec::new();
        write_common(Duration::from_secs(971_186_136), &mut out);
        assert_eq!(out, b"[10/Oct/2000:13:55:36 +0000]");
    }
}
