//! Whom the kernel ends first when the host has no memory left (proc(5),
//! `oom_score_adj`: from -1000, never, to 1000).
//!
//! containerd's value is what everything would inherit, and is meant for containerd:
//! a pod's memory would be taken after nearly all else. Kubernetes gives each
//! container a value by the class of its pod, which the VM is to have.

use std::io;

/// What the process of that number has.
pub(crate) fn of(pid: u32) -> io::Result<i32> {
    let text = std::fs::read_to_string(file(pid))?;
    text.trim().parse().map_err(io::Error::other)
}

/// Gives it to the process of that number. Without `CAP_SYS_RESOURCE` it only goes up.
pub(crate) fn set(pid: u32, score: i32) -> io::Result<()> {
    std::fs::write(file(pid), score.to_string())
}

fn file(pid: u32) -> String {
    format!("/proc/{pid}/oom_score_adj")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_anothers_own() {
        let mut sleep = std::process::Command::new("/bin/sleep");
        let mut child = sleep.arg("1000").spawn().unwrap();
        let ours = of(std::process::id()).unwrap();
        let score = (ours + 1).min(1000);
        set(child.id(), score).unwrap();
        let seen = (of(child.id()).unwrap(), of(std::process::id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, (score, ours));
    }
}
