//! What joins a VM to its pod's network.

use std::fs::OpenOptions;

use config::{Config, VhostNet};

use super::Finding;
use super::traffic_control;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let vhost_net = vhost_net(config.built_in.vhost_net, probe::vhost_net());
    vec![tun(), tc().await, vhost_net]
}

fn tun() -> Finding {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    match opened {
        Ok(_) => Finding::ok("tun", "/dev/net/tun can be opened"),
        Err(error) => {
            let found = format!("/dev/net/tun cannot be opened: {error}");
            Finding::fail("tun", found, "run as root; load the module tun")
        }
    }
}

async fn tc() -> Finding {
    match traffic_control::try_redirect().await {
        Ok(()) => Finding::ok(
            "tc",
            "packets can be redirected (sch_ingress, cls_u32, act_mirred)",
        ),
        Err(error) => {
            let found = format!("{:#}", anyhow::Error::from(error));
            let advice = "run as root; load the modules sch_ingress, cls_u32 and act_mirred";
            Finding::fail("tc", found, advice)
        }
    }
}

/// Either way is one to run pods.
fn vhost_net(wanted: VhostNet, there: bool) -> Finding {
    let found = match (wanted, there) {
        (VhostNet::Auto, true) => {
            "the host's kernel moves the packets of the built-in VMM's guests (/dev/vhost-net)"
        }
        (VhostNet::Auto, false) => {
            "no /dev/vhost-net: the VMM moves the packets (modprobe vhost_net, and the kernel does)"
        }
        (VhostNet::Never, _) => "not used (built_in.vhost_net): the VMM moves the packets",
    };
    Finding::ok("vhost-net", found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_moves_the_packets_is_told() {
        for (wanted, there, word) in [
            (VhostNet::Auto, true, "the host's kernel moves"),
            (VhostNet::Auto, false, "modprobe vhost_net"),
            (VhostNet::Never, true, "built_in.vhost_net"),
            (VhostNet::Never, false, "built_in.vhost_net"),
        ] {
            let Finding { level, found, .. } = vhost_net(wanted, there);
            assert!(found.contains(word), "{found}");
            assert_eq!(level, crate::host::Level::Ok);
        }
    }
}
