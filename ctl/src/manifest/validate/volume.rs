//! Volumes that can be had, and those that cannot.

use crate::manifest::error::Refusal;
use crate::manifest::volume::{Medium, Volume};

use super::{Note, is_dns_name};

pub(super) fn check(field: &str, volume: &Volume) -> Result<Option<Note>, Refusal> {
    if !is_dns_name(&volume.name, 63, false) {
        let reason = "must be lower case letters, digits and dashes";
        return Err(Refusal::new(format!("{field}.name"), reason));
    }
    if let Some(source) = volume.refused_source() {
        let reason = "only hostPath and emptyDir can be had without Kubernetes";
        return Err(Refusal::new(format!("{field}.{source}"), reason));
    }
    match (&volume.host_path, &volume.empty_dir) {
        (Some(host), None) if !is_plain_absolute(&host.path) => {
            let reason = "must be absolute and without `..`";
            Err(Refusal::new(format!("{field}.hostPath.path"), reason))
        }
        (Some(_), None) => Ok(None),
        (None, Some(empty)) => match (&empty.medium, empty.size_limit) {
            (Medium::Unknown(_), _) => {
                let reason = "only the disk (empty) and Memory are supported";
                Err(Refusal::new(format!("{field}.emptyDir.medium"), reason))
            }
            (Medium::Disk, Some(_)) => {
                let reason = "not enforced for a volume on disk";
                Ok(Some((format!("{field}.emptyDir.sizeLimit"), reason)))
            }
            _ => Ok(None),
        },
        _ => Err(Refusal::new(
            field,
            "needs exactly one of hostPath and emptyDir",
        )),
    }
}

fn is_plain_absolute(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| part != "..")
}
