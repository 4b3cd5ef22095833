//! One module per verb of `kata-mshv`. Each takes its arguments and returns
//! the exit code.

pub mod check;
pub mod config;
pub mod exec;
pub mod logs;
pub mod ps;
pub mod rm;
pub mod run;

use std::path::{Path, PathBuf};

use ::config::{DEFAULT_PATH, Loaded};

use crate::cri::{Client, CriError, DEFAULT_ENDPOINT};
use crate::pods::{DEFAULT_FOLDERS, Folders};

/// The handler of containerd's configuration that pods with a VM run by.
const HANDLER: &str = "kata-mshv-vm-isolation";

/// Options of every verb.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Socket of containerd.
    #[arg(long, global = true, value_name = "unix://PATH", default_value = DEFAULT_ENDPOINT)]
    #[arg(env = "CONTAINER_RUNTIME_ENDPOINT")]
    pub runtime_endpoint: String,

    /// Where shims keep the state of their sandboxes [default: as configured].
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Where pods of `run` have their volumes and logs.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_FOLDERS)]
    pub pods_dir: PathBuf,
}

impl Global {
    async fn client(&self) -> Result<Client, CriError> {
        Client::connect(&self.runtime_endpoint).await
    }

    /// The folder of sandbox records.
    fn state_dir(&self) -> Result<PathBuf, ::config::Error> {
        match &self.state_dir {
            Some(folder) => Ok(folder.clone()),
            None => Ok(Loaded::read(Path::new(DEFAULT_PATH))?.config().state_dir),
        }
    }

    fn folders(&self) -> Folders {
        Folders::new(&self.pods_dir)
    }
}
