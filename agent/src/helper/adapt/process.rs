//! What libcontainer is told of the process: everything but what
//! [`crate::helper::payload`] does itself, later.

use oci_spec::runtime::Process;

use crate::helper::payload::first;

/// `process` up to the point where the payload takes over.
pub(super) fn stand_in(process: &Process, terminal: bool) -> Process {
    let mut stand_in = process.clone();
    stand_in.set_terminal(Some(terminal));
    // The payload makes and enters it, and says so when it cannot.
    stand_in.set_cwd("/".into());
    // No such security modules in the guest.
    stand_in.set_apparmor_profile(None).set_selinux_label(None);
    if let Some(capabilities) = process.capabilities() {
        let mut capabilities = capabilities.clone();
        capabilities.set_effective(Some(first(capabilities.effective().as_ref())));
        capabilities.set_permitted(Some(first(capabilities.permitted().as_ref())));
        stand_in.set_capabilities(Some(capabilities));
    }
    stand_in
}
