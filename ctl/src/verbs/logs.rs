//! `kata-mshv logs POD`

use std::io;
use std::path::Path;

use anyhow::{Context, bail};

use super::Global;
use crate::logs::{Printer, follow};
use crate::pods::{containers_of, find_container, find_pod, wait_for_exit};

/// Print the log of a container: its standard output and standard error.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, namespace/name, or beginning of the id.
    #[arg(value_name = "POD")]
    pod: String,

    /// The container; else the pod's default or first one.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,

    /// Go on until the container ends.
    #[arg(short, long)]
    follow: bool,
}

/// Runs the verb.
///
/// # Errors
/// That there is no such container, or no log.
pub async fn logs(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let client = global.client().await?;
    let pod = find_pod(&client, &args.pod).await?;
    let containers = containers_of(&client, &pod.id).await?;
    let container = find_container(&pod, &containers, args.container.as_deref(), false)?;
    let status = client.container_status(&container.id).await?;
    if status.log_path.is_empty() {
        bail!("the container has no log file: it was created without one");
    }
    let mut printer = Printer::to_terminal("");
    let ended = async {
        if args.follow {
            // Where the runtime goes away the log ends as well.
            let _ = wait_for_exit(&client, &container.id).await;
        }
    };
    match follow(Path::new(&status.log_path), &mut printer, ended).await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        printed => {
            printed.with_context(|| format!("cannot read the log {}", status.log_path))?;
            Ok(0)
        }
    }
}
