//! The bed's images, made here: no registry is asked. All are a busybox.

mod layer;
mod oci;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::neighbour::neighbour;
use layer::Layer;
use oci::Image;

/// The sandbox's image.
pub const PAUSE: &str = "localhost/bed/pause:1";

/// A shell and the usual commands.
pub const BUSYBOX: &str = "localhost/bed/busybox:1";

/// As [`BUSYBOX`], with a file that cannot be run: [`NOT_EXECUTABLE`].
pub const ODD: &str = "localhost/bed/odd:1";

/// In [`ODD`], a program without the permission to run it.
pub const NOT_EXECUTABLE: &str = "/not-executable";

/// As [`BUSYBOX`], with `trial`, which tries things with files.
pub const TRIALS: &str = "localhost/bed/trials:1";

/// What `runtimeclass/samples` run, under the name that they give.
pub const SAMPLES: &str = "mcr.azk8s.cn/aks/fundamental/base-ubuntu:v0.0.11";

/// Writes all images as one OCI archive to `path`.
///
/// # Errors
///
/// `busybox` cannot be run, or `path` not be written.
pub(crate) fn write(busybox: &Path, path: &Path) -> Result<()> {
    let userland = userland(busybox)?;
    let shell = |name| Image::new(name, vec![userland.clone()], &["/bin/sh"]);
    let odd = vec![userland.clone(), odd()?];
    let trials = vec![userland.clone(), trials()?];
    let images = [
        Image::new(
            PAUSE,
            vec![userland.clone()],
            &["/bin/busybox", "sleep", "2147483647"],
        ),
        shell(BUSYBOX),
        shell(SAMPLES),
        Image::new(ODD, odd, &["/bin/sh"]),
        Image::new(TRIALS, trials, &["/bin/sh"]),
    ];
    let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
    oci::write(&images, file).with_context(|| format!("write images to {}", path.display()))
}

/// A root file system of busybox alone, its commands as hard links.
fn userland(busybox: &Path) -> Result<Layer> {
    let mut layer = Layer::builder();
    for folder in [
        "bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "usr/bin", "var",
    ] {
        layer.folder(folder, 0o755)?;
    }
    layer.folder("tmp", 0o1777)?;
    layer.program("bin/busybox", busybox)?;
    for command in commands(busybox)? {
        layer.hard_link(&format!("bin/{command}"), "bin/busybox")?;
    }
    layer.file("etc/passwd", 0o644, PASSWD)?;
    layer.file("etc/group", 0o644, GROUP)?;
    layer.finish()
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      daemon:x:1:1:daemon:/:/bin/false\n\
                      nobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n";

fn odd() -> Result<Layer> {
    let mut layer = Layer::builder();
    layer.file(NOT_EXECUTABLE.trim_start_matches('/'), 0o644, "#!/bin/sh\n")?;
    layer.finish()
}

fn trials() -> Result<Layer> {
    let mut layer = Layer::builder();
    layer.program("bin/trial", &neighbour("trial")?)?;
    layer.finish()
}

/// The commands that `busybox` contains, without itself.
fn commands(busybox: &Path) -> Result<Vec<String>> {
    let output = Command::new(busybox).arg("--list").output();
    let output = output.with_context(|| format!("run {} --list", busybox.display()))?;
    let list = String::from_utf8(output.stdout).context("busybox --list is not text")?;
    let commands: Vec<_> = list.lines().map(str::to_owned).collect();
    ensure!(
        commands.iter().any(|command| command == "sh"),
        "{} has no sh",
        busybox.display()
    );
    Ok(commands
        .into_iter()
        .filter(|command| command != "busybox")
        .collect())
}
