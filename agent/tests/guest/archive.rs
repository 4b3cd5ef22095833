//! The guest's initramfs: the agent, and a small root file system in `/image`
//! that containers use in place of one from the share. cpio in its "newc" form
//! (kernel documentation, "initramfs buffer format").

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Programs of busybox that the cases use.
const APPLETS: [&str; 22] = [
    "sh", "cat", "ls", "id", "stty", "ps", "ip", "hostname", "sleep", "head", "dd", "grep",
    "mount", "ping", "pwd", "nc", "mkdir", "chmod", "env", "tail", "printf", "readlink",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv/app:/bin/sh\n";

/// An archive with `agent` as `/init`.
pub(crate) fn initramfs(agent: &[u8], busybox: &[u8]) -> Vec<u8> {
    let mut archive = Archive(Vec::with_capacity(agent.len() + busybox.len() + (1 << 16)));
    archive.add("dev", DIRECTORY, (0, 0), &[]);
    archive.add("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    archive.add("init", PROGRAM, (0, 0), agent);
    for folder in ["image", "image/rootfs"] {
        archive.add(folder, DIRECTORY, (0, 0), &[]);
    }
    for folder in [
        "bin", "etc", "root", "srv", "srv/app", "tmp", "proc", "sys", "dev",
    ] {
        archive.add(&format!("image/rootfs/{folder}"), DIRECTORY, (0, 0), &[]);
    }
    archive.add("image/rootfs/bin/busybox", PROGRAM, (0, 0), busybox);
    for applet in APPLETS {
        archive.add(
            &format!("image/rootfs/bin/{applet}"),
            LINK,
            (0, 0),
            b"busybox",
        );
    }
    archive.add("image/rootfs/etc/passwd", FILE, (0, 0), PASSWD.as_bytes());
    archive.add("image/rootfs/etc/data", FILE, (0, 0), b"not a program\n");
    archive.add(
        "image/rootfs/bin/garbage",
        PROGRAM,
        (0, 0),
        b"\x01\x02\x03\x04",
    );
    archive.add("TRAILER!!!", 0, (0, 0), &[]);
    archive.0
}

struct Archive(Vec<u8>);

impl Archive {
    fn add(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), contents: &[u8]) {
        let inode = self.0.len();
        let (size, name_size) = (contents.len(), name.len() + 1);
        let fields = format!(
            "070701{inode:08x}{mode:08x}{zero:08x}{zero:08x}{one:08x}{zero:08x}{size:08x}\
             {zero:08x}{zero:08x}{major:08x}{minor:08x}{name_size:08x}{zero:08x}{name}\0",
            zero = 0,
            one = 1,
        );
        self.0.extend_from_slice(fields.as_bytes());
        self.pad();
        self.0.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}
