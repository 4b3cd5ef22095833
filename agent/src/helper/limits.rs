//! Resource limits that a user namespace could not raise: its root may lower
//! them alone, whatever its capabilities, so they are raised before it is joined.

use oci_spec::runtime::{PosixRlimitType, Process};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the hard limits of this process that are below those of `process`,
/// which are then set where all its limits are set.
pub(super) fn raise(process: &Process) {
    for limit in process.rlimits().iter().flatten() {
        let resource = resource(limit.typ());
        let now = getrlimit(resource);
        let maximum = (limit.hard() != u64::MAX).then(|| limit.hard());
        if is_above(maximum, now.maximum) {
            let current = now.current;
            // A refusal comes again, with its cause, where the limit is set.
            let _ = setrlimit(resource, Rlimit { current, maximum });
        }
    }
}

/// `None` is without limit.
fn is_above(wanted: Option<u64>, now: Option<u64>) -> bool {
    now.is_some_and(|now| wanted.is_none_or(|wanted| wanted > now))
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_compared_with_none_above_all() {
        assert!(is_above(Some(2), Some(1)) && is_above(None, Some(u64::MAX - 1)));
        assert!(!is_above(Some(1), Some(1)) && !is_above(Some(1), None) && !is_above(None, None));
    }

    #[test]
    fn what_would_be_lower_is_left_to_who_sets_it() {
        let before = getrlimit(Resource::Core);
        let json = r#"{"user": {"uid": 0, "gid": 0}, "cwd": "/",
                       "rlimits": [{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}]}"#;
        raise(&serde_json::from_str(json).unwrap());
        assert_eq!(getrlimit(Resource::Core), before);
    }
}
