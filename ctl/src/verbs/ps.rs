//! `kata-mshv ps`

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;
use vmm_api::SandboxRecord;

use super::{Global, HANDLER};
use crate::cri::v1::{Container, ContainerFilter, PodSandbox, PodSandboxFilter, PodSandboxState};
use crate::duration::show_age;
use crate::pods::{container_name, state_name};
use crate::state::read_records;
use crate::table;
use crate::terminal::print;

/// List pods that have a VM of their own, with the VM's size and kernel.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pods of other handlers too.
    #[arg(short, long)]
    all: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// The handler of containerd's configuration that pods with a VM run by.
    #[arg(long, value_name = "NAME", default_value = HANDLER)]
    handler: String,
}

/// A line of the list.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    namespace: String,
    name: String,
    id: String,
    /// `ready`, `stopped`, or for a VM that no pod of the CRI has, `alone`
    /// (as `ctr run` starts it) or `stale` (its shim is gone).
    state: &'static str,
    handler: String,
    /// None for a VM without a pod.
    age_seconds: Option<u64>,
    vm: Option<SandboxRecord>,
    containers: Vec<ContainerRow>,
}

/// A container of a line.
#[derive(Debug, PartialEq, Serialize)]
struct ContainerRow {
    name: String,
    state: &'static str,
}

/// Runs the verb.
///
/// # Errors
/// That the runtime cannot be asked.
pub async fn ps(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let client = global.client().await?;
    let pods = client
        .list_pod_sandboxes(PodSandboxFilter::default())
        .await?;
    let containers = client.list_containers(ContainerFilter::default()).await?;
    let (records, errors) = read_records(&global.state_dir()?);
    for error in errors {
        eprintln!("warning: {:#}", anyhow::Error::from(error));
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut rows = join(pods, &containers, records, now, shim_is_alive);
    rows.retain(|row| args.all || row.handler == args.handler || row.vm.is_some());
    let text = match args.json {
        true => {
            serde_json::to_string_pretty(&rows)?
                + "
"
        }
        false => table::render(&lines(&rows)),
    };
    print(&text).context("cannot print")?;
    Ok(0)
}

fn shim_is_alive(record: &SandboxRecord) -> bool {
    std::fs::exists(format!("/proc/{}", record.pids.shim)).unwrap_or(false)
}

/// Puts together what the runtime knows and what the shims wrote down. `now`
/// is the time since 1970.
fn join(
    pods: Vec<PodSandbox>,
    containers: &[Container],
    records: Vec<SandboxRecord>,
    now: Duration,
    is_alive: impl Fn(&SandboxRecord) -> bool,
) -> Vec<Row> {
    let by_id = |record: SandboxRecord| (record.sandbox_id.clone(), record);
    let mut records: BTreeMap<_, _> = records.into_iter().map(by_id).collect();
    let mut rows: Vec<_> = pods
        .into_iter()
        .map(|pod| {
            let vm = records.remove(&pod.id);
            pod_row(pod, containers, vm, now)
        })
        .collect();
    rows.extend(records.into_values().map(|record| {
        let state = if is_alive(&record) { "alone" } else { "stale" };
        lone_row(record, state)
    }));
    rows.sort_by(|a, b| (&a.namespace, &a.name, &a.id).cmp(&(&b.namespace, &b.name, &b.id)));
    rows
}

fn pod_row(
    pod: PodSandbox,
    containers: &[Container],
    vm: Option<SandboxRecord>,
    now: Duration,
) -> Row {
    let state = match pod.state() {
        PodSandboxState::SandboxReady => "ready",
        PodSandboxState::SandboxNotready => "stopped",
    };
    let created = Duration::from_nanos(u64::try_from(pod.created_at).unwrap_or_default());
    let metadata = pod.metadata.unwrap_or_default();
    Row {
        namespace: metadata.namespace,
        name: metadata.name,
        state,
        handler: pod.runtime_handler,
        age_seconds: Some(now.saturating_sub(created).as_secs()),
        vm,
        containers: container_rows(containers, &pod.id),
        id: pod.id,
    }
}

/// The last attempt of each container, in the order of their first.
fn container_rows(containers: &[Container], pod_id: &str) -> Vec<ContainerRow> {
    let mut own: Vec<_> = containers
        .iter()
        .filter(|c| c.pod_sandbox_id == pod_id)
        .collect();
    own.sort_by_key(|container| container.created_at);
    let mut rows: Vec<ContainerRow> = Vec::new();
    for container in own {
        let (name, state) = (container_name(container), state_name(container));
        match rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.state = state,
            None => rows.push(ContainerRow {
                name: name.to_owned(),
                state,
            }),
        }
    }
    rows
}

