//! `kata-mshv rm POD...`

use std::time::Duration;

use anyhow::Context;

use super::Global;
use crate::cri::Client;
use crate::pods::{Grace, find_pod, full_name, teardown};
use crate::terminal::print;

/// Stop and remove pods.
///
/// Containers get their stop signal, and SIGKILL at the end of the pod's grace
/// period.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, namespace/name, or beginning of the id.
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,

    /// Kill the containers at once.
    #[arg(short, long)]
    force: bool,
}

/// Runs the verb. A pod that cannot be removed does not keep the others; the
/// exit code is then 1.
///
/// # Errors
/// That the runtime cannot be reached.
pub async fn rm(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let client = global.client().await?;
    let grace = match args.force {
        true => Grace::Fixed(Duration::ZERO),
        false => Grace::OfPod,
    };
    let mut code = 0;
    for query in &args.pods {
        match remove(global, &client, query, grace).await {
            Ok(name) => print(&format!("{name}\n")).context("cannot print")?,
            Err(error) => {
                eprintln!("kata-mshv: {error:#}");
                code = 1;
            }
        }
    }
    Ok(code)
}

async fn remove(
    global: &Global,
    client: &Client,
    query: &str,
    grace: Grace,
) -> anyhow::Result<String> {
    let pod = find_pod(client, query).await?;
    teardown(client, &global.folders(), &pod, grace).await?;
    Ok(full_name(&pod))
}
