//! Memory of the VMM's process, and the host's setting of huge pages.

use std::path::Path;

use anyhow::Context;

/// KiB. What several processes map counts in parts (proc_pid_smaps(5), Pss).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All but the guest's.
    pub(crate) own: u64,
    /// The guest's that has been touched.
    pub(crate) guest: u64,
    /// That in huge pages.
    pub(crate) guest_huge: u64,
}

/// Of process `pid`.
pub(crate) fn of(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/smaps");
    let text = std::fs::read_to_string(&path).context(path)?;
    let mut memory = Memory::default();
    let mut is_guests = false;
    for line in text.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["Pss:", kib, "kB"] if is_guests => memory.guest += kib.parse::<u64>()?,
            ["Pss:", kib, "kB"] => memory.own += kib.parse::<u64>()?,
            ["ShmemPmdMapped:", kib, "kB"] if is_guests => {
                memory.guest_huge += kib.parse::<u64>()?;
            }
            // The line that begins a mapping: addresses, rights, and so on.
            [range, rights, ..] if range.contains('-') && rights.len() == 4 => {
                is_guests = line.contains("guest-memory");
            }
            _ => {}
        }
    }
    Ok(memory)
}

const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// When the host gives huge pages of shared memory. Dropped, it is as before.
pub(crate) struct HugePages {
    before: String,
}

impl HugePages {
    pub(crate) fn set(wanted: &str) -> anyhow::Result<Self> {
        let setting = Path::new(SETTING);
        // `always within_size advise [never] deny force`
        let text = std::fs::read_to_string(setting)?;
        let before = text
            .split_whitespace()
            .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
            .context("no setting is in force")?
            .to_owned();
        std::fs::write(setting, wanted)?;
        Ok(Self { before })
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // It could be written before.
        let _ = std::fs::write(SETTING, &self.before);
    }
}
