//! Mounts below the pod's share. The kernel makes one where somebody first walks
//! into a folder that is a mount on the host, in that one's mount namespace, and a
//! container has a namespace of its own. So the agent walks first: containers then
//! have copies of its mount, which is one file system, whose locks, sockets and
//! mapped memory they share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What was walked into.
#[derive(Default)]
pub(crate) struct Share(Arc<Mutex<Vec<PathBuf>>>);

impl Share {
    /// Walks into `paths`, and out of what the host has taken away: to look for it
    /// is what makes the kernel unmount it.
    pub(crate) async fn walk(&self, paths: Vec<String>) {
        let walked = Arc::clone(&self.0);
        let walk = move || {
            let mut walked = walked.lock().unwrap_or_else(PoisonError::into_inner);
            walked.extend(paths.into_iter().map(PathBuf::from));
            walked.sort();
            walked.dedup();
            // Whoever uses one that is not there says so.
            walked.retain(|path| path.metadata().is_ok());
        };
        // It waits for the host. A walk that was lost costs what it was for.
        let _ = tokio::task::spawn_blocking(walk).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_gone_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let share = Share::default();
        for name in ["a", "b"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        let text = |name| path(name).display().to_string();
        share.walk(vec![text("a"), text("b"), text("a")]).await;
        std::fs::remove_dir(path("a")).unwrap();
        share.walk(Vec::new()).await;
        assert_eq!(*share.0.lock().unwrap(), [path("b")]);
    }
}
