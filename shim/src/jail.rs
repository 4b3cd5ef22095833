//! What every helper process loses before it starts.

#![allow(unsafe_code)] // `pre_exec` runs code between fork and exec.

use std::io;

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use tokio::process::Command;

/// What a process may do beyond using the descriptors that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// What the shim may: it gives up by itself what it does not need.
    Inherited,
    /// No capability, and nothing of the host's network, host name and IPC.
    None,
}

/// Ends `command`'s process with the shim, keeps it from ever gaining
/// privileges, and leaves it `rights`.
pub(crate) fn confine(command: &mut Command, rights: Rights) {
    let set_up = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        prctl::set_no_new_privs()?;
        if rights == Rights::None {
            let of_the_host =
                CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
            unshare(of_the_host)?;
            drop_capabilities()?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls: nothing in it allocates or
    // takes a lock, as is required between fork and exec.
    unsafe { command.pre_exec(set_up) };
}

/// Without a bounding and an inheritable set not even root gets capabilities at
/// exec (capabilities(7), "Transformation of capabilities during execve()").
fn drop_capabilities() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words per set.
    const VERSION: u32 = 0x2008_0522;
    let mut capability: libc::c_ulong = 0;
    // SAFETY: PR_CAPBSET_DROP takes a number. Above the last one it fails.
    while unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == 0 {
        capability += 1;
    }
    let header = [VERSION, 0];
    let none = [0_u32; 6];
    // SAFETY: the layouts are those of `struct __user_cap_header_struct` and of
    // two `struct __user_cap_data_struct`; the kernel only reads them.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tell(rights: Rights, script: &str) -> String {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        confine(&mut command, rights);
        let output = command.output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[tokio::test]
    async fn without_rights_there_are_no_capabilities_and_no_network() {
        let script = "grep -E '^Cap|^NoNewPrivs' /proc/self/status; ls /sys/class/net; \
                      tail -n +3 /proc/net/dev";
        let told = tell(Rights::None, script).await;
        let zero = |set: &str| told.contains(&format!("{set}:\t0000000000000000\n"));
        assert!(
            ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
                .iter()
                .all(|set| zero(set)),
            "{told}"
        );
        assert!(told.contains("NoNewPrivs:\t1"), "{told}");
        let interfaces: Vec<_> = told.lines().filter(|line| line.contains(": ")).collect();
        assert!(
            interfaces
                .iter()
                .all(|line| line.trim_start().starts_with("lo:")),
            "{told}"
        );
    }

    #[tokio::test]
    async fn rights_that_are_kept_are_the_shims() {
        let ours = std::fs::read_to_string("/proc/self/status").unwrap();
        let bounding = ours
            .lines()
            .find(|line| line.starts_with("CapBnd"))
            .unwrap();
        let told = tell(Rights::Inherited, "cat /proc/self/status").await;
        assert!(told.contains(bounding), "{told}");
    }
}
