//! QEMU's command line: a q35 with nothing on it that a pod does not need.

use vmm_api::{MachineConfig, NetConfig};

use super::Accelerator;

/// Inherited descriptors, in the order in which the driver hands them over.
const CONSOLE_FD: usize = 3;
const VSOCK_FD: usize = 4;
const FS_FD: usize = 5;
const KERNEL_FD: usize = 6;
const INITRAMFS_FD: usize = 7;
const MONITOR_FD: usize = 8;
const FIRST_TAP_FD: usize = 9;

/// QEMU's name of the device by which memory comes and goes.
pub(super) const MEMORY_DEVICE: &str = "memory";

/// Bytes by which memory comes and goes, as with the built-in VMM.
const MEMORY_BLOCK: &str = "16M";

/// Functions of a PCI device.
const FUNCTIONS: usize = 8;

/// The first PCI device of ports.
const FIRST_PORTS: usize = 0x10;

/// All arguments after the program's name.
pub(super) fn command_line(
    config: &MachineConfig,
    accelerator: Accelerator,
    tsc_khz: u64,
    disk_ports: u32,
) -> Vec<String> {
    let mut args = Args::default();
    machine(&mut args, config, accelerator);
    boot(&mut args, config, accelerator, tsc_khz);
    devices(&mut args, config);
    for number in (0..).take(usize::try_from(disk_ports).unwrap_or(0)) {
        disk_port(&mut args, number);
    }
    for (index, net) in config.nets.iter().enumerate() {
        network(&mut args, index, net);
    }
    args.0
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn flag(&mut self, name: &str) {
        self.0.push(format!("-{name}"));
    }

    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.0.push(value.into());
    }
}

fn machine(args: &mut Args, config: &MachineConfig, accelerator: Accelerator) {
    args.flag("nodefaults");
    args.flag("no-user-config");
    // A guest that reboots or panics ends the process: the shim sees it.
    args.flag("no-reboot");
    args.option("display", "none");
    let sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
    args.option("sandbox", sandbox);
    let (accel, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Mshv => ("mshv", "host"),
        // Several CPUs share a thread. With one each, a kernel that patches its
        // own code while another CPU runs it now and then crashes as it boots.
        Accelerator::Tcg if processors(config) > 1 => ("tcg,thread=single", "max"),
        Accelerator::Tcg => ("tcg,thread=multi", "max"),
    };
    args.option("accel", accel);
    args.option("cpu", cpu);
    // All are there from the start: a guest whose firmware tells of none that
    // could come takes no other. It boots with some of them (`maxcpus=`).
    args.option("smp", processors(config).to_string());
    args.option("m", memory_size(config));
    // Shared: the device processes read and write the guest's memory.
    let memory = format!(
        "memory-backend-memfd,id=mem,size={}M,share=on",
        config.memory_mib
    );
    args.option("object", memory);
    args.option(
        "machine",
        "q35,memory-backend=mem,smm=off,vmport=off,hpet=off,sata=off,usb=off,i8042=off,graphics=off,smbus=off",
    );
}

fn processors(config: &MachineConfig) -> u32 {
    config.max_vcpus.max(config.vcpus)
}

/// MiB that can come.
fn memory_to_come(config: &MachineConfig) -> u64 {
    config.max_memory_mib.saturating_sub(config.memory_mib)
}

fn memory_size(config: &MachineConfig) -> String {
    match memory_to_come(config) {
        0 => format!("{}M", config.memory_mib),
        _ => format!("{}M,maxmem={}M", config.memory_mib, config.max_memory_mib),
    }
}

