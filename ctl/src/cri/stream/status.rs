//! The result of a session: a Kubernetes Status object on the error stream.

use serde::Deserialize;

use super::StreamError;

#[derive(Deserialize)]
struct Status {
    status: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    details: Details,
}

#[derive(Deserialize, Default)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

const SHOWN: usize = 512;

/// The exit code that a result tells.
///
/// # Errors
/// [`StreamError::NoResult`] for an empty result, [`StreamError::Result`] for
/// an unreadable one, [`StreamError::Failed`] where it is not an exit code.
pub(super) fn exit_code(result: &[u8]) -> Result<i32, StreamError> {
    if result.is_empty() {
        return Err(StreamError::NoResult);
    }
    let status: Status = serde_json::from_slice(result).map_err(|_| unreadable(result))?;
    match status.status.as_deref() {
        Some("Success") => Ok(0),
        Some("Failure") if status.reason == "NonZeroExitCode" => {
            code(&status.details).ok_or_else(|| unreadable(result))
        }
        Some("Failure") => Err(StreamError::Failed {
            message: status.message,
        }),
        _ => Err(unreadable(result)),
    }
}

fn code(details: &Details) -> Option<i32> {
    let cause = details
        .causes
        .iter()
        .find(|cause| cause.reason == "ExitCode")?;
    cause.message.parse().ok()
}

fn unreadable(result: &[u8]) -> StreamError {
    let text = &result[..result.len().min(SHOWN)];
    StreamError::Result {
        text: String::from_utf8_lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_zero() {
        let result = br#"{"metadata":{},"status":"Success"}"#;
        assert_eq!(exit_code(result).unwrap(), 0);
    }

    #[test]
    fn a_non_zero_code_is_taken_from_the_cause() {
        let result = br#"{"status":"Failure","message":"command terminated with non-zero exit code",
            "reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"137"}]}}"#;
        assert_eq!(exit_code(result).unwrap(), 137);
    }

    #[test]
    fn another_failure_keeps_the_runtimes_words() {
        let result = br#"{"status":"Failure","message":"no such file","reason":"InternalError"}"#;
        assert_eq!(exit_code(result).unwrap_err().to_string(), "no such file");
    }

    #[test]
    fn nothing_and_nonsense_are_told_apart() {
        assert!(matches!(exit_code(b""), Err(StreamError::NoResult)));
        assert!(matches!(
            exit_code(b"boom"),
            Err(StreamError::Result { .. })
        ));
        let without_code = br#"{"status":"Failure","reason":"NonZeroExitCode"}"#;
        assert!(matches!(
            exit_code(without_code),
            Err(StreamError::Result { .. })
        ));
    }
}
