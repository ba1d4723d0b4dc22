//! Durations and sizes as operators write them.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::{AccessFormat, LineTarget, LogFormat, WorkerOutput};

/// Reads `10s`, `300ms`, `1.5s`, `2m`, `1h`; a number alone is seconds, as systemd, nginx and gunicorn have it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is no duration such as 10s, 300ms, 1.5s or 2m");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = digits.parse().map_err(|_| bad())?;
    let duration = Duration::try_from_secs_f64(number * unit).map_err(|_| bad())?;
    // More than anyone waits, and little enough to be added to a point in time.
    const MOST: Duration = Duration::from_secs(366 * 24 * 3600);
    match duration > MOST {
        true => Err(format!(
            "'{text}' is more than a year: leave the option out for its default"
        )),
        false => Ok(duration),
    }
}

/// Reads `65536`, `64K`, `1M`, `2G`, as bytes; `10m`, `10MB` and `10MiB` are 10M: 1024 is meant everywhere, as nginx does.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is no size such as 65536, 64K, 1M or 2G");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// Reads a duration that is a limit, where 0 would be a trap and not "no limit".
pub(super) fn time_limit(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err(nothing(text));
    }
    Ok(duration)
}

/// Reads a size that is a limit.
pub(super) fn size_limit(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err(nothing(text)),
        size => Ok(size),
    }
}

/// Reads a number that is a limit.
pub(super) fn limit(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err(nothing(text)),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("'{text}' is no number such as 1000")),
    }
}

/// What reads a number within these bounds.
pub(super) fn number<N: TryFrom<u64>>(
    bounds: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<N, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        let number = number.and_then(|number| N::try_from(number).ok());
        let (least, most) = (bounds.start(), bounds.end());
        number.ok_or_else(|| format!("'{text}' is no number from {least} to {most}"))
    }
}

fn nothing(text: &str) -> String {
    format!("'{text}' would let nothing through: leave the option out for its default")
}

/// Reads what switches an option on or off.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(format!(
            "'{text}' is neither 1, true, yes or on nor 0, false, no or off"
        )),
    }
}

/// Reads the least important level that is logged; also as Python's logging and gunicorn name them.
pub(super) fn level(text: &str) -> Result<log::LevelFilter, String> {
    match text.to_ascii_lowercase().as_str() {
        "warning" => Ok(log::LevelFilter::Warn),
        "critical" => Ok(log::LevelFilter::Error),
        text => text.parse().map_err(|_| ()),
    }
    .map_err(|()| format!("'{text}' is no level: give error, warn, info, debug, trace or off"))
}

/// Reads what a message of the log is.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        "journal" => Ok(LogFormat::Journal),
        _ => Err(format!(
            "'{text}' is no format of the log: give text, json or journal"
        )),
    }
}

/// Reads what stands in a line of the access log.
pub(super) fn access_format(text: &str) -> Result<AccessFormat, String> {
    AccessFormat::parse(text)
}

/// Reads where lines go.
pub(super) fn line_target(text: &str) -> Result<LineTarget, String> {
    match text.split_once(':') {
        _ if text == "-" => Ok(LineTarget::StandardOutput),
        Some(("syslog", "")) => Ok(LineTarget::Syslog("/dev/log".into())),
        Some(("syslog", socket)) if socket.starts_with('/') => {
            Ok(LineTarget::Syslog(socket.into()))
        }
        Some(("syslog", _)) => Err(format!(
            "'{text}' is no syslog that can be reached: give syslog: for /dev/log, or syslog:/path of a Unix socket"
        )),
        _ => Ok(LineTarget::File(text.into())),
    }
}

/// Reads what becomes of what workers write.
pub(super) fn worker_output(text: &str) -> Result<WorkerOutput, String> {
    match text {
        "tagged" => Ok(WorkerOutput::Tagged),
        "raw" => Ok(WorkerOutput::Raw),
        _ => Err(format!("'{text}' is no form of output: give tagged or raw")),
    }
}

