//! The descriptors beside a request to start, by what they are.

use std::os::fd::OwnedFd;

use vmm_api::Descriptor;

use super::SetupError;

/// Descriptors that nobody has taken yet.
pub(super) struct Given(Vec<(Descriptor, OwnedFd)>);

impl Given {
    pub(super) fn new(descriptors: &[Descriptor], fds: Vec<OwnedFd>) -> Result<Self, SetupError> {
        if descriptors.len() != fds.len() {
            return Err(SetupError::Count {
                named: descriptors.len(),
                sent: fds.len(),
            });
        }
        Ok(Self(descriptors.iter().copied().zip(fds).collect()))
    }

    /// The only one of its kind, if it is there.
    pub(super) fn take(&mut self, what: Descriptor) -> Result<Option<OwnedFd>, SetupError> {
        let mut these = self.take_all(what);
        match these.len() {
            0 | 1 => Ok(these.pop()),
            _ => Err(SetupError::Twice { what }),
        }
    }

    /// All of that kind, in their order.
    pub(super) fn take_all(&mut self, what: Descriptor) -> Vec<OwnedFd> {
        let (these, others) = std::mem::take(&mut self.0)
            .into_iter()
            .partition::<Vec<_>, _>(|(kind, _)| *kind == what);
        self.0 = others;
        these.into_iter().map(|(_, fd)| fd).collect()
    }

    pub(super) fn need(&mut self, what: Descriptor) -> Result<OwnedFd, SetupError> {
        self.take(what)?.ok_or(SetupError::Missing { what })
    }
}
