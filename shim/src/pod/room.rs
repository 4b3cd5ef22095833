//! Room in the VM for the limits of its containers: made before one needs it,
//! given back after.

use std::sync::Arc;

use oci_spec::runtime::LinuxResources;
use protocol::{Code, Failure, Id};

use super::Pod;
use super::ledger::Ledger;
use super::lookup::Target;
use crate::failure::failure;
use crate::sandbox::Sandbox;
use crate::sizing::Limits;

impl Pod {
    /// The VM was made with room for `declared`.
    pub(super) async fn declare(&self, declared: Limits) {
        *self.0.ledger.lock().await = Ledger::new(declared);
    }

    /// Makes room for a container.
    pub(super) async fn admit(
        &self,
        sandbox: &Arc<Sandbox>,
        id: &Id,
        limits: Limits,
    ) -> Result<(), Failure> {
        let mut ledger = self.0.ledger.lock().await;
        let next = ledger.with(id, limits);
        sandbox.grow(&next.total()).await.map_err(|e| failure(&e))?;
        *ledger = next;
        Ok(())
    }

    /// The container is gone.
    pub(super) async fn dismiss(&self, sandbox: &Arc<Sandbox>, id: &Id) {
        let mut ledger = self.0.ledger.lock().await;
        *ledger = ledger.without(id);
        sandbox.shrink(&ledger.total()).await;
    }

    /// Changes a container's limits; `resources` is OCI's object as JSON. More
    /// room comes before, less after: a VM too small for its containers is
    /// never seen.
    pub(crate) async fn update(&self, target: &Target, resources: Vec<u8>) -> Result<(), Failure> {
        self.only_in_guest(&target.id, "update")?;
        let sandbox = self.sandbox()?;
        let limits: LinuxResources = serde_json::from_slice(&resources).map_err(|error| {
            let text = format!("the limits for {} are no OCI resources: {error}", target.id);
            Failure::new(Code::InvalidArgument, text)
        })?;
        let mut ledger = self.0.ledger.lock().await;
        let next = ledger.changed(&target.id, |before| before.with(&limits));
        sandbox.grow(&next.total()).await.map_err(|e| failure(&e))?;
        let updated = sandbox.update(target.id.as_str(), resources).await;
        if updated.is_ok() {
            *ledger = next;
        }
        sandbox.shrink(&ledger.total()).await;
        updated
    }
}
