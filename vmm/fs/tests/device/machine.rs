//! The virtual machine: QEMU, emulating, with nothing in it but the device
//! under test and a serial line.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::archive::initramfs;
use crate::process::Device;

const QEMU: &str = "qemu-system-x86_64";

/// Longer than any case takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Machine {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Machine {
    pub(crate) fn boot(device: &Device) -> anyhow::Result<Self> {
        let kernel = kernel()?;
        let archive = device.socket().with_file_name("initramfs.cpio");
        fs::write(&archive, initramfs(&fs::read(guest_program()?)?))?;
        let chardev = format!("socket,id=fs,path={}", device.socket().display());
        let mut command = Command::new(QEMU);
        command.args(FIXED);
        command.args(["-chardev", &chardev]);
        command.arg("-kernel").arg(kernel);
        command.arg("-initrd").arg(archive);
        command.args(["-append", &command_line()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let spawned = command.spawn();
        let mut process = spawned.context(format!("start {QEMU}; install qemu-system-x86"))?;
        let input = process.stdin.take().context("QEMU's input")?;
        let output = process.stdout.take().context("QEMU's output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let line = line.trim_end();
                if !line.is_empty() && sender.send(line.to_owned()).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            process,
            input,
            lines,
        })
    }

    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        Ok(self.lines.recv_timeout(PATIENCE)?)
    }

    pub(crate) fn answer(&mut self, answer: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "{answer}")?)
    }

    pub(crate) fn ends(mut self) -> anyhow::Result<()> {
        let status = self.process.wait()?;
        ensure!(status.success(), "QEMU ended with {status}");
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails if it has ended, as it should.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[rustfmt::skip]
const FIXED: &[&str] = &[
    "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    "-accel", "tcg", "-cpu", "max", "-bios", "bios-microvm.bin",
    "-machine", "q35,memory-backend=mem,smm=off,vmport=off,hpet=off,sata=off,usb=off,\
                 i8042=off,graphics=off,smbus=off",
    "-m", "512M",
    "-object", "memory-backend-memfd,id=mem,size=512M,share=on",
    "-chardev", "stdio,id=console", "-device", "isa-serial,chardev=console",
    "-device", "vhost-user-fs-pci,chardev=fs,tag=share,queue-size=1024",
];

fn command_line() -> String {
    let tsc = probe::Tsc::begin().khz();
    format!(
        "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz={tsc} tsc=reliable \
         mitigations=off nokaslr noreplace-smp no_timer_check"
    )
}

fn kernel() -> anyhow::Result<PathBuf> {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guest/vmlinux");
    let path = std::env::var_os("KATA_MSHV_TEST_KERNEL").unwrap_or(built.into());
    let path = PathBuf::from(path);
    if !path.is_file() {
        bail!(
            "no guest kernel at {}; build one with guest-kernel-config/build.sh \
             or name one in KATA_MSHV_TEST_KERNEL",
            path.display()
        );
    }
    Ok(path)
}

/// Cargo builds a package's examples with its tests, into a folder beside
/// theirs.
fn guest_program() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("the test's build folder")?;
    let program = profile.join("examples/fs-guest");
    ensure!(
        program.is_file(),
        "{} is missing; `cargo test -p fs-device` builds it, unless it is given a test's name: \
         then run `cargo build -p fs-device --example fs-guest` first",
        program.display()
    );
    Ok(program)
}
