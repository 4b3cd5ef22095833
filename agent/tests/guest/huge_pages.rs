//! Huge pages that the guest keeps, and containers' limits on them.

use protocol::agent::{CreateContainerRequest, HugePages, MemoryVolume, SetHugePagesRequest};
use protocol::{Code, Failure};
use serde_json::json;

use crate::pod::{Pod, context};
use crate::spec;

const PAGE: u64 = 2 << 20;

async fn keep(pod: &Pod, page_size: u64, count: u64) -> Result<(), Failure> {
    let request = SetHugePagesRequest {
        pages: vec![HugePages {
            page_size,
            count,
            ..Default::default()
        }],
        memory_max: 128 << 20,
        ..Default::default()
    };
    pod.agent.set_huge_pages(context(), &request).await?;
    Ok(())
}

async fn total(pod: &mut Pod) -> String {
    let look = spec::container(spec::shell("grep HugePages_Total /proc/meminfo"));
    let (stdout, stderr, _) = pod.output_of("look", &look).await;
    let total = stdout.rsplit(' ').next().unwrap_or_default().trim();
    format!("{total}{stderr}")
}

#[tokio::test]
async fn they_come_and_go() {
    let mut pod = Pod::boot().await;
    keep(&pod, PAGE, 8).await.unwrap();
    assert_eq!(total(&mut pod).await, "8");
    keep(&pod, PAGE, 3).await.unwrap();
    assert_eq!(total(&mut pod).await, "3");
    let none = SetHugePagesRequest::default();
    pod.agent.set_huge_pages(context(), &none).await.unwrap();
    assert_eq!(total(&mut pod).await, "0");
}

/// The machine has 256 MiB, of which the kernel can spare some.
#[tokio::test]
async fn more_than_can_be_put_together_leaves_what_there_was() {
    let mut pod = Pod::boot().await;
    keep(&pod, PAGE, 8).await.unwrap();
    let few = keep(&pod, PAGE, 120).await.unwrap_err();
    assert_eq!(few.code, Code::ResourceExhausted);
    assert!(
        few.message.contains("of 120 huge pages of 2048 KiB"),
        "{few}"
    );
    let unknown = keep(&pod, 64 << 10, 1).await.unwrap_err();
    assert_eq!(unknown.code, Code::InvalidArgument, "{unknown}");
    assert_eq!(total(&mut pod).await, "8");
}

#[tokio::test]
async fn limits_are_the_specifications_and_can_be_changed() {
    let mut pod = Pod::boot().await;
    keep(&pod, PAGE, 8).await.unwrap();
    let mut spec = spec::container(spec::shell("sleep 1000"));
    let limits = |limit| json!([{"pageSize": "2MB", "limit": limit}]);
    spec["linux"]["resources"]["hugepageLimits"] = limits(4 * PAGE);
    pod.create("c", &spec, Default::default()).await.unwrap();
    pod.start("c").await.unwrap();
    let look = spec::shell("cd /sys/fs/cgroup; cat hugetlb.2MB.max hugetlb.2MB.rsvd.max");
    assert_eq!(pod.output_of_exec("c", &look).await.0, "8388608\n8388608\n");
    let less = json!({"hugepageLimits": limits(2 * PAGE)});
    pod.update("c", &less).await.unwrap();
    assert_eq!(pod.output_of_exec("c", &look).await.0, "4194304\n4194304\n");
}

#[tokio::test]
async fn a_volume_is_made_of_them() {
    let pod = Pod::boot().await;
    keep(&pod, PAGE, 8).await.unwrap();
    let look = "grep ' /pages ' /proc/mounts; ls -ld /pages; exit 0";
    let mut spec = spec::container(spec::shell(look));
    spec["mounts"].as_array_mut().unwrap().push(json!(
        {"destination": "/pages", "type": "bind", "source": "/run/volumes/v", "options": ["rbind"]}
    ));
    let (stdio, streams) = pod.stdio(false);
    let mut volume = MemoryVolume {
        name: "v".to_owned(),
        page_size: PAGE,
        ..Default::default()
    };
    volume.owner.mut_or_insert_default().mode = 0o2750;
    volume.owner.mut_or_insert_default().gid = 7;
    let request = CreateContainerRequest {
        container_id: "c".to_owned(),
        spec: spec.to_string().into_bytes(),
        stdio: Some(stdio).into(),
        memory_volumes: vec![volume],
        ..Default::default()
    };
    pod.agent
        .create_container(context(), &request)
        .await
        .unwrap();
    pod.start("c").await.unwrap();
    let stdout = crate::pod::text(streams.stdout).await;
    assert!(stdout.contains("hugetlbfs rw"), "{stdout}");
    assert!(stdout.contains("pagesize=2M"), "{stdout}");
    assert!(stdout.contains("drwxr-s---"), "{stdout}");
}