fn boot(args: &mut Args, config: &MachineConfig, accelerator: Accelerator, tsc_khz: u64) {
    // qboot instead of SeaBIOS: nothing to probe, 100 ms sooner.
    args.option("bios", "bios-microvm.bin");
    // By descriptor: QEMU need not be able to reach their folders.
    args.option("kernel", format!("/proc/self/fd/{KERNEL_FD}"));
    args.option("initrd", format!("/proc/self/fd/{INITRAMFS_FD}"));
    args.option("append", kernel_command_line(config, accelerator, tsc_khz));
    args.option("chardev", format!("socket,id=console,fd={CONSOLE_FD}"));
    args.option("serial", "chardev:console");
    args.option("chardev", format!("socket,id=monitor,fd={MONITOR_FD}"));
    args.option("mon", "chardev=monitor,mode=control");
}

/// Parameters that the machine needs, then the configured ones: the last of
/// two equal names wins.
fn kernel_command_line(config: &MachineConfig, accelerator: Accelerator, tsc_khz: u64) -> String {
    let mut parameters = vec![
        "console=ttyS0".to_owned(),
        "quiet".to_owned(),
        // A panic resets the machine at once, and QEMU ends (-no-reboot).
        "panic=-1".to_owned(),
        "reboot=t".to_owned(),
        "tsc=reliable".to_owned(),
        "no_timer_check".to_owned(),
        "noreplace-smp".to_owned(),
    ];
    if accelerator == Accelerator::Tcg {
        parameters.push(format!("tsc_early_khz={tsc_khz}"));
        // There is no speculation in emulated code.
        parameters.push("mitigations=off".to_owned());
    }
    if processors(config) > config.vcpus {
        parameters.push(format!("maxcpus={}", config.vcpus));
    }
    if memory_to_come(config) > 0 {
        parameters.push("memhp_default_state=online_movable".to_owned());
    }
    parameters.push(config.kernel_parameters.clone());
    parameters.join(" ").trim_end().to_owned()
}

/// None speaks the interface from before virtio 1.0, which the guest would only
/// spend time on to find and leave alone.
fn devices(args: &mut Args, config: &MachineConfig) {
    args.option("chardev", format!("socket,id=vsock,fd={VSOCK_FD}"));
    args.option("device", "vhost-user-vsock-pci,chardev=vsock");
    args.option("chardev", format!("socket,id=fs,fd={FS_FD}"));
    let tag = escape(&config.share_tag);
    args.option(
        "device",
        format!("vhost-user-fs-pci,chardev=fs,tag={tag},queue-size=1024"),
    );
    args.option("device", "virtio-rng-pci,disable-legacy=on");
    // What the guest frees goes back to the host without being asked for.
    args.option(
        "device",
        "virtio-balloon-pci,disable-legacy=on,free-page-reporting=on,deflate-on-oom=on",
    );
    match memory_to_come(config) {
        0 => {}
        mib => memory(args, mib),
    }
}

/// Memory that comes: none of it is the host's before.
fn memory(args: &mut Args, mib: u64) {
    let file = format!("memory-backend-memfd,id=more,size={mib}M,share=on,reserve=off");
    args.option("object", file);
    args.option(
        "device",
        format!(
            "virtio-mem-pci,disable-legacy=on,id={MEMORY_DEVICE},memdev=more,requested-size=0,block-size={MEMORY_BLOCK}"
        ),
    );
}

/// QEMU's name of the `number`th port for a disk.
pub(super) fn port(number: usize) -> String {
    format!("port{number}")
}

/// Eight are the functions of one device.
fn disk_port(args: &mut Args, number: usize) {
    let (device, function) = (FIRST_PORTS + number / FUNCTIONS, number % FUNCTIONS);
    let (name, chassis) = (port(number), number + 1);
    args.option(
        "device",
        format!(
            "pcie-root-port,id={name},chassis={chassis},addr={device:#x}.{function},multifunction=on,io-reserve=0"
        ),
    );
}

fn network(args: &mut Args, index: usize, net: &NetConfig) {
    let fd = FIRST_TAP_FD + index;
    args.option("netdev", format!("tap,id=net{index},fd={fd}"));
    args.option(
        "device",
        format!(
            "virtio-net-pci,disable-legacy=on,netdev=net{index},mac={},host_mtu={},romfile=",
            escape(&net.mac),
            net.mtu
        ),
    );
}

