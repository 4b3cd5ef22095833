//! What joins a VM to its pod's network.

use std::fs::OpenOptions;

use super::Finding;
use super::traffic_control;

pub(super) async fn examine() -> Vec<Finding> {
    vec![tun(), tc().await, vhost_net()]
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

fn vhost_net() -> Finding {
    match probe::vhost_net() {
        true => Finding::ok("vhost-net", "/dev/vhost-net can be opened"),
        false => Finding::ok(
            "vhost-net",
            "no /dev/vhost-net: the VMM moves the packets, not the kernel",
        ),
    }
}
