//! Spans of time as an operator types them.

use std::time::Duration;

/// The text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write it as 90s, 5m, 2h or a number of seconds")]
pub struct NotADuration;

/// Reads `500ms`, `90`, `90s`, `5m` or `2h`.
///
/// # Errors
/// [`NotADuration`] for any other text.
pub fn parse_duration(text: &str) -> Result<Duration, NotADuration> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| NotADuration)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(NotADuration),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or(NotADuration)
}

/// A rough age: the largest unit that fits, as `kubectl get` shows it.
#[must_use]
pub fn show_age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        for (text, millis) in [
            ("500ms", 500),
            ("90", 90_000),
            ("90s", 90_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "s",
            "-1",
            "1d",
            "1.5s",
            "5 m",
            "99999999999999999999",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), Err(NotADuration), "{text}");
        }
    }

    #[test]
    fn ages_are_rough() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(show_age(Duration::from_secs(seconds)), text);
        }
    }
}
