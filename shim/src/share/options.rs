//! Mount options as text, taken apart into flags and data (mount(8)).

use nix::mount::MsFlags;

/// What an option does to the flags.
enum Effect {
    Set(MsFlags),
    Clear(MsFlags),
}

use Effect::{Clear, Set};

const OPTIONS: &[(&str, Effect)] = &[
    ("defaults", Set(MsFlags::empty())),
    ("bind", Set(MsFlags::MS_BIND)),
    ("rbind", Set(MsFlags::MS_BIND.union(MsFlags::MS_REC))),
    ("ro", Set(MsFlags::MS_RDONLY)),
    ("rw", Clear(MsFlags::MS_RDONLY)),
    ("nosuid", Set(MsFlags::MS_NOSUID)),
    ("suid", Clear(MsFlags::MS_NOSUID)),
    ("nodev", Set(MsFlags::MS_NODEV)),
    ("dev", Clear(MsFlags::MS_NODEV)),
    ("noexec", Set(MsFlags::MS_NOEXEC)),
    ("exec", Clear(MsFlags::MS_NOEXEC)),
    ("sync", Set(MsFlags::MS_SYNCHRONOUS)),
    ("async", Clear(MsFlags::MS_SYNCHRONOUS)),
    ("dirsync", Set(MsFlags::MS_DIRSYNC)),
    ("mand", Set(MsFlags::MS_MANDLOCK)),
    ("nomand", Clear(MsFlags::MS_MANDLOCK)),
    ("noatime", Set(MsFlags::MS_NOATIME)),
    ("atime", Clear(MsFlags::MS_NOATIME)),
    ("nodiratime", Set(MsFlags::MS_NODIRATIME)),
    ("diratime", Clear(MsFlags::MS_NODIRATIME)),
    ("relatime", Set(MsFlags::MS_RELATIME)),
    ("norelatime", Clear(MsFlags::MS_RELATIME)),
    ("strictatime", Set(MsFlags::MS_STRICTATIME)),
    ("remount", Set(MsFlags::MS_REMOUNT)),
];

/// The flags of `options`, and the rest joined for the file system.
pub(super) fn parse(options: &[String]) -> (MsFlags, Vec<&str>) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in options {
        match OPTIONS.iter().find(|(name, _)| name == option) {
            Some((_, Set(set))) => flags |= *set,
            Some((_, Clear(clear))) => flags -= *clear,
            None => data.push(option.as_str()),
        }
    }
    (flags, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_data_are_told_apart() {
        let options = ["ro", "nosuid", "rw", "lowerdir=/a:/b", "index=off"].map(str::to_owned);
        let (flags, data) = parse(&options);
        assert_eq!(flags, MsFlags::MS_NOSUID);
        assert_eq!(data, ["lowerdir=/a:/b", "index=off"]);
    }
}
