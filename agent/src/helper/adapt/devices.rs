//! Device nodes. A privileged container comes with all of the host's; most of
//! them mean nothing, or something else, in the guest.

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::AdaptError;

/// Leaves the devices whose numbers the guest's kernel knows. One that is
/// missing is an error if one of the `rules` is for it alone: then it was asked
/// for by name, and did not come with all of the host's.
pub(super) fn adapt(
    devices: &mut Vec<LinuxDevice>,
    rules: &[LinuxDeviceCgroup],
) -> Result<(), AdaptError> {
    let missing = |device: &&LinuxDevice| !known(device) && asked_for(device, rules);
    if let Some(device) = devices.iter().find(missing) {
        return Err(AdaptError::Device {
            path: device.path().clone(),
            major: device.major(),
            minor: device.minor(),
        });
    }
    devices.retain(|device| {
        let known = known(device);
        if !known {
            tracing::warn!(path = ?device.path(), "left out a device that the guest does not have");
        }
        known
    });
    Ok(())
}

fn asked_for(device: &LinuxDevice, rules: &[LinuxDeviceCgroup]) -> bool {
    rules.iter().any(|rule| {
        rule.allow()
            && rule.typ() == Some(device.typ())
            && rule.major() == Some(device.major())
            && rule.minor() == Some(device.minor())
    })
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

    fn devices() -> Vec<LinuxDevice> {
        let json = r#"[{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5},
                       {"path": "/dev/nosuch", "type": "c", "major": 250, "minor": 99}]"#;
        serde_json::from_str(json).unwrap()
    }

    fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn of_all_of_the_hosts_devices_those_of_this_kernel_are_left() {
        let mut devices = devices();
        let everything = rules(r#"[{"allow": true, "access": "rwm"}]"#);
        adapt(&mut devices, &everything).unwrap();
        let left: Vec<_> = devices.iter().map(LinuxDevice::path).collect();
        assert_eq!(left, [Path::new("/dev/zero")]);
    }

    #[test]
    fn a_device_that_was_asked_for_and_is_missing_is_an_error() {
        let one = r#"[{"allow": true, "type": "c", "major": 250, "minor": 99, "access": "rw"}]"#;
        let refused = adapt(&mut devices(), &rules(one)).unwrap_err().to_string();
        assert!(refused.contains("/dev/nosuch"), "{refused}");
    }
}
