//! The agent's own words on the kernel's command line. There is one:
//! `agent.log=error|warn|info|debug|trace`.

use tracing::level_filters::LevelFilter;

/// What to log: `warn` and graver unless the command line says otherwise.
pub(crate) fn log_level() -> LevelFilter {
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    parse(&cmdline).unwrap_or(LevelFilter::WARN)
}

fn parse(cmdline: &str) -> Option<LevelFilter> {
    let value = cmdline
        .split_whitespace()
        .find_map(|word| word.strip_prefix("agent.log="))?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_read_from_the_command_line() {
        assert_eq!(
            parse("quiet agent.log=info panic=-1"),
            Some(LevelFilter::INFO)
        );
        assert_eq!(parse("quiet agent.log=loud"), None);
        assert_eq!(parse("quiet"), None);
    }
}