/// A comma ends a value unless it is doubled (qemu(1)).
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MachineConfig {
        MachineConfig {
            vcpus: 3,
            max_vcpus: 0,
            max_memory_mib: 0,
            memory_mib: 2560,
            kernel: "/k".into(),
            initramfs: "/i".into(),
            kernel_parameters: "agent.log=debug".into(),
            guest_cid: 3,
            share_tag: "a,b".into(),
            nets: vec![
                NetConfig {
                    mac: "02:00:00:00:00:01".into(),
                    mtu: 1500,
                    queue_pairs: 1,
                    vhost: false,
                },
                NetConfig {
                    mac: "02:00:00:00:00:02".into(),
                    mtu: 9000,
                    queue_pairs: 1,
                    vhost: false,
                },
            ],
            disks: Vec::new(),
        }
    }

    fn values<'a>(args: &'a [String], name: &str) -> Vec<&'a str> {
        args.windows(2)
            .filter(|pair| pair[0] == name)
            .map(|pair| pair[1].as_str())
            .collect()
    }

    #[test]
    fn the_size_is_what_was_asked_for() {
        let args = command_line(&config(), Accelerator::Tcg, 2_000_000, 0);
        assert_eq!(values(&args, "-smp"), ["3"]);
        assert_eq!(values(&args, "-m"), ["2560M"]);
        assert!(values(&args, "-object")[0].contains("size=2560M,share=on"));
    }

    #[test]
    fn what_can_come_is_there_and_unused() {
        let config = MachineConfig {
            max_vcpus: 5,
            max_memory_mib: 4608,
            ..config()
        };
        let args = command_line(&config, Accelerator::Tcg, 1, 9);
        assert_eq!(values(&args, "-smp"), ["5"]);
        assert_eq!(values(&args, "-m"), ["2560M,maxmem=4608M"]);
        assert!(values(&args, "-append")[0].contains(" maxcpus=3 memhp_default_state="));
        let devices = values(&args, "-device");
        let memory = "virtio-mem-pci,disable-legacy=on,id=memory,memdev=more,requested-size=0";
        assert!(devices.iter().any(|device| device.starts_with(memory)));
        let ports: Vec<_> = devices.iter().filter(|d| d.contains("root-port")).collect();
        assert_eq!(ports.len(), 9);
        assert!(
            ports[8].contains("id=port8,chassis=9,addr=0x11.0,"),
            "{}",
            ports[8]
        );
    }

    #[test]
    fn emulated_cpus_share_a_thread() {
        let args = command_line(&config(), Accelerator::Tcg, 1, 0);
        assert_eq!(values(&args, "-accel"), ["tcg,thread=single"]);
    }

    #[test]
    fn every_interface_has_its_own_tap() {
        let args = command_line(&config(), Accelerator::Kvm, 0, 0);
        assert_eq!(
            values(&args, "-netdev"),
            ["tap,id=net0,fd=9", "tap,id=net1,fd=10"]
        );
        let devices = values(&args, "-device");
        assert!(
            devices
                .iter()
                .any(|d| d.contains("netdev=net1,mac=02:00:00:00:00:02,host_mtu=9000"))
        );
    }

    #[test]
    fn mitigations_are_off_only_where_nothing_speculates() {
        let append = |accelerator| {
            let args = command_line(&config(), accelerator, 2_000_000, 0);
            values(&args, "-append")[0].to_owned()
        };
        assert!(append(Accelerator::Tcg).contains("tsc_early_khz=2000000 mitigations=off"));
        assert!(!append(Accelerator::Kvm).contains("mitigations"));
        assert!(append(Accelerator::Kvm).ends_with(" agent.log=debug"));
    }

    #[test]
    fn a_comma_cannot_add_an_option() {
        let args = command_line(&config(), Accelerator::Tcg, 1, 0);
        assert!(
            values(&args, "-device")
                .iter()
                .any(|d| d.contains("tag=a,,b,queue-size"))
        );
    }
}
