//! The table of mounts that this process sees (proc_pid_mountinfo(5)).

use std::io;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Number of the file system: `0:57`.
    pub(crate) device: String,
    /// Which of its folders is mounted.
    pub(crate) root: PathBuf,
    pub(crate) point: PathBuf,
    pub(crate) writable: bool,
    /// Kind of the file system: `tmpfs`.
    pub(crate) kind: String,
}

/// All mounts, those above others last.
pub(crate) fn read() -> io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

pub(crate) fn parse(table: &str) -> Vec<Mounted> {
    table.lines().filter_map(line).collect()
}

/// Third to sixth field: number, root, mount point, options; the kind follows a
/// lone dash.
fn line(line: &str) -> Option<Mounted> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    let (device, root) = (fields.next()?, fields.next()?);
    let (point, options) = (fields.next()?, fields.next()?);
    Some(Mounted {
        device: device.to_owned(),
        root: unescaped(root),
        point: unescaped(point),
        writable: options.split(',').any(|option| option == "rw"),
        kind: file_system.split(' ').next()?.to_owned(),
    })
}

/// The four characters that the table escapes, as octal numbers.
fn unescaped(point: &str) -> PathBuf {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let replace = |text: String, (escape, plain): &(&str, &str)| text.replace(escape, plain);
    PathBuf::from(escapes.iter().fold(point.to_owned(), replace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let found = parse("41 40 0:31 /sub /data/a\\040b rw,nosuid shared:7 - tmpfs none ro\nx\n");
        let expected = Mounted {
            device: "0:31".into(),
            root: "/sub".into(),
            point: "/data/a b".into(),
            writable: true,
            kind: "tmpfs".into(),
        };
        assert_eq!(found, [expected]);
    }
}
