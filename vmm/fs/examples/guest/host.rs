//! What the host does to the share while the guest runs.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::console::Console;
use crate::{Case, SHARE};

pub(crate) const CASES: &[Case] = &[
    ("a mount made later appears", later_mount),
    ("a mount that is taken away disappears", taken_away),
    ("a read-only mount stays read-only", read_only),
    ("a file changed by the host is seen", changed_file),
    ("a volume updated by a swapped link is seen", swapped_volume),
    ("there is nothing above the root", above_root),
    ("an absolute link points into the guest", absolute_link),
    (
        "a directory swapped for a link leads nowhere else",
        swapped_directory,
    ),
];

/// Longer than the guest may keep a name or an attribute.
const PATIENCE: Duration = Duration::from_millis(2_500);

fn within_patience(mut seen: impl FnMut() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !seen() {
        if began.elapsed() > PATIENCE {
            bail!("not seen after {PATIENCE:?}");
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn path(name: &str) -> String {
    format!("{SHARE}/{name}")
}

fn reads(name: &str, text: &str) -> bool {
    fs::read_to_string(path(name)).is_ok_and(|read| read == text)
}

fn later_mount(console: &mut Console) -> anyhow::Result<()> {
    ensure!(!Path::new(&path("later")).exists());
    console.ask("mount later")?;
    within_patience(|| reads("later/inside", "mounted later\n"))?;
    let (root, mount) = (fs::metadata(SHARE)?, fs::metadata(path("later"))?);
    ensure!(root.dev() != mount.dev(), "the mount is not announced");
    fs::write(path("later/from-guest"), "guest\n")?;
    console.ask("contains later/from-guest guest")
}

fn taken_away(console: &mut Console) -> anyhow::Result<()> {
    // The guest lets go first, as an agent does for a container that ended.
    nix::mount::umount(path("later").as_str())?;
    console.ask("unmount later")?;
    within_patience(|| !Path::new(&path("later/inside")).exists())
}

fn read_only(console: &mut Console) -> anyhow::Result<()> {
    console.ask("mount-read-only locked")?;
    within_patience(|| reads("locked/inside", "mounted later\n"))?;
    let refused = |result: std::io::Result<()>| {
        result.map_err(|error| error.raw_os_error()) == Err(Some(libc::EROFS))
    };
    ensure!(refused(fs::write(path("locked/new"), "x")));
    ensure!(refused(fs::remove_file(path("locked/inside"))));
    ensure!(refused(
        File::options()
            .append(true)
            .open(path("locked/inside"))
            .map(drop)
    ));
    Ok(())
}

fn changed_file(console: &mut Console) -> anyhow::Result<()> {
    fs::write(path("shared"), "from the guest\n")?;
    ensure!(reads("shared", "from the guest\n"));
    console.ask("write shared host")?;
    within_patience(|| reads("shared", "host\n"))
}

fn swapped_volume(console: &mut Console) -> anyhow::Result<()> {
    console.ask("volume 1")?;
    within_patience(|| reads("volume/key", "1\n"))?;
    console.ask("volume 2")?;
    within_patience(|| reads("volume/key", "2\n"))
}

fn above_root(_: &mut Console) -> anyhow::Result<()> {
    let (above, root) = (fs::metadata(path(".."))?, fs::metadata("/")?);
    ensure!((above.dev(), above.ino()) == (root.dev(), root.ino()));
    ensure!(!Path::new(&path("../outside")).exists());
    Ok(())
}

fn absolute_link(console: &mut Console) -> anyhow::Result<()> {
    console.ask("link-outside absolute")?;
    within_patience(|| fs::symlink_metadata(path("absolute")).is_ok())?;
    ensure!(
        fs::read(path("absolute")).is_err(),
        "the host's file was read"
    );
    Ok(())
}

fn swapped_directory(console: &mut Console) -> anyhow::Result<()> {
    fs::create_dir(path("victim"))?;
    let held = File::open(path("victim"))?;
    console.ask("swap-for-link victim")?;
    let inside = |name: &str| openat(&held, name, OFlag::O_RDONLY, Mode::empty());
    for _ in 0..100 {
        ensure!(inside("inside").is_err(), "the host's file was opened");
        ensure!(
            fs::read(path("victim/inside")).is_err(),
            "the host's file was read"
        );
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
