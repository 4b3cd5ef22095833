//! inotify(7), as programs that reload their configuration use it.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Says what happens in `folder`, until it happens to `name`.
pub(crate) fn until(folder: &Path, name: &str) -> Result<()> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).context("begin to watch")?;
    let mask = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
    inotify
        .add_watch(folder, mask)
        .with_context(|| format!("watch {}", folder.display()))?;
    println!("watching");
    loop {
        for event in inotify.read_events().context("wait for an event")? {
            let what = event.name.unwrap_or_default();
            let what = what.to_string_lossy();
            println!("{:?} {what}", event.mask);
            if what == name {
                return Ok(());
            }
        }
    }
}
