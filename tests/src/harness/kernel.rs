//! What a host's kernel may have or not. Cases that need it run where it is.

use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use crate::node;

/// Something that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Parts of a card, by hardware address.
    Macvlan,
    /// The file system of read-only images.
    Erofs,
}

/// The kernel that cases run under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// This one.
    Running,
    /// The lab's, which can be asked in the lab alone.
    Labs,
}

impl Kernel {
    pub(super) fn has(self, feature: Option<Feature>) -> bool {
        match (self, feature) {
            (Self::Running, Some(feature)) => feature.is_there(),
            _ => true,
        }
    }
}

impl Feature {
    /// Whether the running kernel has it, asked once. Its module is loaded if it is
    /// one.
    fn is_there(self) -> bool {
        static FOUND: [OnceLock<bool>; 2] = [const { OnceLock::new() }; 2];
        *FOUND[self as usize].get_or_init(|| match self {
            Self::Macvlan => makes_links("macvlan"),
            Self::Erofs => mounts("erofs"),
        })
    }
}

/// Tries it in a network namespace of a moment's.
fn makes_links(kind: &str) -> bool {
    let script = format!(
        "ip link add card0 type veth peer name card1 && ip link add link card0 name part0 type {kind}"
    );
    node::run(&["unshare", "--net", "sh", "-c", &script]).is_ok()
}

/// A kernel without the file system says so, and not that nothing can be mounted.
fn mounts(kind: &str) -> bool {
    let nothing = Path::new("/dev/null");
    let tried = mount(
        Some(nothing),
        nothing,
        Some(kind),
        MsFlags::MS_RDONLY,
        None::<&str>,
    );
    tried != Err(Errno::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_no_kernel_has_is_not_there() {
        assert!(!mounts("nosuchfs"));
    }

    #[test]
    fn nothing_is_left_out_before_the_labs_kernel_is_asked() {
        assert!(Kernel::Labs.has(Some(Feature::Erofs)));
        assert!(Kernel::Running.has(None));
    }
}