/// What reads permission bits such as these.
pub(super) fn mode(example: &'static str) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| {
        let bits = u32::from_str_radix(text, 8)
            .ok()
            .filter(|bits| *bits <= 0o777);
        bits.ok_or_else(|| format!("'{text}' is no mode such as {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        duration, level, limit, line_target, mode, number, size, size_limit, switch, time_limit,
    };
    use crate::config::LineTarget;

    #[test]
    fn values_are_read_with_their_units() {
        assert_eq!(duration("300ms").unwrap().as_millis(), 300);
        assert_eq!(duration("1.5s").unwrap().as_millis(), 1500);
        assert_eq!(duration("2m").unwrap().as_secs(), 120);
        assert_eq!(size("64K").unwrap(), 65536);
        assert_eq!(size("1").unwrap(), 1);
        assert_eq!(size("2G").unwrap(), 2 << 30);
        for megabytes in ["10M", "10m", "10MB", "10mb", "10MiB"] {
            assert_eq!(size(megabytes).unwrap(), 10 << 20, "{megabytes}");
        }
        assert_eq!(duration("30").unwrap().as_secs(), 30);
        assert_eq!(duration("0.5").unwrap().as_millis(), 500);
        let mode = mode("0660");
        assert_eq!(mode("0660").unwrap(), 0o660);
        for bad in ["", "s", "-1s", "-1", "1d", "nans", "nan", "infs", "9000h"] {
            assert!(
                duration(bad).unwrap_err().contains(&format!("'{bad}'")),
                "{bad}"
            );
        }
        for bad in ["", "K", "-1", "1.5M", "1T", "1iM", "99999999999G"] {
            assert!(
                size(bad).unwrap_err().contains(&format!("'{bad}'")),
                "{bad}"
            );
        }
        assert!(mode("999").is_err() && mode("10000").is_err());
    }

    #[test]
    fn numbers_have_bounds() {
        let threads = number::<u16>(1..=512);
        assert_eq!((threads("1"), threads("512")), (Ok(1), Ok(512)));
        for bad in ["", "0", "513", "-1", "1.5", "70000", "many"] {
            let error = threads(bad).unwrap_err();
            assert_eq!(error, format!("'{bad}' is no number from 1 to 512"));
        }
        assert!(number::<u16>(0..=100_000)("70000").is_err());
    }

    #[test]
    fn a_limit_of_nothing_is_an_error_that_names_the_way_out() {
        assert_eq!(limit("7").unwrap(), 7);
        assert_eq!(size_limit("1K").unwrap(), 1024);
        assert_eq!(time_limit("1ms").unwrap().as_millis(), 1);
        for error in [
            limit("0").unwrap_err(),
            size_limit("0").unwrap_err(),
            time_limit("0s").unwrap_err().replace("0s", "0"),
        ] {
            assert!(
                error.contains("'0'") && error.contains("leave the option out"),
                "{error}"
            );
        }
        assert!(limit("-1").is_err() && limit("1s").is_err() && time_limit("1x").is_err());
    }

    #[test]
    fn lines_go_to_a_file_a_socket_or_standard_output() {
        assert_eq!(line_target("-"), Ok(LineTarget::StandardOutput));
        assert_eq!(line_target("a-b"), Ok(LineTarget::File("a-b".into())));
        let syslog = |path: &str| Ok(LineTarget::Syslog(path.into()));
        assert_eq!(line_target("syslog:"), syslog("/dev/log"));
        assert_eq!(line_target("syslog:/run/x"), syslog("/run/x"));
        let error = line_target("syslog:loghost:514").unwrap_err();
        assert!(error.contains("'syslog:loghost:514'"), "{error}");
    }

    #[test]
    fn switches_and_levels_are_words() {
        assert!(switch("on").unwrap() && switch("Yes").unwrap() && switch("1").unwrap());
        assert!(!switch("off").unwrap() && !switch("FALSE").unwrap() && !switch("0").unwrap());
        assert!(switch("maybe").unwrap_err().contains("'maybe'"));
        assert_eq!(level("Debug").unwrap(), log::LevelFilter::Debug);
        assert_eq!(level("WARNING").unwrap(), log::LevelFilter::Warn);
        assert_eq!(level("critical").unwrap(), log::LevelFilter::Error);
        assert!(level("loud").unwrap_err().contains("'loud'"));
    }
}
