//! The virtual machine: a lean q35, as the product's QEMU driver starts it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::archive::initramfs;

const QEMU: &str = "qemu-system-x86_64";

/// How a machine differs from the usual one.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    /// A network interface of this hardware address.
    pub(crate) network: Option<&'static str>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            cpus: 1,
            memory_mib: 256,
            network: None,
        }
    }
}

pub(crate) struct Machine {
    process: Child,
    console: PathBuf,
}

impl Machine {
    /// Boots with the vsock device behind `socket`; files go to `folder`.
    pub(crate) fn boot(folder: &Path, socket: &Path, shape: Shape) -> Self {
        let console = folder.join("console");
        let archive = folder.join("initramfs.cpio");
        std::fs::write(&archive, image()).unwrap();
        let mut command = Command::new(QEMU);
        command.args(FIXED);
        command.args(sized(shape));
        command.args([
            "-chardev",
            &format!("socket,id=vsock,path={}", socket.display()),
        ]);
        if let Some(address) = shape.network {
            command.args(["-netdev", "user,id=net"]);
            command.args([
                "-device",
                &format!("virtio-net-pci,romfile=,netdev=net,mac={address}"),
            ]);
        }
        command.args(["-serial", &format!("file:{}", console.display())]);
        command
            .arg("-kernel")
            .arg(kernel())
            .arg("-initrd")
            .arg(archive);
        command.args(["-append", &command_line()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {QEMU}: {error}"));
        Self { process, console }
    }

    /// Whether it has ended, within `patience`.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.process.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    pub(crate) fn console(&self) -> String {
        let text = std::fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::env::var_os("KATA_MSHV_TEST_CONSOLE").is_some() || std::thread::panicking() {
            eprintln!("console of the guest:\n{}", self.console());
        }
    }
}

#[rustfmt::skip]
const FIXED: &[&str] = &[
    "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    "-accel", "tcg,thread=single", "-cpu", "max", "-bios", "bios-microvm.bin",
    "-machine", "q35,memory-backend=mem,smm=off,vmport=off,hpet=off,sata=off,usb=off,\
                 i8042=off,graphics=off,smbus=off",
    "-device", "vhost-user-vsock-pci,chardev=vsock",
];

fn sized(shape: Shape) -> Vec<String> {
    let memory = format!("{}M", shape.memory_mib);
    let backend = format!("memory-backend-memfd,id=mem,size={memory},share=on");
    [
        "-smp",
        &shape.cpus.to_string(),
        "-m",
        &memory,
        "-object",
        &backend,
    ]
    .map(str::to_owned)
    .into()
}

fn command_line() -> String {
    let tsc = probe::Tsc::begin().khz();
    let level = std::env::var("KATA_MSHV_TEST_LOG").unwrap_or("warn".to_owned());
    format!(
        "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz={tsc} tsc=reliable \
         mitigations=off nokaslr noreplace-smp no_timer_check loglevel=7 agent.log={level}"
    )
}

fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let agent = stripped(Path::new(env!("CARGO_BIN_EXE_kata-mshv-agent")));
        let path = std::env::var("KATA_MSHV_TEST_BUSYBOX").unwrap_or("/bin/busybox".to_owned());
        let busybox = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{path}: {error}; install busybox-static"));
        initramfs(&agent, &busybox)
    })
}

/// A debug build is ten times the size without need.
fn stripped(agent: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("agent");
    let status = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(agent)
        .status();
    match status {
        Ok(status) if status.success() => std::fs::read(copy).unwrap(),
        _ => std::fs::read(agent).unwrap(),
    }
}

fn kernel() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guest/vmlinux");
    let path = PathBuf::from(std::env::var_os("KATA_MSHV_TEST_KERNEL").unwrap_or(built.into()));
    assert!(
        path.is_file(),
        "no guest kernel at {}; build one with guest-kernel-config/build.sh \
         or name one in KATA_MSHV_TEST_KERNEL",
        path.display()
    );
    path
}
