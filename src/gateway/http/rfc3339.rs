//! Times as text.

use std::fmt::{Display, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// In UTC, to the second: `2026-11-24T08:24:55Z`. `None` outside the years 1970 to 9999.
pub(super) fn format(time: SystemTime) -> Option<String> {
    written(time, humantime::format_rfc3339_seconds)
}

/// In UTC, to the millisecond: `2026-11-24T08:24:55.123Z`. `None` outside the years 1970 to 9999.
pub(super) fn precise(time: SystemTime) -> Option<String> {
    written(time, humantime::format_rfc3339_millis)
}

fn written<T: Display>(time: SystemTime, format: fn(SystemTime) -> T) -> Option<String> {
    // It would be a panic.
    time.duration_since(UNIX_EPOCH).ok()?;
    let mut text = String::new();
    write!(text, "{}", format(time)).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_written_as_the_rfc_has_it() {
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(format(time).unwrap(), "2023-11-14T22:13:20Z");
        let later = time + Duration::from_micros(50_999);
        assert_eq!(precise(later).unwrap(), "2023-11-14T22:13:20.050Z");
        assert_eq!(precise(UNIX_EPOCH - Duration::from_nanos(1)), None);
        assert_eq!(format(UNIX_EPOCH).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(format(UNIX_EPOCH + Duration::from_secs(1 << 40)), None);
        assert_eq!(format(UNIX_EPOCH - Duration::from_nanos(1)), None);
    }
}
