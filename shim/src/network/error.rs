//! What mirroring a network can fail at.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// Why the pod's network cannot be mirrored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error(
        "a pod in a VM cannot have the host's network (hostNetwork: true): the guest has a kernel and a network stack of its own; remove hostNetwork or the runtimeClassName"
    )]
    HostNetwork,
    #[error("enter the pod's network namespace {}", path.display())]
    Enter {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("open a netlink socket in the pod's network namespace")]
    Netlink(#[source] io::Error),
    #[error("read the {what} of the pod's network namespace")]
    Read {
        what: &'static str,
        #[source]
        source: rtnetlink::Error,
    },
    #[error("read the settings of the pod's network namespace, and those of a new one")]
    Settings(#[source] io::Error),
    #[error(
        "a VM cannot have the interface {interface} ({kind}) of the pod's network: {reason}; have the CNI plugin make another kind, or none"
    )]
    Impossible {
        interface: String,
        kind: String,
        reason: &'static str,
    },
    #[error("open /dev/net/tun: is the tun module loaded?")]
    Tun(#[source] io::Error),
    #[error("make the tap {name} in the pod's network namespace")]
    Tap {
        name: String,
        #[source]
        source: Errno,
    },
    #[error("let the tap {tap} carry loopback addresses: is /proc/sys writable?")]
    LoopbackSettings {
        tap: String,
        #[source]
        source: io::Error,
    },
    #[error("{step}")]
    Loopback {
        step: &'static str,
        #[source]
        source: rtnetlink::Error,
    },
    #[error("{step} of {interface}: are the kernel's sch_ingress, cls_u32 and act_mirred there?")]
    Redirect {
        step: &'static str,
        interface: String,
        #[source]
        source: rtnetlink::Error,
    },
}
