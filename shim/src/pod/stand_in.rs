//! What stands on the host for a container, whose processes are in the VM: a thread
//! that waits for the container's removal. Its number is the container's for
//! containerd, which names the processes of a container that another one is to see
//! (`kubectl debug --target`) as `/proc/<number>/ns/pid`.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Enough to wait.
const STACK: usize = 32 << 10;

/// A number that is nobody else's. Dropped, it is free again.
pub(super) struct StandIn {
    number: u32,
    _until: Sender<()>,
}

impl StandIn {
    pub(super) fn new() -> io::Result<Self> {
        let (until, over) = channel::<()>();
        let (tell, told) = channel();
        let wait = move || {
            // Whoever asked listens.
            let _ = tell.send(nix::unistd::gettid());
            // It ends with an error: nothing is ever sent.
            let _ = over.recv();
        };
        let named = thread::Builder::new().name("container".to_owned());
        named.stack_size(STACK).spawn(wait)?;
        let number = told.recv().map_err(io::Error::other)?;
        Ok(Self {
            number: number.as_raw().unsigned_abs(),
            _until: until,
        })
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn each_has_a_number_until_it_goes() {
        let (one, two) = (StandIn::new().unwrap(), StandIn::new().unwrap());
        assert_ne!(one.number(), two.number());
        let namespace = PathBuf::from(format!("/proc/{}/ns/pid", one.number()));
        assert!(namespace.exists());
        drop(one);
        let begin = Instant::now();
        while namespace.exists() {
            assert!(begin.elapsed() < Duration::from_secs(10));
        }
    }
}
