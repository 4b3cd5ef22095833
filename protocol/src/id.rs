//! Ids of sandboxes, containers and execs.

use std::fmt;

/// Longest id containerd itself accepts (`pkg/identifiers`: 76 characters).
const MAX_LEN: usize = 76;

/// An id that is safe as a path component, a cgroup name and a log field.
///
/// The rule is containerd's (`pkg/identifiers/validate.go`): letters and
/// digits, with single `-`, `_` or `.` between them, at most 76 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

/// Why a string is not an [`Id`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "id {id:?} is not valid: at most {MAX_LEN} letters and digits, with single '-', '_' or '.' between them"
)]
pub struct InvalidId {
    id: String,
}

impl Id {
    /// Checks `id` against the rule.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidId> {
        let id = id.into();
        if is_valid(&id) {
            return Ok(Self(id));
        }
        let shown = id.chars().take(MAX_LEN + 1).collect();
        Err(InvalidId { id: shown })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_valid(id: &str) -> bool {
    let alphanumeric = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = id.as_bytes();
    bytes.len() <= MAX_LEN
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes
            .windows(2)
            .all(|pair| alphanumeric(pair.first()) || alphanumeric(pair.last()))
        && bytes
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_what_containerd_generates() {
        for id in [
            "a",
            "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
            "my-pod_1.2",
        ] {
            assert_eq!(Id::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn refuses_everything_that_could_leave_a_folder() {
        let long = "a".repeat(77);
        for id in [
            "", ".", "..", "../x", "a/b", "-a", "a-", "a--b", "a..b", "a b", "ä", &long,
        ] {
            assert!(Id::new(id).is_err(), "{id:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn a_valid_id_is_one_normal_path_component(id in "\\PC{0,80}") {
            if let Ok(id) = Id::new(id) {
                let mut parts = std::path::Path::new(id.as_str()).components();
                prop_assert!(matches!(parts.next(), Some(std::path::Component::Normal(_))));
                prop_assert!(parts.next().is_none());
            }
        }
    }
}
