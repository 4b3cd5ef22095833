//! Which code an error of ours has on the wire. The one place.

use protocol::{Code, Failure};

use crate::host_cgroup::CgroupError;
use crate::machine::{AdjustError, ImageError};
use crate::network::NetworkError;
use crate::sandbox::{BootError, PlanError, ResizeError, VolumeError};
use crate::spec::SpecError;

/// An error that knows its code.
pub(crate) trait Coded: std::error::Error + 'static {
    /// Its code.
    fn code(&self) -> Code;
}

/// `error` with its whole chain, as it goes to containerd.
pub(crate) fn failure(error: &impl Coded) -> Failure {
    Failure::from_error(error.code(), error)
}

impl Coded for PlanError {
    fn code(&self) -> Code {
        match self {
            Self::Annotation(_) | Self::Size(_) | Self::Cgroup(_) => Code::InvalidArgument,
            Self::LateNetwork => Code::FailedPrecondition,
            Self::Network(error) => network(error),
        }
    }
}

impl Coded for BootError {
    fn code(&self) -> Code {
        match self {
            Self::Select(_) => Code::FailedPrecondition,
            Self::Image(ImageError::Read { .. }) => Code::Internal,
            Self::Image(_) | Self::Checksum(_) => Code::FailedPrecondition,
            Self::Cgroup(error) => error.code(),
            Self::Network(error) => network(error),
            Self::Died(_) => Code::Unavailable,
            Self::Silent { .. } => Code::DeadlineExceeded,
            Self::Agent(failure) => failure.code,
            Self::RunDir { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Code::AlreadyExists
            }
            Self::RunDir { .. } | Self::Share(_) | Self::Device(_) | Self::Machine(_) => {
                Code::Internal
            }
        }
    }
}

impl Coded for ResizeError {
    fn code(&self) -> Code {
        match self {
            Self::TooLarge(_) | Self::NoRoom { .. } => Code::ResourceExhausted,
            Self::Bound(error) => error.code(),
            Self::Machine { source, .. } => adjust(source),
            // Slow, or at odds with its own memory: nobody's mistake.
            Self::Guest { source, .. } => match source.code {
                Code::DeadlineExceeded => Code::ResourceExhausted,
                code => code,
            },
        }
    }
}

impl Coded for VolumeError {
    fn code(&self) -> Code {
        match self {
            Self::Find { .. } | Self::Another { .. } | Self::Open { .. } => {
                Code::FailedPrecondition
            }
            Self::Machine { source, .. } => adjust(source),
            Self::Guest { source, .. } => source.code,
        }
    }
}

fn adjust(error: &AdjustError) -> Code {
    match error {
        AdjustError::Full { .. } => Code::ResourceExhausted,
        _ => Code::FailedPrecondition,
    }
}

impl Coded for CgroupError {
    fn code(&self) -> Code {
        match self {
            Self::TooSmall { .. } | Self::HugePages { .. } => Code::FailedPrecondition,
            _ => Code::Internal,
        }
    }
}

impl Coded for SpecError {
    fn code(&self) -> Code {
        match self {
            Self::Read { .. } | Self::Json { .. } => Code::InvalidArgument,
            Self::NoRoot | Self::NoProcess | Self::Bidirectional { .. } => Code::InvalidArgument,
            Self::Hook { .. } | Self::NetDevice { .. } => Code::InvalidArgument,
            Self::HugePages { .. } => Code::FailedPrecondition,
            Self::Below { .. } | Self::Volume { .. } => Code::Internal,
            Self::Share(_) => Code::FailedPrecondition,
            Self::Encode(_) | Self::Write { .. } => Code::Internal,
            Self::Pod(_) => Code::InvalidArgument,
        }
    }
}

fn network(error: &NetworkError) -> Code {
    match error {
        NetworkError::HostNetwork | NetworkError::Impossible { .. } => Code::InvalidArgument,
        _ => Code::Internal,
    }
}
