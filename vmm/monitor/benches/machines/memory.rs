//! A VMM's memory besides its guest's.

use anyhow::Context;

/// KiB of process `pid` that are not its guest's, shared pages in parts
/// (proc_pid_smaps(5), Pss). The guest's memory is what is mapped in pieces of
/// at least half its size: so it is known in any VMM.
pub(crate) fn own(pid: u32, guest_mib: u64) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps");
    let text = std::fs::read_to_string(&path).context(path)?;
    let mut kib = 0;
    let mut is_guests = false;
    for line in text.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["Pss:", pss, "kB"] if !is_guests => kib += pss.parse::<u64>()?,
            // The line that begins a mapping: addresses, rights, and so on.
            [range, rights, ..] if range.contains('-') && rights.len() == 4 => {
                is_guests = length(range)? >= guest_mib << 19;
            }
            _ => {}
        }
    }
    Ok(kib)
}

fn length(range: &str) -> anyhow::Result<u64> {
    let (from, to) = range.split_once('-').context("a range of addresses")?;
    let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16));
    Ok(to?.saturating_sub(from?))
}
