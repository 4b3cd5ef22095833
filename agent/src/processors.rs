//! Which of the guest's processors are online
//! (Documentation/core-api/cpu_hotplug.rst of Linux).

use std::fs;
use std::io;
use std::path::Path;

use protocol::Code;

/// Where the kernel shows them.
const FOLDER: &str = "/sys/devices/system/cpu";

/// Processors are not as they should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessorsError {
    #[error("{wanted} processors online: this guest can have 1 to {possible}")]
    Count { wanted: u32, possible: u32 },
    #[error("read which processors the guest can have")]
    Read(#[source] io::Error),
    #[error("bring processor {number} online")]
    Online {
        number: u32,
        #[source]
        source: io::Error,
    },
    #[error("take processor {number} offline")]
    Offline {
        number: u32,
        #[source]
        source: io::Error,
    },
}

impl ProcessorsError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Count { .. } => Code::InvalidArgument,
            Self::Read(_) | Self::Online { .. } | Self::Offline { .. } => Code::Internal,
        }
    }
}

/// Has the first `wanted` online and no other one. The first one always is.
/// What came before a failure stays.
pub(crate) fn set_online(wanted: u32) -> Result<(), ProcessorsError> {
    set_online_in(Path::new(FOLDER), wanted)
}

fn set_online_in(folder: &Path, wanted: u32) -> Result<(), ProcessorsError> {
    let present = fs::read_to_string(folder.join("present")).map_err(ProcessorsError::Read)?;
    let possible = count(&present);
    if !(1..=possible).contains(&wanted) {
        return Err(ProcessorsError::Count { wanted, possible });
    }
    for number in 1..wanted {
        switch(folder, number, "1").map_err(|source| ProcessorsError::Online { number, source })?;
    }
    // From above: the machine takes them away in that order.
    for number in (wanted..possible).rev() {
        switch(folder, number, "0")
            .map_err(|source| ProcessorsError::Offline { number, source })?;
    }
    Ok(())
}

/// The kernel takes what is so already for done.
fn switch(folder: &Path, number: u32, state: &str) -> io::Result<()> {
    fs::write(folder.join(format!("cpu{number}/online")), state)
}

/// How many are in a list of all from the first on: `0`, or `0-3`.
fn count(list: &str) -> u32 {
    let last = list.trim().rsplit(['-', ',']).next();
    let last: Option<u32> = last.and_then(|number| number.parse().ok());
    last.map_or(0, |number| number.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel's folder with three processors, all offline but the first,
    /// which has no switch.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("present"), "0-2\n").unwrap();
        for number in [1, 2] {
            let cpu = folder.path().join(format!("cpu{number}"));
            fs::create_dir(&cpu).unwrap();
            fs::write(cpu.join("online"), "0").unwrap();
        }
        folder
    }

    fn online(folder: &tempfile::TempDir) -> [String; 2] {
        [1, 2].map(|number| {
            fs::read_to_string(folder.path().join(format!("cpu{number}/online"))).unwrap()
        })
    }

    #[test]
    fn the_first_ones_are_online_and_no_other() {
        let folder = folder();
        for (wanted, states) in [(3, ["1", "1"]), (2, ["1", "0"]), (1, ["0", "0"])] {
            set_online_in(folder.path(), wanted).unwrap();
            assert_eq!(online(&folder), states, "{wanted}");
        }
    }

    #[test]
    fn none_and_more_than_there_are_is_refused() {
        let folder = folder();
        for wanted in [0, 4, u32::MAX] {
            let refused = set_online_in(folder.path(), wanted).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        }
        assert_eq!(online(&folder), ["0", "0"]);
    }

    #[test]
    fn a_processor_that_does_not_come_is_named() {
        let folder = folder();
        fs::remove_dir_all(folder.path().join("cpu2")).unwrap();
        let failed = set_online_in(folder.path(), 3).unwrap_err();
        assert!(matches!(failed, ProcessorsError::Online { number: 2, .. }));
        let failed = set_online_in(folder.path(), 1).unwrap_err();
        assert!(matches!(failed, ProcessorsError::Offline { number: 2, .. }));
    }

    #[test]
    fn a_list_ends_with_its_last_number() {
        for (list, number) in [("0\n", 1), ("0-31\n", 32), ("0-1,3", 4), ("", 0), ("x", 0)] {
            assert_eq!(count(list), number, "{list:?}");
        }
    }
}
