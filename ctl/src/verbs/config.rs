//! `kata-mshv config show`

use std::path::PathBuf;

use anyhow::Context;
use config::{DEFAULT_PATH, Loaded};

use crate::terminal::print;

/// The configuration of the shim.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What is done with the configuration.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print every key with its value, as TOML.
    Show {
        /// The file; its drop-ins are in the folder of the same name with `.d`.
        #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
        config: PathBuf,

        /// Where each value came from.
        #[arg(long)]
        origin: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// What is wrong with the configuration.
pub fn config(args: &Args) -> anyhow::Result<i32> {
    let Action::Show { config, origin } = &args.action;
    let loaded = Loaded::read(config).context("the configuration is not usable")?;
    print(&show(&loaded, *origin)).context("cannot print")?;
    Ok(0)
}

fn show(loaded: &Loaded, with_origin: bool) -> String {
    let entries = loaded
        .entries()
        .map(|(key, value, origin)| match with_origin {
            true => format!("{} = {value}  # {origin}\n", key.path),
            false => format!("{} = {value}\n", key.path),
        });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_shown_and_what_is_shown_can_be_read_again() {
        let text = show(&Loaded::defaults(), true);
        assert!(
            text.contains("guest.default_vcpus = 1  # default\n"),
            "{text}"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, &text).unwrap();
        let again = Loaded::read(&path).unwrap();
        assert_eq!(again.config(), Loaded::defaults().config());
        assert!(show(&again, true).contains("config.toml:1\n"));
    }
}
