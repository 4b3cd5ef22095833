//! The list of cases, which guest and host go through in step.

use crate::shim::Shim;
use crate::{bulk, close, crowd, dial, monitor, speed};

/// What a half of a case gives: a figure worth printing, or what went wrong.
pub(crate) type Outcome = anyhow::Result<String>;

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) guest: fn() -> Outcome,
    pub(crate) host: fn(&Shim) -> Outcome,
}

pub(crate) const ALL: &[Case] = &[
    Case {
        name: "echo",
        guest: dial::guest_echoes,
        host: dial::host_echoes,
    },
    Case {
        name: "refused",
        guest: dial::guest_is_refused,
        host: dial::host_refuses,
    },
    Case {
        name: "large_writes",
        guest: bulk::guest_large_writes,
        host: bulk::host_large_writes,
    },
    Case {
        name: "bulk_to_host",
        guest: bulk::guest_sends,
        host: bulk::host_takes,
    },
    Case {
        name: "bulk_to_guest",
        guest: bulk::guest_takes,
        host: bulk::host_sends,
    },
    Case {
        name: "bulk_both_ways",
        guest: bulk::guest_both_ways,
        host: bulk::host_both_ways,
    },
    Case {
        name: "small_writes",
        guest: bulk::guest_takes_late,
        host: bulk::host_sends_small,
    },
    Case {
        name: "guest_half_closes",
        guest: close::guest_ends_first,
        host: close::host_ends_second,
    },
    Case {
        name: "host_half_closes",
        guest: close::guest_ends_second,
        host: close::host_ends_first,
    },
    Case {
        name: "host_vanishes",
        guest: close::guest_is_left,
        host: close::host_leaves,
    },
    Case {
        name: "guest_vanishes",
        guest: close::guest_leaves,
        host: close::host_is_left,
    },
    Case {
        name: "last_words",
        guest: close::guest_says_last_words,
        host: close::host_hears_last_words,
    },
    Case {
        name: "stalled_host",
        guest: crowd::guest_beside_stalled_host,
        host: crowd::host_stalls,
    },
    Case {
        name: "stalled_guest",
        guest: crowd::guest_stalls,
        host: crowd::host_beside_stalled_guest,
    },
    Case {
        name: "two_hundred",
        guest: crowd::guest_two_hundred,
        host: crowd::host_two_hundred,
    },
    Case {
        name: "churn",
        guest: crowd::guest_churns,
        host: crowd::host_churns,
    },
    Case {
        name: "pause",
        guest: monitor::guest_is_paused,
        host: monitor::host_pauses,
    },
    Case {
        name: "memory",
        guest: monitor::guest_grows,
        host: monitor::host_adds_memory,
    },
    // Last but for the measurements: it would notice connections that leaked.
    Case {
        name: "limit",
        guest: crowd::guest_fills_up,
        host: crowd::host_fills_up,
    },
    Case {
        name: "throughput_to_host",
        guest: speed::guest_sends,
        host: speed::host_takes,
    },
    Case {
        name: "throughput_to_guest",
        guest: speed::guest_takes,
        host: speed::host_sends,
    },
    Case {
        name: "latency",
        guest: speed::guest_pings,
        host: speed::host_pongs,
    },
];

/// A machine that cases are run in.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// Options of QEMU's device, each with a comma before it.
    pub(crate) device_options: &'static str,
    /// Parts of the names of the cases worth running in it; all if empty.
    only: &'static [&'static str],
}

pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        name: "as it is used",
        device_options: "",
        only: &[],
    },
    // The other way to suppress notifications, and chains within the queue.
    Setting {
        name: "without optional features",
        device_options: ",event_idx=off,indirect_desc=off",
        only: &[
            "large",
            "bulk_both",
            "closes",
            "stalled",
            "two_hundred",
            "limit",
        ],
    },
];

impl Setting {
    /// The cases for it whose names contain one of `filters`, if there are any.
    pub(crate) fn cases(&self, filters: &[String]) -> Vec<&'static Case> {
        let wanted =
            |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
        let fits = |name: &str| self.only.is_empty() || self.only.iter().any(|o| name.contains(o));
        ALL.iter()
            .filter(|case| wanted(case.name) && fits(case.name))
            .collect()
    }
}
