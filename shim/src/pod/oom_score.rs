//! How readily the host's kernel ends the VM when the node has no memory left.

use oci_spec::runtime::Spec;
use protocol::Id;

use super::{Inner, Pod, Vm};

impl Pod {
    /// Takes the score that `spec` gives the container; that of a pod's sandbox is
    /// meant for a process that only waits.
    pub(super) fn take_oom_score(&self, id: &Id, spec: &Spec) {
        let mut inner = self.lock();
        let process = spec.process().as_ref();
        let score = process.and_then(|process| process.oom_score_adj());
        if let Some(container) = inner.containers.get_mut(id).filter(|c| c.in_guest()) {
            container.oom_score = score;
        }
    }
}

impl Inner {
    /// The VM is as dear as the dearest of its containers.
    pub(super) fn apply_oom_score(&self) {
        let scores = self.containers.values();
        let dearest = scores.filter_map(|container| container.oom_score).min();
        if let (Vm::Up(sandbox), Some(score)) = (&self.vm, dearest) {
            sandbox.set_oom_score(score);
        }
    }
}
