//! Block devices of the host in a container's spec. The guest has each as a disk
//! of another number.

use std::fmt;
use std::path::Path;

use oci_spec::runtime::{
    Linux, LinuxBlockIo, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, Spec,
};

/// A device's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A block device of the host that a container asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockDevice {
    pub(crate) number: Number,
    pub(crate) read_only: bool,
}

/// What comes with all of the host's devices, and is asked for by nobody.
const OF_ALL: &str = "/dev/null";

/// The block devices that were asked for: those with a rule of their own. For a
/// privileged container containerd gives one rule in place of all others. Its devices
/// are those that were asked for, too; unless they are all of the host's, which stay
/// the host's.
pub(crate) fn block_devices(spec: &Spec) -> Vec<BlockDevice> {
    let linux = spec.linux().as_ref();
    let devices = linux.and_then(|linux| linux.devices().as_ref());
    let rules = linux.map_or(&[][..], rules);
    let mut all = devices.into_iter().flatten();
    let named = allow_all(rules) && !all.any(|device| device.path() == Path::new(OF_ALL));
    let mut wanted: Vec<BlockDevice> = Vec::new();
    let blocks = devices
        .into_iter()
        .flatten()
        .filter(|d| d.typ() == LinuxDeviceType::B);
    for number in blocks.filter_map(number_of) {
        let mut own = rules.iter().filter(|rule| is_for(rule, number)).peekable();
        let asked_for = named || own.peek().is_some();
        if !asked_for || wanted.iter().any(|device| device.number == number) {
            continue;
        }
        let writable = |rule: &LinuxDeviceCgroup| rule.access().iter().any(|a| a.contains('w'));
        let read_only = !named && !own.any(writable);
        wanted.push(BlockDevice { number, read_only });
    }
    wanted
}

/// Puts the guest's numbers in the place of the host's, in devices, in rules, and in
/// limits of io. Limits of disks that the guest does not have are left out.
pub(crate) fn renumber(spec: &mut Spec, numbers: &[(Number, Number)]) {
    let Some(linux) = spec.linux_mut() else {
        return;
    };
    let in_guest = |number| {
        let found = numbers.iter().find(|(host, _)| *host == number);
        found.map(|(_, guest)| *guest)
    };
    for device in linux.devices_mut().iter_mut().flatten() {
        let number = number_of(device).filter(|_| device.typ() == LinuxDeviceType::B);
        if let Some(guest) = number.and_then(in_guest) {
            device.set_major(guest.major.into());
            device.set_minor(guest.minor.into());
        }
    }
    let Some(resources) = linux.resources_mut() else {
        return;
    };
    if let Some(io) = resources.block_io_mut() {
        limit_disks(io, in_guest);
    }
    for rule in resources.devices_mut().iter_mut().flatten() {
        let host = numbers.iter().find(|(host, _)| is_for(rule, *host));
        if let Some((_, guest)) = host {
            rule.set_major(Some(guest.major.into()));
            rule.set_minor(Some(guest.minor.into()));
        }
    }
}

/// The weight is among the pod's containers, whatever disks there are.
fn limit_disks(io: &mut LinuxBlockIo, in_guest: impl Fn(Number) -> Option<Number>) {
    let limited = |devices: &Option<Vec<LinuxThrottleDevice>>| -> Option<Vec<_>> {
        let devices = devices.iter().flatten().filter_map(|device| {
            let guest = in_guest(Number {
                major: u32::try_from(device.major()).ok()?,
                minor: u32::try_from(device.minor()).ok()?,
            })?;
            let limited = LinuxThrottleDeviceBuilder::default()
                .major(guest.major)
                .minor(guest.minor)
                .rate(device.rate());
            limited.build().ok()
        });
        Some(devices.collect())
    };
    let read_bps = limited(io.throttle_read_bps_device());
    let write_bps = limited(io.throttle_write_bps_device());
    let read_iops = limited(io.throttle_read_iops_device());
    let write_iops = limited(io.throttle_write_iops_device());
    io.set_weight_device(None)
        .set_throttle_read_bps_device(read_bps)
        .set_throttle_write_bps_device(write_bps)
        .set_throttle_read_iops_device(read_iops)
        .set_throttle_write_iops_device(write_iops);
}

fn rules(linux: &Linux) -> &[LinuxDeviceCgroup] {
    let resources = linux.resources().as_ref();
    let rules = resources.and_then(|resources| resources.devices().as_ref());
    rules.map_or(&[], Vec::as_slice)
}

