//! Device nodes. A privileged container comes with all of the host's; most of
//! them mean nothing, or something else, in the guest.

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::{AdaptError, guest_devices};

/// What comes with all of the host's devices, and is asked for by nobody.
const OF_ALL: &str = "/dev/null";

/// Leaves the devices whose numbers the guest's kernel knows. One that is
/// missing is an error if it was asked for by name, and did not come with all of
/// the host's. If the `rules` allow every device, the guest's are added.
pub(super) fn adapt(
    devices: &mut Vec<LinuxDevice>,
    rules: &[LinuxDeviceCgroup],
) -> Result<(), AdaptError> {
    // For a privileged container containerd gives one rule in place of all others.
    let privileged = allow_all(rules);
    let named = privileged && !devices.iter().any(|d| d.path() == Path::new(OF_ALL));
    let missing = |device: &&LinuxDevice| !known(device) && (named || asked_for(device, rules));
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
    if privileged {
        devices.extend(guest_devices::privileged());
    }
    Ok(())
}

/// Leaves one device at each path, the first: libcontainer makes no second one.
pub(super) fn unique(devices: &mut Vec<LinuxDevice>) {
    let mut paths = HashSet::new();
    devices.retain(|device| paths.insert(device.path().clone()));
}

/// Whether the last rule that is about all devices allows them.
pub(super) fn allow_all(rules: &[LinuxDeviceCgroup]) -> bool {
    let of_all = |number: Option<i64>| number.is_none_or(|number| number < 0);
    let about_all = |rule: &&LinuxDeviceCgroup| {
        matches!(rule.typ(), None | Some(LinuxDeviceType::A))
            && of_all(rule.major())
            && of_all(rule.minor())
    };
    let last = rules.iter().rfind(about_all);
    last.is_some_and(LinuxDeviceCgroup::allow)
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
        let json = r#"[{"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
                       {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5},
                       {"path": "/dev/nosuch", "type": "c", "major": 250, "minor": 99}]"#;
        serde_json::from_str(json).unwrap()
    }

    const EVERYTHING: &str = r#"[{"allow": true, "access": "rwm"}]"#;

    fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn of_all_of_the_hosts_devices_those_of_this_kernel_are_left() {
        let mut devices = devices();
        adapt(&mut devices, &rules(EVERYTHING)).unwrap();
        let left: Vec<_> = devices.iter().map(LinuxDevice::path).collect();
        assert_eq!(left[..2], [Path::new("/dev/null"), Path::new("/dev/zero")]);
        assert!(!left.contains(&&"/dev/nosuch".into()));
    }

    #[test]
    fn a_privileged_containers_own_device_is_not_left_out() {
        let mut devices = devices().split_off(1);
        let refused = adapt(&mut devices, &rules(EVERYTHING)).unwrap_err();
        assert!(refused.to_string().contains("/dev/nosuch"), "{refused}");
    }

    #[test]
    fn what_all_may_use_is_the_last_rule_for_all() {
        let one = r#"{"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rw"}"#;
        let none = r#"{"allow": false, "access": "rwm"}"#;
        let any = r#"{"allow": true, "type": "a", "major": -1, "minor": -1, "access": "rwm"}"#;
        for (list, expected) in [
            (format!("[{none}, {one}]"), false),
            (format!("[{none}, {any}, {one}]"), true),
            (format!("[{any}, {none}]"), false),
            ("[]".to_owned(), false),
        ] {
            assert_eq!(allow_all(&rules(&list)), expected, "{list}");
        }
    }

    #[test]
    fn the_first_device_at_a_path_is_made() {
        let mut devices = devices();
        let mut again = devices[0].clone();
        again.set_minor(7);
        devices.push(again);
        unique(&mut devices);
        assert_eq!((devices.len(), devices[0].minor()), (3, 3));
    }

    #[test]
    fn a_device_that_was_asked_for_and_is_missing_is_an_error() {
        let one = r#"[{"allow": true, "type": "c", "major": 250, "minor": 99, "access": "rw"}]"#;
        let refused = adapt(&mut devices(), &rules(one)).unwrap_err().to_string();
        assert!(refused.contains("/dev/nosuch"), "{refused}");
    }
}
