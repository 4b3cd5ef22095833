//! Kernel settings by their dotted names (sysctl(8)).

use std::path::{Component, Path, PathBuf};

/// A setting could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SysctlError {
    #[error("sysctl {0:?} is not a name")]
    Name(String),
    #[error("set sysctl {name:?} to {value:?}")]
    Set {
        name: String,
        value: String,
        source: std::io::Error,
    },
}

/// Sets `name`, like `net.core.somaxconn`, to `value`.
pub(crate) fn set(name: &str, value: &str) -> Result<(), SysctlError> {
    let file = file(name).ok_or_else(|| SysctlError::Name(name.to_owned()))?;
    std::fs::write(Path::new("/proc/sys").join(file), value).map_err(|source| SysctlError::Set {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// The file below `/proc/sys`. When the first separator is a dot, dots separate
/// and slashes stand for dots, as in `net.ipv4.conf.eth0/7.forwarding`.
fn file(name: &str) -> Option<PathBuf> {
    let dotted = name
        .find(['.', '/'])
        .is_some_and(|at| name[at..].starts_with('.'));
    let path: String = name
        .chars()
        .map(|letter| match letter {
            '.' if dotted => '/',
            '/' if dotted => '.',
            other => other,
        })
        .collect();
    let path = PathBuf::from(path);
    let normal = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (normal && path.components().next().is_some()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_separate() {
        assert_eq!(
            file("net.core.somaxconn"),
            Some("net/core/somaxconn".into())
        );
        assert_eq!(
            file("net/core/somaxconn"),
            Some("net/core/somaxconn".into())
        );
        assert_eq!(
            file("net.ipv4.conf.eth0/7.forwarding"),
            Some("net/ipv4/conf/eth0.7/forwarding".into())
        );
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for name in [
            "",
            "/etc/passwd",
            "../../etc/passwd",
            "net/../../x",
            "net.//.x",
        ] {
            assert_eq!(file(name), None, "{name:?}");
        }
    }
}
