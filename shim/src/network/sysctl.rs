//! Settings of the network stack (sysctl(8)) that somebody made in the pod's network
//! namespace: those that are not what a new namespace has. CNI's plugin `tuning`
//! makes such.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use protocol::agent::Sysctl;

use super::NetworkError;
use super::namespace::run_in;

const ROOT: &str = "/proc/sys";

/// Each namespace has its own, and sees no others.
const FOLDERS: [&str; 3] = ["net/core", "net/ipv4", "net/ipv6"];

/// Everybody may read it, its owner may write it: no secret, no figure.
const SETTING: u32 = 0o204;

/// Values by name, which is the path below `/proc/sys`.
type Settings = BTreeMap<String, String>;

/// What was changed in the namespace at `path`, of all its interfaces and of
/// `interfaces`, in the order in which it has to be set.
///
/// It takes milliseconds: some five hundred files are read twice.
pub(super) fn changed(path: &Path, interfaces: &[String]) -> Result<Vec<Sysctl>, NetworkError> {
    let (found, initial) = std::thread::scope(|scope| {
        let initial = scope.spawn(of_a_new_namespace);
        let found = run_in(path, read_all);
        let initial = initial
            .join()
            .map_err(|_| io::Error::other("a thread panicked"));
        (found, initial.flatten())
    });
    let found = found?.map_err(NetworkError::Settings)?;
    let initial = initial.map_err(NetworkError::Settings)?;
    Ok(differences(&found, &initial, interfaces))
}

/// The thread is in it until it ends.
fn of_a_new_namespace() -> io::Result<Settings> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    read_all()
}

fn read_all() -> io::Result<Settings> {
    let mut found = Settings::new();
    for folder in FOLDERS {
        match read_folder(folder, &mut found) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(found)
}

fn read_folder(folder: &str, found: &mut Settings) -> io::Result<()> {
    for entry in fs::read_dir(Path::new(ROOT).join(folder))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{folder}/{name}");
        if entry.file_type()?.is_dir() {
            read_folder(&name, found)?;
        } else if let Some(value) = read(&entry) {
            found.insert(name, value);
        }
    }
    Ok(())
}

/// `None` for what is no setting, or has no value.
fn read(entry: &fs::DirEntry) -> Option<String> {
    let mode = entry.metadata().ok()?.permissions().mode();
    if mode & SETTING != SETTING {
        return None;
    }
    let text = fs::read_to_string(entry.path()).ok()?;
    Some(text.trim_end().to_owned())
}

fn differences(found: &Settings, initial: &Settings, interfaces: &[String]) -> Vec<Sysctl> {
    let differs = |name: &String, value: &String| {
        initial_of(name, initial).is_some_and(|before| before != value)
    };
    let of_all = |name: &String| {
        let of_all = Place::of(name)?.named("all");
        found.get(&of_all).map(|value| differs(&of_all, value))
    };
    let told = |(name, value): &(&String, &String)| {
        let place = Place::of(name);
        place.is_none_or(|place| place.is_told(interfaces))
            // Setting one of `all` may set it everywhere.
            && (differs(name, value) || of_all(name).unwrap_or(false))
    };
    let mut changed: Vec<_> = found.iter().filter(told).collect();
    changed.sort_by_key(|(name, _)| Place::of(name).map_or(0, |place| place.rank()));
    let sysctl = |(name, value): (&String, &String)| Sysctl {
        name: name.clone(),
        value: value.clone(),
        ..Default::default()
    };
    changed.into_iter().map(sysctl).collect()
}

/// What a setting is in a new namespace, or of a new interface there.
fn initial_of<'a>(name: &str, initial: &'a Settings) -> Option<&'a String> {
    let of_new = || initial.get(&Place::of(name)?.of_a_new_interface());
    initial.get(name).or_else(of_new)
}

/// An interface's setting: `net/ipv4/conf/eth0/forwarding`.
struct Place<'a> {
    /// `net/ipv4`.
    family: &'a str,
    /// `conf`, or `neigh`.
    group: &'a str,
    /// Its name; or `all`, or `default`.
    interface: &'a str,
    setting: &'a str,
}

