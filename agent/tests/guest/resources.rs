//! Limits and figures.

use serde_json::json;

use crate::machine::Shape;
use crate::pod::{Pod, container, context, sandbox};
use crate::spec;

const FILES: &str =
    "cd /sys/fs/cgroup; cat memory.max cpu.max cpu.weight pids.max cpuset.cpus io.weight";

#[tokio::test]
async fn limits_are_the_specifications() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell(FILES));
    spec["linux"]["resources"]["pids"] = json!({"limit": 99});
    // CPUs 6 and 7 are the host's: the guest has none of them.
    let (stdout, stderr, _) = pod.output_of("c", &spec).await;
    assert_eq!(
        stdout, "67108864\n50000 100000\n59\n99\n\ndefault 4950\n",
        "{stderr}"
    );
}

#[tokio::test]
async fn limits_can_be_changed_and_devices_stay() {
    let shape = Shape {
        cpus: 2,
        ..Shape::default()
    };
    let mut pod = Pod::boot_with(shape, sandbox()).await;
    let mut spec = spec::container(spec::shell("sleep 1000"));
    spec["linux"]["resources"]["devices"] = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
    ]);
    spec["linux"]["devices"] =
        json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
    pod.create("c", &spec, Default::default()).await.unwrap();
    pod.start("c").await.unwrap();
    let less = json!({"memory": {"limit": 33_554_432}, "pids": {"limit": 50},
                      "cpu": {"quota": 20_000, "period": 50_000, "cpus": "1"}});
    pod.update("c", &less).await.unwrap();
    let script =
        format!("{FILES}; dd if=/dev/null of=/dev/kmsg count=0 2>/dev/null && echo device");
    let (stdout, _) = pod.output_of_exec("c", &spec::shell(&script)).await;
    assert_eq!(
        stdout,
        "33554432\n20000 50000\n59\n50\n1\ndefault 4950\ndevice\n"
    );
}

/// Two processors of quota on one of the guest's would be half of it.
#[tokio::test]
async fn a_set_of_processors_counts_as_a_whole_or_not_at_all() {
    let shape = Shape {
        cpus: 2,
        ..Shape::default()
    };
    let mut pod = Pod::boot_with(shape, sandbox()).await;
    let mut spec = spec::container(spec::shell("sleep 1000"));
    spec["linux"]["resources"]["cpu"]["cpus"] = json!("1-2");
    spec["linux"]["resources"]["cpu"]["mems"] = json!("0-1");
    pod.create("c", &spec, Default::default()).await.unwrap();
    pod.start("c").await.unwrap();
    let set =
        spec::shell("cd /sys/fs/cgroup; cat cpuset.cpus.effective cpuset.mems.effective; nproc");
    assert_eq!(pod.output_of_exec("c", &set).await.0, "0-1\n0\n2\n");
    for (cpus, expected) in [("1", "1\n0\n1\n"), ("1-2", "0-1\n0\n2\n")] {
        let changed = json!({"cpu": {"cpus": cpus, "mems": "0"}});
        pod.update("c", &changed).await.unwrap();
        assert_eq!(pod.output_of_exec("c", &set).await.0, expected, "{cpus}");
    }
}

#[tokio::test]
async fn devices_are_refused_unless_allowed() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell(
        "echo x > /dev/kmsg; echo y > /dev/null && echo null",
    ));
    spec["linux"]["devices"] =
        json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
    let (stdout, stderr, _) = pod.output_of("c", &spec).await;
    assert!(
        stderr.contains("/dev/kmsg: Operation not permitted"),
        "{stderr}"
    );
    assert_eq!(stdout, "null\n");
}

/// The kernel's own limit on this limit is lower.
#[tokio::test]
async fn more_open_files_than_a_million_may_be_had() {
    let mut pod = Pod::boot().await;
    let mut process = spec::shell("ulimit -Hn");
    process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 1_073_741_816, "soft": 1024}]);
    let (stdout, stderr, _) = pod.output_of("c", &spec::container(process)).await;
    assert_eq!(stdout, "1073741816\n", "{stderr}");
}

#[tokio::test]
async fn figures_are_those_of_the_container() {
    let pod = Pod::boot().await;
    pod.run(
        "c",
        spec::shell("i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; sleep 1000"),
    )
    .await;
    let stats = pod
        .agent
        .container_stats(context(), &container("c"))
        .await
        .unwrap();
    assert!(stats.cpu.usage_usec > 0);
    assert!(stats.memory.usage > 0);
    assert_eq!(stats.memory.limit, 64 << 20);
    assert!(stats.memory.stat.contains_key("anon"));
    assert!(stats.pids.current >= 1);
}

#[tokio::test]
async fn running_out_of_memory_is_told_before_the_exit() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell(
        "dd if=/dev/zero of=/dev/null bs=100000000 count=1",
    ));
    spec["process"]["args"] = json!([
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=100000000",
        "count=1"
    ]);
    spec["linux"]["resources"]["memory"]["limit"] = json!(16 << 20);
    pod.create("c", &spec, Default::default()).await.unwrap();
    pod.start("c").await.unwrap();
    let event = pod.event().await;
    assert_eq!(event.out_of_memory().container_id, "c", "{event:?}");
    assert_eq!(pod.exit("c", "").await.status, 137);
}
