//! Device nodes. A privileged container comes with all of the host's; most of
//! them mean nothing, or something else, in the guest.

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

/// Leaves the devices whose numbers the guest's kernel knows.
pub(super) fn adapt(devices: &mut Vec<LinuxDevice>) {
    devices.retain(|device| {
        let known = known(device);
        if !known {
            tracing::warn!(path = ?device.path(), "left out a device that the guest does not have");
        }
        known
    });
}

fn known(device: &LinuxDevice) -> bool {
    let class = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => "char",
        LinuxDeviceType::B => "block",
        // A pipe has no number; `a` is a wildcard of rules and no device.
        LinuxDeviceType::P => return true,
        LinuxDeviceType::A => return false,
    };
    let number = format!("{}:{}", device.major(), device.minor());
    Path::new("/sys/dev").join(class).join(number).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_of_this_kernel_are_left() {
        let json = r#"[{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5},
                       {"path": "/dev/nosuch", "type": "b", "major": 250, "minor": 99}]"#;
        let mut devices: Vec<LinuxDevice> = serde_json::from_str(json).unwrap();
        adapt(&mut devices);
        let left: Vec<_> = devices.iter().map(LinuxDevice::path).collect();
        assert_eq!(left, [Path::new("/dev/zero")]);
    }
}
