//! Pods on this host, without Kubernetes.
//!
//! ```text
//! Manifest ─▶ Launcher: folder and volumes, images, sandbox ─▶ RunningPod
//!                └─▶ Supervisor: containers, logs, exits, restarts
//! teardown: stop, remove, and the folder, for any pod, whoever started it
//! find_pod, find_container: what an operator means
//! ```

mod exits;
mod find;
mod folder;
mod images;
mod launch;
mod node;
mod restart;
mod supervise;
mod teardown;
mod volumes;

pub use exits::{ContainerExit, wait_for_exit};
pub use find::{
    FindError, container_name, containers_of, find_container, find_pod, full_name, state_name,
};
pub use folder::{DEFAULT_FOLDERS, FolderError, Folders};
pub use images::{ImageError, ensure_image};
pub use launch::{LaunchError, Launcher, RunningPod, Started};
pub use node::this_node;
pub use supervise::{Display, PodOutcome, SuperviseError, Supervisor};
pub use teardown::{Grace, TeardownError, stop_uid, teardown, teardown_uid};
