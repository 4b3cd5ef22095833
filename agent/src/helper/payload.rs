//! The last steps before a user's program runs, the same for a container's
//! first process and for execs: working directory, streams, privileges,
//! seccomp, exec.

use std::ffi::{CString, NulError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use libcontainer::capabilities::CapabilityExt;
use oci_spec::runtime::{Capabilities, Process};
use rustix::fs::Uid;

use super::directory;
use super::program::{self, ProgramError, words};
use super::report::Kind;
use super::seccomp::Filter;
use super::system;

/// What a process still needs between taking its user's identity and running
/// its program: to enter a working directory and give streams to a user that
/// may do neither, and to install a filter without `no_new_privs`.
const STAGE: [Capability; 3] = [
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_CHOWN,
    Capability::CAP_SYS_ADMIN,
];

/// The program cannot run as asked. Where users know the text, the cause is part
/// of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum PayloadError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("chdir to cwd ({path:?}) set in config.json failed: {}", words(.cause))]
    WorkingDirectory { path: PathBuf, cause: io::Error },
    #[error("the process's arguments and environment cannot contain a null byte")]
    Null(#[from] NulError),
    #[error("set the process's capabilities")]
    Capabilities(#[from] caps::errors::CapsError),
    #[error("install the seccomp filter")]
    Seccomp(#[source] io::Error),
    #[error("exec {path}: {}", words(.cause))]
    Exec { path: String, cause: io::Error },
}

impl PayloadError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Program(error) => error.kind(),
            Self::WorkingDirectory { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            Self::WorkingDirectory { .. } | Self::Exec { .. } => Kind::Precondition,
            Self::Null(_) => Kind::Invalid,
            Self::Capabilities(_) | Self::Seccomp(_) => Kind::Internal,
        }
    }
}

/// A program and how it is to run.
#[derive(Clone)]
pub(super) struct Payload {
    name: String,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    path: Option<String>,
    directory: PathBuf,
    user: u32,
    window: Option<(u16, u16)>,
    no_new_privileges: bool,
    /// Effective and permitted sets, when the specification names any.
    capabilities: Option<(CapsHashSet, CapsHashSet)>,
    filter: Option<Filter>,
}

impl Payload {
    /// What `process` asks for, under `filter`.
    pub(super) fn new(process: &Process, filter: Option<Filter>) -> Result<Self, PayloadError> {
        let arguments = process.args().as_deref().unwrap_or_default();
        let environment = unique(process.env().as_deref().unwrap_or_default());
        Ok(Self {
            name: arguments.first().cloned().ok_or(ProgramError::Missing)?,
            arguments: strings(arguments)?,
            path: environment
                .iter()
                .find_map(|entry| entry.strip_prefix("PATH="))
                .map(str::to_owned),
            environment: strings(&environment)?,
            directory: directory(process.cwd()),
            user: process.user().uid(),
            window: window(process),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            capabilities: process
                .capabilities()
                .as_ref()
                .map(|sets| (set(sets.effective()), set(sets.permitted()))),
            filter,
        })
    }

    /// Makes the working directory if it is missing; to be called as
    /// [`Payload::prepare`] is, before it, with [`first`]'s capabilities.
    pub(super) fn make_directory(&self) -> Result<(), PayloadError> {
        directory::make_and_drop(&self.directory)?.map_err(|cause| self.no_directory(cause))
    }

    fn no_directory(&self, cause: io::Error) -> PayloadError {
        PayloadError::WorkingDirectory {
            path: self.directory.clone(),
            cause,
        }
    }

    /// To be called in the container, as its user, with the [`staged`]
    /// capabilities: everything that can fail for a reason that is the
    /// request's. Returns the program's path.
    pub(super) fn prepare(&self) -> Result<PathBuf, PayloadError> {
        rustix::process::chdir(&self.directory).map_err(|errno| self.no_directory(errno.into()))?;
        self.own_terminal();
        Ok(program::find(&self.name, self.path.as_deref())?)
    }

    /// Runs the program at `path`. Returns only on failure.
    pub(super) fn execute(&self, path: &Path) -> PayloadError {
        match self.confine() {
            Ok(()) => self.replace(path),
            Err(error) => error,
        }
    }

    /// A filter without `no_new_privs` needs CAP_SYS_ADMIN, which is then left
    /// to exec to take away: exec computes the program's capabilities from the
    /// bounding, inheritable and ambient sets, in which it never was.
    fn confine(&self) -> Result<(), PayloadError> {
        let needs_privilege = self.filter.is_some() && !self.no_new_privileges;
        if let Some((effective, permitted)) =
            self.capabilities.as_ref().filter(|_| !needs_privilege)
        {
            caps::set(None, CapSet::Effective, effective)?;
            caps::set(None, CapSet::Permitted, permitted)?;
        }
        self.filter.as_ref().map_or(Ok(()), |filter| {
            filter.load().map_err(PayloadError::Seccomp)
        })
    }

    fn replace(&self, path: &Path) -> PayloadError {
        match CString::new(path.as_os_str().as_bytes()) {
            Err(error) => error.into(),
            Ok(program) => PayloadError::Exec {
                path: path.display().to_string(),
                cause: system::execute(&program, &self.arguments, &self.environment),
            },
        }
    }

    /// A terminal was opened by root; it is the user's, and has a size.
    fn own_terminal(&self) {
        let stream = rustix::stdio::stdin();
        if !rustix::termios::isatty(stream) {
            return;
        }
        // A terminal that stays root's still works; the size follows anyway.
        let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(self.user)), None);
        if let Some((ws_row, ws_col)) = self.window {
            let size = rustix::termios::Winsize {
                ws_row,
                ws_col,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            let _ = rustix::termios::tcsetwinsize(stream, size);
        }
    }
}

