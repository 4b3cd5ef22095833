//! The PID namespace that containers of the pod share when the pod asks for it.
//! Made with the first such container, held by a process of its own.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::Failure;
use tokio::sync::Mutex;

use crate::container::launch::Launch;
use crate::helper::{Pause, Task};
use crate::helpers::Helpers;
use crate::stdio::Ends;

/// The namespace, once there is one.
#[derive(Default)]
pub(crate) struct PidNamespace(Mutex<Option<PathBuf>>);

impl PidNamespace {
    /// The namespace's path.
    pub(crate) async fn path(
        &self,
        in_user_namespace: bool,
        helpers: &Arc<Helpers>,
    ) -> Result<PathBuf, Failure> {
        let mut path = self.0.lock().await;
        if let Some(path) = path.as_ref() {
            return Ok(path.clone());
        }
        let task = Task::Pause(Pause { in_user_namespace });
        let mut launch = Launch::start(&task, &Ends::null()?, None, helpers)?;
        let (_, started, _) = launch.started(&helpers.reaper).await?;
        let made = PathBuf::from(format!("/proc/{}/ns/pid", started.pid));
        Ok(path.insert(made).clone())
    }
}