/// Whether the last rule that is about all devices allows them.
fn allow_all(rules: &[LinuxDeviceCgroup]) -> bool {
    let of_all = |number: Option<i64>| number.is_none_or(|number| number < 0);
    let about_all = |rule: &&LinuxDeviceCgroup| {
        matches!(rule.typ(), None | Some(LinuxDeviceType::A))
            && of_all(rule.major())
            && of_all(rule.minor())
    };
    let last = rules.iter().rfind(about_all);
    last.is_some_and(LinuxDeviceCgroup::allow)
}

fn is_for(rule: &LinuxDeviceCgroup, number: Number) -> bool {
    rule.allow()
        && rule.typ() == Some(LinuxDeviceType::B)
        && rule.major() == Some(number.major.into())
        && rule.minor() == Some(number.minor.into())
}

fn number_of(device: &LinuxDevice) -> Option<Number> {
    Some(Number {
        major: u32::try_from(device.major()).ok()?,
        minor: u32::try_from(device.minor()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(rules: serde_json::Value) -> Spec {
        serde_json::from_value(json!({
            "ociVersion": "1.0.2",
            "linux": {
                "devices": [
                    {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
                    {"path": "/dev/xvda", "type": "b", "major": 7, "minor": 3},
                    {"path": "/dev/again", "type": "b", "major": 7, "minor": 3},
                    {"path": "/dev/xvdb", "type": "b", "major": 7, "minor": 4}
                ],
                "resources": {"devices": rules}
            }
        }))
        .unwrap()
    }

    fn volumes() -> Spec {
        spec(json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "b", "major": 7, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "b", "major": 7, "minor": 4, "access": "r"}
        ]))
    }

    #[test]
    fn a_device_is_writable_if_its_rule_is() {
        let device = |minor, read_only| BlockDevice {
            number: Number { major: 7, minor },
            read_only,
        };
        let wanted = [device(3, false), device(4, true)];
        assert_eq!(block_devices(&volumes()), wanted);
    }

    #[test]
    fn a_privileged_container_does_not_get_the_hosts_disks() {
        let mut all = spec(everything());
        let null = json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3});
        let devices = all.linux_mut().as_mut().unwrap().devices_mut();
        devices
            .get_or_insert_default()
            .push(serde_json::from_value(null).unwrap());
        assert_eq!(block_devices(&all), []);
        let none = spec(json!([{"allow": false, "type": "b", "major": 7, "minor": 3}]));
        assert_eq!(block_devices(&none), []);
    }

    fn everything() -> serde_json::Value {
        json!([{"allow": true, "access": "rwm"}])
    }

    #[test]
    fn a_privileged_container_gets_the_volumes_that_it_asks_for() {
        let number = |minor| Number { major: 7, minor };
        let wanted = block_devices(&spec(everything()));
        let numbers: Vec<_> = wanted.iter().map(|device| device.number).collect();
        assert_eq!(numbers, [number(3), number(4)]);
        assert!(wanted.iter().all(|device| !device.read_only));
    }

    #[test]
    fn devices_and_rules_get_the_guests_numbers() {
        let mut spec = volumes();
        let number = |major, minor| Number { major, minor };
        renumber(&mut spec, &[(number(7, 3), number(254, 16))]);
        let json = serde_json::to_value(&spec).unwrap();
        let devices = &json["linux"]["devices"];
        assert_eq!(
            (&devices[1]["major"], &devices[2]["minor"]),
            (&json!(254), &json!(16))
        );
        assert_eq!(
            (&devices[0]["major"], &devices[3]["minor"]),
            (&json!(10), &json!(4))
        );
        let rules = &json["linux"]["resources"]["devices"];
        assert_eq!(
            (&rules[1]["major"], &rules[1]["minor"]),
            (&json!(254), &json!(16))
        );
        assert_eq!(rules[2]["minor"], 4);
    }

    #[test]
    fn limits_of_io_get_the_guests_numbers_or_go() {
        let mut spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.0.2",
            "linux": {"resources": {"blockIO": {
                "weight": 200,
                "weightDevice": [{"major": 7, "minor": 3, "weight": 10}],
                "throttleReadBpsDevice": [
                    {"major": 8, "minor": 0, "rate": 1},
                    {"major": 7, "minor": 3, "rate": 2}
                ],
                "throttleWriteIOPSDevice": [{"major": 7, "minor": 3, "rate": 3}]
            }}}
        }))
        .unwrap();
        let number = |major, minor| Number { major, minor };
        renumber(&mut spec, &[(number(7, 3), number(254, 16))]);
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(
            json["linux"]["resources"]["blockIO"],
            json!({
                "weight": 200,
                "throttleReadBpsDevice": [{"major": 254, "minor": 16, "rate": 2}],
                "throttleWriteBpsDevice": [],
                "throttleReadIOPSDevice": [],
                "throttleWriteIOPSDevice": [{"major": 254, "minor": 16, "rate": 3}]
            })
        );
    }
}
