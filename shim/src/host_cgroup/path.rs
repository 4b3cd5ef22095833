//! Where a control group is: the two ways in which `linux.cgroupsPath` says it.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec;

/// A path that names no control group.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PathError {
    #[error("the sandbox's cgroupsPath {path:?} leads out of the hierarchy")]
    Outside { path: String },
    #[error("the sandbox's cgroupsPath {path:?} names no slice of systemd's")]
    Slice { path: String },
}

/// A control group, relative to a hierarchy's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupPath(PathBuf);

impl GroupPath {
    /// The group that `spec` names, if it names one.
    pub(crate) fn of(spec: &Spec) -> Result<Option<Self>, PathError> {
        let linux = spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().as_ref());
        let text = path.map(|path| path.to_string_lossy().into_owned());
        let named = text.filter(|text| !text.is_empty());
        named.map(|text| Self::parse(&text)).transpose()
    }

    fn parse(text: &str) -> Result<Self, PathError> {
        let path = match text.split(':').collect::<Vec<_>>()[..] {
            [slice, prefix, name] => in_slice(slice)
                .ok_or_else(|| PathError::Slice { path: text.into() })?
                .join(unit(prefix, name)),
            _ => PathBuf::from(text.trim_start_matches('/')),
        };
        let inside = |part| matches!(part, Component::Normal(_));
        match path.components().all(inside) && path.components().next().is_some() {
            true => Ok(Self(path)),
            false => Err(PathError::Outside { path: text.into() }),
        }
    }

    /// The group's folder in the hierarchy mounted at `root`.
    pub(super) fn below(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }

    /// The folders of the groups above it, nearest first, without the root.
    pub(super) fn above<'a>(&'a self, root: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        let parents = self.0.ancestors().skip(1);
        parents
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| root.join(path))
    }
}

/// The name of what runc makes for `slice:prefix:name`.
fn unit(prefix: &str, name: &str) -> String {
    match name.ends_with(".slice") || prefix.is_empty() {
        true => name.to_owned(),
        false => format!("{prefix}-{name}.scope"),
    }
}

/// Where a slice is: `a-b.slice` is in `a.slice` (systemd.slice(5)).
fn in_slice(slice: &str) -> Option<PathBuf> {
    // The root has a name of its own, and an empty one means the system's.
    let name = match slice {
        "-.slice" => return Some(PathBuf::new()),
        "" => "system",
        slice => slice.strip_suffix(".slice")?,
    };
    let parts: Vec<_> = name.split('-').collect();
    if parts
        .iter()
        .any(|part| part.is_empty() || part.contains('/'))
    {
        return None;
    }
    let slices = (1..=parts.len()).map(|count| format!("{}.slice", parts[..count].join("-")));
    Some(slices.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, PathError> {
        let path = GroupPath::parse(text)?;
        Ok(path.0.display().to_string())
    }

    #[test]
    fn a_path_is_one_from_the_root() {
        for path in ["/kubepods/burstable/pod1/s", "kubepods/burstable/pod1/s"] {
            assert_eq!(parsed(path).unwrap(), "kubepods/burstable/pod1/s");
        }
    }

    #[test]
    fn slices_lie_in_each_other() {
        assert_eq!(
            parsed("kubepods-burstable-pod1_2.slice:cri-containerd:s").unwrap(),
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-s.scope"
        );
        assert_eq!(parsed(":cri:s").unwrap(), "system.slice/cri-s.scope");
        assert_eq!(parsed("-.slice:cri:s").unwrap(), "cri-s.scope");
    }

    #[test]
    fn what_is_no_group_is_refused() {
        for path in ["/../s", "a/../../b", "/"] {
            assert_eq!(
                parsed(path),
                Err(PathError::Outside { path: path.into() }),
                "{path}"
            );
        }
        for path in ["pod1:cri:s", "a--b.slice:cri:s", "a-/x.slice:cri:s"] {
            assert_eq!(
                parsed(path),
                Err(PathError::Slice { path: path.into() }),
                "{path}"
            );
        }
    }

    #[test]
    fn the_groups_above_end_below_the_root() {
        let path = GroupPath::parse("/a/b/c").unwrap();
        let above: Vec<_> = path.above(Path::new("/cg")).collect();
        assert_eq!(above, [PathBuf::from("/cg/a/b"), PathBuf::from("/cg/a")]);
    }
}
