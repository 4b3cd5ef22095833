use super::*;

/// Folders as the kernel would show them; writing to its files does nothing.
struct Kernel {
    folder: tempfile::TempDir,
    disks: Disks,
}

impl Kernel {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
        std::fs::create_dir_all(sys.join("drivers/virtio-mmio")).unwrap();
        std::fs::create_dir_all(&dev).unwrap();
        for file in ["bind", "unbind"] {
            std::fs::write(sys.join("drivers/virtio-mmio").join(file), "").unwrap();
        }
        let blocks = folder.path().join("block");
        let disks = Disks { sys, blocks, dev };
        Self { folder, disks }
    }

    fn with_disk(self, slot: &str, name: &str, serial: &str) -> Self {
        let device = self.disks.sys.join("devices").join(slot).join("virtio5");
        let disk = device.join("block").join(name);
        std::fs::create_dir_all(&disk).unwrap();
        std::fs::write(disk.join("serial"), format!("{serial}\n")).unwrap();
        std::fs::write(disk.join("dev"), "254:16\n").unwrap();
        std::fs::write(self.disks.dev.join(name), "").unwrap();
        self
    }

    /// The disk is that block device.
    fn backed_by(self, name: &str, device: &Path) -> Self {
        let node = self.disks.dev.join(name);
        std::fs::remove_file(&node).unwrap();
        std::os::unix::fs::symlink(device, node).unwrap();
        self
    }

    /// One on a bus that tells of it.
    fn announce(&self, name: &str, serial: &str) {
        let disk = self.disks.blocks.join(name);
        std::fs::create_dir_all(&disk).unwrap();
        std::fs::write(disk.join("dev"), "254:32\n").unwrap();
        std::fs::write(disk.join("serial"), format!("{serial}\n")).unwrap();
        std::fs::write(self.disks.dev.join(name), "").unwrap();
    }

    /// What was written to a file of the driver's.
    fn told(&self, file: &str) -> String {
        let path = self.folder.path().join("sys/drivers/virtio-mmio");
        std::fs::read_to_string(path.join(file)).unwrap()
    }
}

#[tokio::test]
async fn a_disk_is_found_by_its_slot_and_its_serial() {
    let kernel = Kernel::new()
        .with_disk("virtio-mmio.3", "vda", "other")
        .with_disk("virtio-mmio.5", "vdb", "data");
    let attached = kernel.disks.attach("virtio-mmio.5", "data".into()).await;
    let attached = attached.unwrap();
    assert!(attached.path.ends_with("/dev/vdb"), "{}", attached.path);
    assert_eq!((attached.major, attached.minor), (254, 16));
    assert_eq!(kernel.told("bind"), "virtio-mmio.5");
    assert_eq!(kernel.told("unbind"), "");
}

#[tokio::test]
async fn another_disk_is_let_go_of_at_once() {
    let kernel = Kernel::new().with_disk("virtio-mmio.5", "vdb", "other");
    let refused = kernel.disks.attach("virtio-mmio.5", "data".into()).await;
    let error = refused.unwrap_err();
    let text = r#"the disk in virtio-mmio.5 is "other", not "data""#;
    assert_eq!(error.to_string(), text);
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(kernel.told("unbind"), "virtio-mmio.5");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let kernel = Kernel::new();
    let no_disk = kernel.disks.attach("virtio-mmio.5", "data".into()).await;
    assert!(matches!(no_disk, Err(DiskError::NoDisk { .. })));
    let no_disk = kernel.disks.detach("virtio-mmio.5", String::new()).await;
    assert_eq!(no_disk.unwrap_err().code(), Code::NotFound);
    let no_slot = kernel.disks.detach("../virtio-mmio.5", String::new()).await;
    assert_eq!(no_slot.unwrap_err().code(), Code::InvalidArgument);
    std::fs::remove_file(kernel.folder.path().join("sys/drivers/virtio-mmio/bind")).unwrap();
    let no_driver = kernel.disks.attach("virtio-mmio.5", "data".into()).await;
    assert!(matches!(no_driver, Err(DiskError::Bind { .. })));
}

#[tokio::test]
async fn a_disk_that_nobody_uses_is_let_go_of() {
    let kernel = Kernel::new().with_disk("virtio-mmio.5", "vdb", "data");
    kernel
        .disks
        .detach("virtio-mmio.5", String::new())
        .await
        .unwrap();
    assert_eq!(kernel.told("unbind"), "virtio-mmio.5");
}

/// A block device of the host's, where whoever runs the tests may make one.
struct Loop {
    path: PathBuf,
    _file: tempfile::NamedTempFile,
}

impl Loop {
    fn new() -> Option<Self> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let mut command = std::process::Command::new("losetup");
        let made = command.args(["--find", "--show"]).arg(file.path()).output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            eprintln!("not tried: no loop device can be made");
            return None;
        };
        let path = String::from_utf8(made.stdout).unwrap();
        Some(Self {
            path: PathBuf::from(path.trim_end()),
            _file: file,
        })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("losetup");
        assert!(
            command
                .arg("-d")
                .arg(&self.path)
                .status()
                .unwrap()
                .success()
        );
    }
}

#[tokio::test]
async fn a_disk_that_somebody_has_claimed_stays() {
    let Some(device) = Loop::new() else { return };
    let kernel = Kernel::new()
        .with_disk("virtio-mmio.5", "vdb", "data")
        .backed_by("vdb", &device.path);
    // As a mount does.
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    let claim = rustix::fs::open(&device.path, flags, Mode::empty()).unwrap();
    let refused = kernel
        .disks
        .detach("virtio-mmio.5", String::new())
        .await
        .unwrap_err();
    assert!(matches!(refused, DiskError::InUse { .. }), "{refused}");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(kernel.told("unbind"), "");
    drop(claim);
    kernel
        .disks
        .detach("virtio-mmio.5", String::new())
        .await
        .unwrap();
    assert_eq!(kernel.told("unbind"), "virtio-mmio.5");
}

#[tokio::test]
async fn a_disk_that_comes_by_itself_is_waited_for() {
    let kernel = Kernel::new();
    kernel.announce("vda", "other");
    let come = async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        kernel.announce("vdc", "data");
    };
    let (attached, ()) = tokio::join!(kernel.disks.attach("", "data".into()), come);
    let attached = attached.unwrap();
    assert!(attached.path.ends_with("/dev/vdc"), "{}", attached.path);
    assert_eq!((attached.major, attached.minor), (254, 32));
    kernel.disks.detach("", "data".into()).await.unwrap();
    let gone = kernel.disks.detach("", "nosuch".into()).await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    assert_eq!(kernel.told("unbind"), "");
}
