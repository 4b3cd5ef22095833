//! Why a machine is over, as its VMM tells it.

use tokio::sync::watch;

/// To be known when the VMM has ended.
#[derive(Clone, Default)]
pub(crate) struct Verdict(Option<watch::Receiver<Option<String>>>);

impl Verdict {
    /// One that `told` will hold once its sender is gone.
    pub(super) fn new(told: watch::Receiver<Option<String>>) -> Self {
        Self(Some(told))
    }

    /// Of a VMM that does not tell: how its process ends has to do.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Waits until the VMM has said its last.
    pub(crate) async fn known(&self) -> Option<String> {
        let mut told = self.0.clone()?;
        while told.changed().await.is_ok() {}
        told.borrow().clone()
    }
}