fn lone_row(record: SandboxRecord, state: &'static str) -> Row {
    Row {
        namespace: format!("({})", record.namespace),
        name: record.sandbox_id.clone(),
        id: record.sandbox_id.clone(),
        state,
        handler: String::new(),
        age_seconds: None,
        vm: Some(record),
        containers: Vec::new(),
    }
}

fn lines(rows: &[Row]) -> Vec<Vec<String>> {
    let header = [
        "NAMESPACE",
        "NAME",
        "ID",
        "STATE",
        "AGE",
        "VCPUS",
        "MEMORY",
        "KERNEL",
        "DRIVER",
        "CONTAINERS",
    ];
    let header = header.map(ToOwned::to_owned).to_vec();
    std::iter::once(header)
        .chain(rows.iter().map(cells))
        .collect()
}

fn cells(row: &Row) -> Vec<String> {
    let of_vm = |cell: fn(&SandboxRecord) -> String| row.vm.as_ref().map_or("-".to_owned(), cell);
    let age = row
        .age_seconds
        .map(|seconds| show_age(Duration::from_secs(seconds)));
    let containers = row
        .containers
        .iter()
        .map(|c| format!("{}:{}", c.name, c.state));
    vec![
        row.namespace.clone(),
        row.name.clone(),
        row.id.chars().take(13).collect(),
        row.state.to_owned(),
        age.unwrap_or_else(|| "-".to_owned()),
        of_vm(|vm| vm.vcpus.to_string()),
        of_vm(|vm| format!("{} MiB", vm.memory_mib)),
        of_vm(|vm| vm.guest_kernel.clone()),
        of_vm(|vm| vm.driver.clone()),
        containers.collect::<Vec<_>>().join(","),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::v1::{ContainerMetadata, ContainerState, PodSandboxMetadata};
    use crate::state::tests::empty;

    fn pod(id: &str, name: &str) -> PodSandbox {
        PodSandbox {
            id: id.to_owned(),
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                namespace: "default".to_owned(),
                ..Default::default()
            }),
            created_at: 5_000_000_000,
            runtime_handler: "kata-mshv-vm-isolation".to_owned(),
            ..Default::default()
        }
    }

    fn container(pod: &str, name: &str, created_at: i64, state: ContainerState) -> Container {
        Container {
            pod_sandbox_id: pod.to_owned(),
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            created_at,
            state: state.into(),
            ..Default::default()
        }
    }

    fn record(id: &str) -> SandboxRecord {
        SandboxRecord {
            sandbox_id: id.to_owned(),
            ..empty()
        }
    }

    fn joined() -> Vec<Row> {
        let containers = [
            container("p1", "main", 3, ContainerState::ContainerRunning),
            container("p1", "main", 1, ContainerState::ContainerExited),
            container("p1", "side", 2, ContainerState::ContainerRunning),
            container("p2", "other", 1, ContainerState::ContainerRunning),
        ];
        let records = vec![record("p1"), record("lone"), record("dead")];
        let pods = vec![pod("p2", "b"), pod("p1", "a")];
        let now = Duration::from_secs(65);
        join(pods, &containers, records, now, |record| {
            record.sandbox_id == "lone"
        })
    }

    #[test]
    fn pods_get_their_vm_and_their_containers() {
        let rows = joined();
        let pods: Vec<_> = rows
            .iter()
            .filter(|row| row.age_seconds.is_some())
            .collect();
        assert_eq!((pods[0].name.as_str(), pods[0].vm.is_some()), ("a", true));
        assert_eq!((pods[1].name.as_str(), pods[1].vm.is_some()), ("b", false));
        assert_eq!(pods[0].age_seconds, Some(60));
        let containers: Vec<_> = pods[0]
            .containers
            .iter()
            .map(|c| (c.name.as_str(), c.state))
            .collect();
        assert_eq!(containers, [("main", "running"), ("side", "running")]);
    }

    #[test]
    fn vms_without_a_pod_are_shown_too() {
        let rows = joined();
        let alone: Vec<_> = rows
            .iter()
            .filter(|row| row.age_seconds.is_none())
            .collect();
        let states: Vec<_> = alone
            .iter()
            .map(|row| (row.id.as_str(), row.state))
            .collect();
        assert_eq!(states, [("dead", "stale"), ("lone", "alone")]);
        assert_eq!(alone[0].namespace, "(k8s.io)");
    }

    #[test]
    fn a_line_has_a_cell_per_column() {
        let lines = lines(&joined());
        assert!(lines.iter().all(|line| line.len() == lines[0].len()));
        let a = lines.iter().find(|line| line[1] == "a").unwrap();
        assert_eq!(
            a[3..9],
            [
                "ready",
                "60s",
                "1",
                "2048 MiB",
                "6.12.0-kata-mshv",
                "qemu (tcg)"
            ]
        );
        assert_eq!(a[9], "main:running,side:running");
    }
}