/// `capabilities` with those that [`Payload::prepare`] needs.
pub(super) fn staged(capabilities: Option<&Capabilities>) -> Capabilities {
    let mut staged = capabilities.cloned().unwrap_or_default();
    staged.extend(STAGE.map(oci_spec::runtime::Capability::from_cap));
    staged
}

/// [`staged`], with those that [`Payload::make_directory`] needs.
pub(super) fn first(capabilities: Option<&Capabilities>) -> Capabilities {
    let mut first = staged(capabilities);
    first.extend(directory::NEEDED.map(oci_spec::runtime::Capability::from_cap));
    first
}

fn set(capabilities: &Option<Capabilities>) -> CapsHashSet {
    capabilities
        .iter()
        .flatten()
        .map(CapabilityExt::to_cap)
        .collect()
}

fn directory(cwd: &Path) -> PathBuf {
    if cwd.as_os_str().is_empty() {
        PathBuf::from("/")
    } else {
        cwd.to_owned()
    }
}

fn window(process: &Process) -> Option<(u16, u16)> {
    let size = process.console_size()?;
    Some((
        u16::try_from(size.height()).ok()?,
        u16::try_from(size.width()).ok()?,
    ))
}

/// The last of several values for a name counts.
fn unique(environment: &[String]) -> Vec<String> {
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<_> = environment
        .iter()
        .rev()
        .filter(|entry| seen.insert(name(entry)))
        .cloned()
        .collect();
    kept.reverse();
    kept
}

fn strings(texts: &[String]) -> Result<Vec<CString>, NulError> {
    texts
        .iter()
        .map(|text| CString::new(text.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let environment = ["A=1", "B=2", "A=3"].map(str::to_owned);
        assert_eq!(unique(&environment), ["B=2", "A=3"]);
    }

    #[test]
    fn a_process_without_arguments_is_refused() {
        let mut process = Process::default();
        process.set_args(Some(Vec::new()));
        let error = Payload::new(&process, None).err().unwrap();
        assert_eq!(error.kind(), Kind::Invalid);
    }

    #[test]
    fn a_null_byte_is_refused() {
        let mut process = Process::default();
        process.set_env(Some(vec!["A=\0".to_owned()]));
        assert_eq!(
            Payload::new(&process, None).err().unwrap().kind(),
            Kind::Invalid
        );
    }

    #[test]
    fn a_missing_working_directory_is_named() {
        let mut process = Process::default();
        process.set_cwd("/nosuch".into());
        let error = Payload::new(&process, None).unwrap().prepare().unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(
            error.to_string(),
            r#"chdir to cwd ("/nosuch") set in config.json failed: no such file or directory"#
        );
    }
}
