//! QEMU and the device process.

use crate::initramfs;
use crate::shim::Shim;
use anyhow::{Context, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const QEMU: &str = "qemu-system-x86_64";

/// Idle memory that is the device's own, KiB: what is neither the guest's nor
/// the program file's.
const MOST_ANONYMOUS: u64 = 1024;

/// A running machine with its device.
pub(crate) struct Machine {
    pub(crate) shim: Shim,
    directory: TempDir,
    device: Child,
    qemu: Child,
}

impl Machine {
    /// Boots the guest with `arguments` for its init.
    pub(crate) fn start(device_options: &str, arguments: &[String]) -> anyhow::Result<Self> {
        let kernel = kernel()?;
        let directory = tempfile::tempdir()?;
        let init = std::fs::read(std::env::current_exe()?)?;
        std::fs::write(
            directory.path().join("initramfs"),
            initramfs::with_init(&init),
        )?;
        let (device, shim) = start_device(directory.path())?;
        let qemu = start_qemu(directory.path(), &kernel, device_options, arguments)?;
        Ok(Self {
            shim,
            directory,
            device,
            qemu,
        })
    }

    /// Ends the machine, and checks that it does so as it should if all went
    /// well before.
    pub(crate) fn end(&mut self, check: bool) -> anyhow::Result<()> {
        if !check {
            let (qemu, device) = (self.qemu.try_wait()?, self.device.try_wait()?);
            println!("QEMU ended with {qemu:?}, the device with {device:?}");
            self.kill();
            return Ok(());
        }
        let memory = memory(self.device.id())?;
        println!("device: {memory:?} KiB");
        wait(&mut self.qemu).context("QEMU did not end with its guest")?;
        let status = wait(&mut self.device).context("the device did not end with QEMU")?;
        ensure!(status.success(), "the device ended with {status}");
        ensure!(
            memory.anonymous <= MOST_ANONYMOUS,
            "the device uses {} KiB of its own",
            memory.anonymous,
        );
        Ok(())
    }

    /// The last lines that the guest wrote.
    pub(crate) fn console(&self) -> String {
        let path = self.directory.path().join("console");
        let bytes = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn kill(&mut self) {
        for child in [&mut self.qemu, &mut self.device] {
            // Fails only when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn kernel() -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = std::env::var_os("KATA_MSHV_TEST_KERNEL")
        .map_or_else(|| workspace.join("target/guest/vmlinux"), PathBuf::from);
    ensure!(
        path.is_file(),
        "no guest kernel at {}: build it with `guest-kernel-config/build.sh`, or name one in \
         KATA_MSHV_TEST_KERNEL",
        path.display(),
    );
    Ok(path)
}

fn start_device(directory: &Path) -> anyhow::Result<(Child, Shim)> {
    let listener = UnixListener::bind(directory.join("vsock"))?;
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    let program = std::env::var_os("KATA_MSHV_TEST_VSOCK")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_kata-mshv-vsock").into());
    let device = Command::new(&program)
        .args(["--listen-fd=3", "--handover-fd=4", "--guest-cid=3"])
        .args(["--port=1024", "--port=1025"])
        .fd_mappings(vec![
            FdMapping {
                parent_fd: listener.into(),
                child_fd: 3,
            },
            FdMapping {
                parent_fd: theirs,
                child_fd: 4,
            },
        ])?
        .spawn()
        .with_context(|| format!("cannot start the device {}", program.display()))?;
    let shim = Shim {
        socket: ours,
        device: device.id(),
        monitor: directory.join("monitor"),
    };
    Ok((device, shim))
}

fn start_qemu(
    directory: &Path,
    kernel: &Path,
    device_options: &str,
    arguments: &[String],
) -> anyhow::Result<Child> {
    let device = format!("vhost-user-vsock-pci,chardev=vsock{device_options}");
    let in_directory = |name: &str| directory.join(name).display().to_string();
    let command_line = format!(
        "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz={} tsc=reliable mitigations=off \
         nokaslr noreplace-smp no_timer_check -- {}",
        probe::Tsc::begin().khz(),
        arguments.join(" "),
    );
    Command::new(QEMU)
        .args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "512M,slots=1,maxmem=1G"])
        .args(["-object", "memory-backend-memfd,id=mem,size=512M,share=on"])
        .args(["-machine", "q35,memory-backend=mem,smm=off,vmport=off,hpet=off,sata=off,usb=off,i8042=off,graphics=off,smbus=off"])
        .args(["-bios", "bios-microvm.bin", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot"])
        .args(["-serial", &format!("file:{}", in_directory("console"))])
        .args(["-chardev", &format!("socket,id=vsock,path={}", in_directory("vsock"))])
        .args(["-qmp", &format!("unix:{},server=on,wait=off", in_directory("monitor"))])
        .args(["-device", &device])
        .args(["-kernel", &kernel.display().to_string()])
        .args(["-initrd", &in_directory("initramfs")])
        .args(["-append", &command_line])
        .spawn()
        .with_context(|| format!("cannot start {QEMU}: install Debian's qemu-system-x86"))
}

fn wait(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("still running after 10 s")
}

/// Memory of a process, KiB.
#[derive(Debug)]
struct Memory {
    #[expect(dead_code, reason = "printed")]
    pss: u64,
    #[expect(dead_code, reason = "printed")]
    file: u64,
    #[expect(dead_code, reason = "printed")]
    guest: u64,
    anonymous: u64,
}

fn memory(process: u32) -> anyhow::Result<Memory> {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
        value
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("no {name}"))
    };
    Ok(Memory {
        pss: field("Pss:")?,
        file: field("Pss_File:")?,
        guest: field("Pss_Shmem:")?,
        anonymous: field("Pss_Anon:")?,
    })
}

/// Ends the guest: QEMU is told not to start it again.
pub(crate) fn restart() -> ! {
    match reboot(RebootMode::RB_AUTOBOOT) {
        Ok(never) => match never {},
        Err(error) => panic!("cannot restart: {error}"),
    }
}
