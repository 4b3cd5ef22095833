//! Changes of a machine by commands to QEMU. Its processors are all there from
//! the start; memory is virtio-mem's; a disk is behind a port of PCI Express.

use std::os::fd::OwnedFd;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use vmm_api::DiskConfig;

use super::QmpError;
use super::args::{MEMORY_DEVICE, port};
use super::qmp::Qmp;
use crate::machine::{Adjust, AdjustError};

/// How long the guest may take to let a disk go; Linux takes 0.1 s.
const LEAVE: Duration = Duration::from_secs(20);

const LOOK: Duration = Duration::from_millis(20);

/// A running QEMU.
pub(super) struct Monitor {
    qmp: Qmp,
    /// MiB of memory at the start.
    memory_mib: u64,
    /// What is behind each port: a disk's serial.
    ports: Mutex<Vec<Option<String>>>,
}

impl Monitor {
    pub(super) fn new(qmp: Qmp, memory_mib: u64, ports: usize) -> Self {
        Self {
            qmp,
            memory_mib,
            ports: Mutex::new(vec![None; ports]),
        }
    }

    async fn tell(&self, command: &'static str, arguments: Value) -> Result<Value, AdjustError> {
        Ok(self.qmp.execute(command, arguments, None).await?)
    }

    async fn plug(
        &self,
        disk: &DiskConfig,
        fd: OwnedFd,
        port_number: usize,
    ) -> Result<(), AdjustError> {
        let serial = disk.serial.as_str();
        let block_device = is_block_device(&fd);
        let set = json!({"fdset-id": port_number});
        self.qmp.execute("add-fd", set, Some(fd)).await?;
        let backend = json!({
            "driver": if block_device { "host_device" } else { "file" },
            "filename": format!("/dev/fdset/{port_number}"),
            "node-name": serial,
            "read-only": disk.read_only,
            "discard": "unmap",
            // Who else uses it is not QEMU's to say.
            "locking": "off",
        });
        self.tell("blockdev-add", backend).await?;
        let device = json!({
            "driver": "virtio-blk-pci",
            "disable-legacy": "on",
            "bus": port(port_number),
            "drive": serial,
            "id": serial,
            "serial": serial,
        });
        self.tell("device_add", device).await.map(drop)
    }

    /// Frees what a port held, as far as it is there.
    async fn clear(&self, serial: &str, port_number: usize) {
        for (command, arguments) in [
            ("blockdev-del", json!({"node-name": serial})),
            ("remove-fd", json!({"fdset-id": port_number})),
        ] {
            if let Err(error) = self.tell(command, arguments).await {
                tracing::debug!(%error, serial, "clear a port");
            }
        }
    }

    /// Waits until QEMU has no device of that name.
    async fn await_gone(&self, serial: &str) -> Result<(), AdjustError> {
        let deadline = Instant::now() + LEAVE;
        let stays = || AdjustError::Stays {
            serial: serial.to_owned(),
        };
        while self.has(serial).await? {
            if Instant::now() > deadline {
                return Err(stays());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn has(&self, serial: &str) -> Result<bool, AdjustError> {
        let path = json!({"path": "/machine/peripheral"});
        let devices = self.tell("qom-list", path).await?;
        let mut devices = devices.as_array().into_iter().flatten();
        Ok(devices.any(|device| device["name"] == serial))
    }
}

#[async_trait]
impl Adjust for Monitor {
    async fn set_vcpus(&self, _: u32) -> Result<(), AdjustError> {
        Ok(())
    }

    async fn set_memory(&self, memory_mib: u64) -> Result<(), AdjustError> {
        let added = memory_mib.saturating_sub(self.memory_mib);
        let wanted = json!({
            "path": format!("/machine/peripheral/{MEMORY_DEVICE}"),
            "property": "requested-size",
            "value": added.saturating_mul(1 << 20),
        });
        self.tell("qom-set", wanted).await.map(drop)
    }

    async fn attach_disk(&self, disk: &DiskConfig, fd: OwnedFd) -> Result<String, AdjustError> {
        let mut ports = self.ports.lock().await;
        let free = ports.iter().position(Option::is_none);
        let number = free.ok_or(AdjustError::Full {
            ports: ports.len(),
            key: "qemu.disk_ports",
        })?;
        if let Err(error) = self.plug(disk, fd, number).await {
            self.clear(&disk.serial, number).await;
            return Err(error);
        }
        if let Some(place) = ports.get_mut(number) {
            *place = Some(disk.serial.clone());
        }
        Ok(String::new())
    }

    async fn detach_disk(&self, serial: &str, _slot: &str) -> Result<(), AdjustError> {
        let mut ports = self.ports.lock().await;
        let is_it = |place: &Option<String>| place.as_deref() == Some(serial);
        let Some(number) = ports.iter().position(is_it) else {
            return Ok(());
        };
        match self.tell("device_del", json!({"id": serial})).await {
            // It was asked to go before, and the guest takes its time.
            Err(AdjustError::Qemu(QmpError::Refused { .. })) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        self.await_gone(serial).await?;
        self.clear(serial, number).await;
        if let Some(place) = ports.get_mut(number) {
            *place = None;
        }
        Ok(())
    }
}

fn is_block_device(fd: &OwnedFd) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let file = fd.try_clone().map(std::fs::File::from);
    let metadata = file.and_then(|file| file.metadata());
    metadata.is_ok_and(|metadata| metadata.file_type().is_block_device())
}