impl<'a> Place<'a> {
    /// `None` for those of the namespace.
    fn of(name: &'a str) -> Option<Self> {
        let (rest, setting) = name.rsplit_once('/')?;
        let (rest, interface) = rest.rsplit_once('/')?;
        let (family, group) = rest.rsplit_once('/')?;
        ["conf", "neigh"].contains(&group).then_some(Self {
            family,
            group,
            interface,
            setting,
        })
    }

    fn named(&self, interface: &str) -> String {
        let Self {
            family,
            group,
            setting,
            ..
        } = self;
        format!("{family}/{group}/{interface}/{setting}")
    }

    /// Those of neighbours have no `default` outside of the first namespace.
    fn of_a_new_interface(&self) -> String {
        self.named(if self.group == "neigh" {
            "lo"
        } else {
            "default"
        })
    }

    /// Whether the guest has the interface, and is not told otherwise.
    fn is_told(&self, interfaces: &[String]) -> bool {
        let always = ["all", "default", "lo"].contains(&self.interface);
        self.setting != "mtu" && (always || interfaces.iter().any(|name| name == self.interface))
    }

    /// In the order in which one may set what follows, too.
    fn rank(&self) -> u8 {
        match self.interface {
            "all" => 1,
            "default" => 2,
            _ => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lines: &[(&str, &str)]) -> Settings {
        let line = |(name, value): &(&str, &str)| (format!("net/{name}"), (*value).to_owned());
        lines.iter().map(line).collect()
    }

    fn told(found: &[(&str, &str)]) -> Vec<String> {
        let initial = settings(&[
            ("core/somaxconn", "4096"),
            ("ipv4/ip_forward", "0"),
            ("ipv4/conf/all/forwarding", "0"),
            ("ipv4/conf/default/forwarding", "0"),
            ("ipv6/conf/default/mtu", "1280"),
            ("ipv6/conf/default/accept_dad", "1"),
            ("ipv6/conf/lo/accept_dad", "-1"),
            ("ipv4/neigh/lo/gc_stale_time", "60"),
        ]);
        let changed = differences(&settings(found), &initial, &["eth0".into(), "net.7".into()]);
        let line = |sysctl: Sysctl| format!("{}={}", &sysctl.name["net/".len()..], sysctl.value);
        changed.into_iter().map(line).collect()
    }

    #[test]
    fn what_is_as_in_a_new_namespace_is_not_told() {
        let found = [
            ("core/somaxconn", "4096"),
            ("ipv4/conf/eth0/forwarding", "0"),
            ("ipv6/conf/lo/accept_dad", "-1"),
            ("ipv4/neigh/eth0/gc_stale_time", "60"),
        ];
        assert!(told(&found).is_empty());
    }

    #[test]
    fn what_was_changed_is_told_those_of_all_first() {
        let found = [
            ("ipv4/conf/eth0/forwarding", "0"),
            ("ipv4/conf/net.7/forwarding", "1"),
            ("ipv4/conf/default/forwarding", "1"),
            ("ipv4/conf/all/forwarding", "1"),
            ("ipv4/ip_forward", "1"),
            ("ipv4/neigh/eth0/gc_stale_time", "7"),
        ];
        let expected = [
            "ipv4/ip_forward=1",
            "ipv4/conf/all/forwarding=1",
            "ipv4/conf/default/forwarding=1",
            // It would follow that of all.
            "ipv4/conf/eth0/forwarding=0",
            "ipv4/conf/net.7/forwarding=1",
            "ipv4/neigh/eth0/gc_stale_time=7",
        ];
        assert_eq!(told(&found), expected);
    }

    #[test]
    fn what_the_guest_does_not_have_or_learns_otherwise_is_not_told() {
        let found = [
            ("ipv4/conf/tap-kata0/forwarding", "1"),
            ("ipv6/conf/eth0/mtu", "1500"),
            ("ipv4/of_a_newer_plugin", "1"),
        ];
        assert!(told(&found).is_empty());
    }
}
