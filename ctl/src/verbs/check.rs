//! `kata-mshv check`

use super::Global;

/// Tell whether this host can run pods in VMs, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// None.
pub async fn check(_global: &Global, _args: &Args) -> anyhow::Result<i32> {
    Ok(0)
}
