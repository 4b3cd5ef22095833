//! Huge pages that the guest keeps for containers, of memory that the VM has for
//! them beside all other (docs/decisions/0038-huge-pages-are-the-guests.md).

use protocol::agent::{HugePages as Kept, SetHugePagesRequest};

use super::Sandbox;
use super::bound::bound;
use super::resize::ResizeError;
use crate::huge_pages::HugePages;
use crate::sizing::Size;

const MIB: u64 = 1 << 20;

impl Sandbox {
    /// What the guest keeps now.
    pub(crate) async fn huge_pages(&self) -> HugePages {
        self.size.lock().await.huge_pages
    }

    /// Has the guest keep what a VM of `size` is to have. All is as before where
    /// that cannot be.
    pub(super) async fn keep_huge_pages(&self, size: &Size) -> Result<(), ResizeError> {
        let bound = bound(self.cgroup().as_ref(), self.overhead_mib, size)?;
        let pages = size.huge_pages.each();
        let request = SetHugePagesRequest {
            pages: pages.map(|(page, bytes)| kept(page, bytes)).collect(),
            memory_max: bound,
            ..Default::default()
        };
        let kept = self.agent.set_huge_pages(&request).await;
        kept.map_err(|source| ResizeError::Guest {
            wanted: size.huge_pages.bytes() / MIB,
            unit: "MiB in huge pages",
            source,
        })
    }
}

fn kept(page_size: u64, bytes: u64) -> Kept {
    Kept {
        page_size,
        count: bytes / page_size,
        ..Default::default()
    }
}
