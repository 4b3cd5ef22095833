//! Finding the program that a process is to run, with the words that container
//! users know: those of the `exec` package that runc is written with.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::report::Kind;

/// What is searched when the process has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program cannot be run. The cause is part of the text, as users know it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("the process has no arguments: at least the program is required")]
    Missing,
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    #[error("exec: {name:?}: stat {name}: {}", words(.cause))]
    Stat { name: String, cause: io::Error },
    #[error("exec: {0:?}: permission denied")]
    NotExecutable(String),
    #[error("exec: {0:?}: is a directory")]
    Directory(String),
}

impl ProgramError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Missing => Kind::Invalid,
            Self::NotInPath(_) => Kind::NotFound,
            Self::Stat { cause, .. } if cause.kind() == io::ErrorKind::NotFound => Kind::NotFound,
            Self::Stat { .. } | Self::NotExecutable(_) | Self::Directory(_) => Kind::Precondition,
        }
    }
}

/// The path of program `name` as this process, in its present root and with
/// its present credentials, would run it. `path` is the value of `PATH`.
pub(super) fn find(name: &str, path: Option<&str>) -> Result<PathBuf, ProgramError> {
    if name.contains('/') {
        return check(Path::new(name), name);
    }
    let mut denied = None;
    for folder in path.unwrap_or(DEFAULT_PATH).split(':') {
        let candidate = Path::new(folder).join(name);
        match check(&candidate, name) {
            Ok(found) if !name.is_empty() => return Ok(found),
            Err(error @ ProgramError::NotExecutable(_)) => denied = Some(error),
            Ok(_) | Err(_) => {}
        }
    }
    Err(denied.unwrap_or_else(|| ProgramError::NotInPath(name.to_owned())))
}

fn check(path: &Path, name: &str) -> Result<PathBuf, ProgramError> {
    let stat = |cause| ProgramError::Stat {
        name: name.to_owned(),
        cause,
    };
    let metadata = path.metadata().map_err(stat)?;
    if metadata.is_dir() {
        return Err(ProgramError::Directory(name.to_owned()));
    }
    let allowed = accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    // A mount without execution is for exec to refuse: access denies it to root too.
    if allowed
        || (metadata.permissions().mode() & 0o111 != 0 && rustix::process::geteuid().is_root())
    {
        return Ok(path.to_owned());
    }
    Err(ProgramError::NotExecutable(name.to_owned()))
}

/// The system's words for `error`, as in the messages above: lower case and
/// without the number.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, path: &str) -> (Kind, String) {
        let error = find(name, Some(path)).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn a_missing_program_is_reported_in_the_words_users_know() {
        assert_eq!(
            message("nosuch", "/bin:/usr/bin"),
            (
                Kind::NotFound,
                r#"exec: "nosuch": executable file not found in $PATH"#.into()
            )
        );
        assert_eq!(
            message("/nosuch", "/bin"),
            (
                Kind::NotFound,
                r#"exec: "/nosuch": stat /nosuch: no such file or directory"#.into()
            )
        );
        assert_eq!(message("", "/bin").0, Kind::NotFound);
    }

    #[test]
    fn what_cannot_be_executed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data");
        std::fs::write(&file, "x").unwrap();
        let name = file.to_str().unwrap();
        assert_eq!(
            message(name, "/bin"),
            (
                Kind::Precondition,
                format!("exec: {name:?}: permission denied")
            )
        );
        assert_eq!(
            message("/", "/bin"),
            (Kind::Precondition, "exec: \"/\": is a directory".into())
        );
        let path = folder.path().to_str().unwrap();
        assert_eq!(message("data", path).0, Kind::Precondition);
    }

    #[test]
    fn the_first_folder_that_has_it_wins() {
        assert_eq!(
            find("sh", Some("/nosuch:/bin:/usr/bin")).unwrap(),
            Path::new("/bin/sh")
        );
        assert!(find("sh", None).is_ok());
    }
}
