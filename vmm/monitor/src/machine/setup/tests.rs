use super::*;
use crate::virtio::net::NetError;
use Descriptor::{Console, Initramfs, Kernel, Kvm, Tap, VirtioConsole, Vsock};
use std::os::unix::net::UnixStream;

fn config() -> MachineConfig {
    MachineConfig {
        vcpus: 1,
        max_vcpus: 0,
        memory_mib: 128,
        max_memory_mib: 0,
        kernel: "/k".into(),
        initramfs: "/i".into(),
        kernel_parameters: String::new(),
        guest_cid: 3,
        share_tag: "share".into(),
        nets: Vec::new(),
        disks: Vec::new(),
    }
}

fn some_fd() -> OwnedFd {
    UnixStream::pair().unwrap().0.into()
}

fn check(config: &MachineConfig, descriptors: &[Descriptor]) -> Result<Setup, SetupError> {
    let fds = descriptors.iter().map(|_| some_fd()).collect();
    Setup::check(config, descriptors, fds)
}

fn names(setup: &Setup) -> Vec<&'static str> {
    setup.devices.iter().map(|device| device.name()).collect()
}

#[test]
fn a_device_is_there_if_its_descriptor_is() {
    let setup = check(&config(), &[Initramfs, Vsock, Kernel, Kvm]).unwrap();
    assert_eq!(names(&setup), ["vsock", "rng", "balloon"]);
    let setup = check(&config(), &[Kvm, Kernel, Initramfs, VirtioConsole]).unwrap();
    assert_eq!(names(&setup), ["rng", "balloon", "console"]);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let refused = |descriptors: &[Descriptor]| check(&config(), descriptors).err().unwrap();
    assert!(matches!(
        refused(&[Initramfs]),
        SetupError::Missing { what: Kernel }
    ));
    assert!(matches!(
        refused(&[Initramfs, Kernel]),
        SetupError::Missing { what: Kvm }
    ));
    assert!(matches!(
        refused(&[Kernel, Initramfs, Console, Console]),
        SetupError::Twice { what: Console }
    ));
    let counted = Setup::check(&config(), &[Kernel], Vec::new());
    assert!(matches!(
        counted,
        Err(SetupError::Count { named: 1, sent: 0 })
    ));
}

#[test]
fn an_interface_needs_a_tap_and_a_tap_an_interface() {
    let net = vmm_api::NetConfig {
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        queue_pairs: 1,
        vhost: false,
    };
    let nets = |count| MachineConfig {
        nets: vec![net.clone(); count],
        ..config()
    };
    for what in [Tap, Descriptor::VhostNet] {
        let refused = check(&nets(0), &[Kernel, Initramfs, what]);
        assert!(matches!(refused, Err(SetupError::NoNet { .. })));
    }
    let refused = check(&nets(1), &[Kernel, Initramfs]);
    let source = NetError::Count {
        what: "tap",
        sent: 0,
        wanted: 1,
    };
    let told = refused.err().unwrap();
    let cause = std::error::Error::source(&told).unwrap();
    assert_eq!(cause.to_string(), source.to_string());
    let no_tap = check(&nets(1), &[Kernel, Initramfs, Tap]);
    assert!(matches!(no_tap, Err(SetupError::Net { index: 0, .. })));
}

#[test]
fn a_disk_needs_a_backing_and_a_backing_a_disk() {
    let disk = vmm_api::DiskConfig {
        serial: "data".into(),
        read_only: false,
        queues: 1,
    };
    let disks = |count| MachineConfig {
        disks: vec![disk.clone(); count],
        ..config()
    };
    for (count, descriptors) in [
        (0, &[Kernel, Initramfs, Descriptor::Disk][..]),
        (1, &[Kernel, Initramfs]),
    ] {
        let refused = check(&disks(count), descriptors);
        assert!(matches!(refused, Err(SetupError::Disks { .. })));
    }
    let no_disk = check(&disks(1), &[Kernel, Initramfs, Descriptor::Disk]);
    assert!(matches!(no_disk, Err(SetupError::Disk { index: 0, .. })));
}

#[test]
fn the_number_of_processors_is_checked() {
    for vcpus in [0, 255, 256, u32::MAX] {
        let config = MachineConfig { vcpus, ..config() };
        let checked = check(&config, &[Kernel, Initramfs]);
        assert!(matches!(checked, Err(SetupError::Vcpus { .. })), "{vcpus}");
    }
    let at_most = |max_vcpus| {
        let config = MachineConfig {
            vcpus: 2,
            max_vcpus,
            ..config()
        };
        check(&config, &[Kvm, Kernel, Initramfs]).map(|setup| setup.most_vcpus)
    };
    for (most, taken) in [(0, 2), (2, 2), (254, 254)] {
        assert_eq!(at_most(most).unwrap(), taken);
    }
    for most in [1, 255, 256, u32::MAX] {
        let refused = at_most(most);
        assert!(
            matches!(refused, Err(SetupError::MostVcpus { .. })),
            "{most}"
        );
    }
}

#[test]
fn the_most_memory_is_checked() {
    let at_most = |max_memory_mib| {
        let config = MachineConfig {
            max_memory_mib,
            ..config()
        };
        check(&config, &[Kvm, Kernel, Initramfs]).map(|setup| setup.most_memory_mib)
    };
    for (most, taken) in [(0, 128), (128, 128), (4096, 4096)] {
        assert_eq!(at_most(most).unwrap(), taken);
    }
    for most in [1, 127, 129 + MOST_LATE_MIB, u64::MAX] {
        let refused = at_most(most);
        assert!(
            matches!(refused, Err(SetupError::MostMemory { .. })),
            "{most}"
        );
    }
}
