//! User and group ids as a user namespace, or a mount, maps them: what the pod
//! calls 0 is another number outside of it (user_namespaces(7)).

use oci_spec::runtime::LinuxIdMapping;
use protocol::agent::IdMapping;

/// Ids of users, and of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct IdMap {
    users: Vec<Range>,
    groups: Vec<Range>,
}

/// So many ids from `inside` are those from `outside`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Range {
    inside: u32,
    outside: u32,
    size: u32,
}

impl IdMap {
    /// Of the specification's mappings; `None` if it has none.
    pub(crate) fn of(
        users: Option<&Vec<LinuxIdMapping>>,
        groups: Option<&Vec<LinuxIdMapping>>,
    ) -> Option<Self> {
        let ranges = |all: Option<&Vec<LinuxIdMapping>>| -> Vec<Range> {
            all.into_iter().flatten().map(Range::of).collect()
        };
        Self::some(ranges(users), ranges(groups))
    }

    /// Of mount options as snapshotters write them, `uidmap=0:65536:65536` and
    /// `gidmap=…` (several ranges with commas between them), and the other options.
    ///
    /// # Errors
    ///
    /// The option of the two that cannot be read.
    pub(crate) fn of_options(options: &[String]) -> Result<(Option<Self>, Vec<String>), String> {
        let (mut users, mut groups, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for option in options {
            let (ids, ranges) = match option.split_once('=') {
                Some(("uidmap", ranges)) => (&mut users, ranges),
                Some(("gidmap", ranges)) => (&mut groups, ranges),
                _ => {
                    others.push(option.clone());
                    continue;
                }
            };
            for range in ranges.split(',') {
                ids.push(Range::parse(range).ok_or_else(|| option.clone())?);
            }
        }
        Ok((Self::some(users, groups), others))
    }

    fn some(users: Vec<Range>, groups: Vec<Range>) -> Option<Self> {
        let empty = users.is_empty() && groups.is_empty();
        (!empty).then_some(Self { users, groups })
    }

    /// What user `id` of the pod is outside; `None` where nothing maps it.
    pub(crate) fn user(&self, id: u32) -> Option<u32> {
        self.users.iter().find_map(|range| range.outside(id))
    }

    /// What group `id` of the pod is outside.
    pub(crate) fn group(&self, id: u32) -> Option<u32> {
        self.groups.iter().find_map(|range| range.outside(id))
    }

    /// `uid_map` and `gid_map` of the namespace.
    pub(crate) fn files(&self) -> [(&'static str, String); 2] {
        let text = |ranges: &[Range]| ranges.iter().map(Range::line).collect();
        [
            ("uid_map", text(&self.users)),
            ("gid_map", text(&self.groups)),
        ]
    }

    /// Users and groups, for the agent.
    pub(crate) fn messages(&self) -> (Vec<IdMapping>, Vec<IdMapping>) {
        let messages = |ranges: &[Range]| ranges.iter().map(Range::message).collect();
        (messages(&self.users), messages(&self.groups))
    }
}

impl Range {
    /// Of `inside:outside:size`.
    fn parse(text: &str) -> Option<Self> {
        let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
        match numbers.ok()?[..] {
            [inside, outside, size] => Some(Self {
                inside,
                outside,
                size,
            }),
            _ => None,
        }
    }

    fn of(mapping: &LinuxIdMapping) -> Self {
        Self {
            inside: mapping.container_id(),
            outside: mapping.host_id(),
            size: mapping.size(),
        }
    }

    fn outside(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.inside)?;
        (offset < self.size).then(|| self.outside.checked_add(offset))?
    }

    fn line(&self) -> String {
        format!("{} {} {}\n", self.inside, self.outside, self.size)
    }

    fn message(&self) -> IdMapping {
        IdMapping {
            inside: self.inside,
            outside: self.outside,
            size: self.size,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(all: &[&str]) -> (Option<IdMap>, Vec<String>) {
        let all: Vec<_> = all.iter().map(|option| (*option).to_owned()).collect();
        IdMap::of_options(&all).unwrap()
    }

    #[test]
    fn options_of_a_snapshotter_are_told_from_the_file_systems() {
        let (ids, others) = options(&[
            "lowerdir=/a:/b",
            "uidmap=0:65536:1000,2000:7000:1",
            "gidmap=0:131072:65536",
        ]);
        let ids = ids.unwrap();
        assert_eq!(others, ["lowerdir=/a:/b"]);
        assert_eq!(
            ids.files(),
            [
                ("uid_map", "0 65536 1000\n2000 7000 1\n".to_owned()),
                ("gid_map", "0 131072 65536\n".to_owned()),
            ]
        );
        assert_eq!(options(&["ro"]), (None, vec!["ro".to_owned()]));
    }

    #[test]
    fn an_option_that_is_no_range_is_named() {
        for option in [
            "uidmap=",
            "uidmap=0:65536",
            "gidmap=0:1:2,x:1:1",
            "gidmap=0:1:2:3",
        ] {
            let all = ["ro".to_owned(), option.to_owned()];
            assert_eq!(IdMap::of_options(&all), Err(option.to_owned()));
        }
    }

    #[test]
    fn an_id_is_mapped_by_the_range_that_has_it() {
        let ids = options(&["uidmap=0:65536:1000,2000:7000:1"]).0.unwrap();
        assert_eq!(ids.user(999), Some(66535));
        assert_eq!(ids.user(2000), Some(7000));
        assert_eq!(ids.user(1000), None);
        assert_eq!(ids.group(0), None);
    }
}
