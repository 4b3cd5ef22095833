//! Several containers in one pod, at once and one after the other.

use std::time::Duration;

use anyhow::Result;

use crate::bed::Bed;
use crate::harness::cases;
use crate::pod::{ContainerSpec, container, pod};

/// Longer than any of these containers takes.
const SOON: Duration = Duration::from_secs(20);

cases![
    any: missing_working_directory_is_made,
    two_share_the_network_only,
    replaced_in_a_living_pod,
    one_ends_the_other_goes_on,
    created_but_never_started
];

/// As root's and for all to enter, though a user of no rights works there; also
/// for the commands run in it later.
async fn missing_working_directory_is_made(bed: &Bed) -> Result<()> {
    let pod = pod("directory").run(bed).await?;
    let container = ContainerSpec::idle("main")
        .user(1000)
        .working_dir("/no/such/folder")
        .start(&pod)
        .await?;
    let seen = container.ask(&["sh", "-c", "pwd; stat -c '%u %g %a' . .."]);
    assert_eq!(seen.await?, "/no/such/folder\n0 0 755\n0 0 755");
    assert_eq!(container.exec(&["touch", "file"]).await?.code, Some(1));
    pod.remove().await
}

async fn two_share_the_network_only(bed: &Bed) -> Result<()> {
    let pod = pod("two").run(bed).await?;
    let server = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
    let server = container("server", &["sh", "-c", server])
        .start(&pod)
        .await?;
    let client = ContainerSpec::idle("client").start(&pod).await?;
    let fetch = "until wget -qO- http://127.0.0.1/; do sleep 0.1; done 2>/dev/null";
    assert_eq!(client.ask(&["sh", "-c", fetch]).await?, "hello");
    assert_eq!(client.exec(&["test", "-e", "/www"]).await?.code, Some(1));
    // One may end between being listed and being read.
    let list = "cat /proc/[0-9]*/comm 2>/dev/null || true";
    let processes = client.ask(&["sh", "-c", list]).await?;
    assert!(
        !processes.contains("httpd"),
        "the client sees {processes:?}"
    );
    assert_eq!(
        server
            .ask(&["sh", "-c", "echo $PPID; cat /proc/1/comm"])
            .await?,
        "0\nhttpd"
    );
    pod.remove().await
}

/// What a restart is to kubelet: stop, remove, create again in the same pod.
async fn replaced_in_a_living_pod(bed: &Bed) -> Result<()> {
    let pod = pod("replaced").run(bed).await?;
    let mut boots = Vec::new();
    for attempt in 0..3 {
        let container = ContainerSpec::idle("main")
            .attempt(attempt)
            .start(&pod)
            .await?;
        // The root file system is a new one each time.
        container
            .ask(&["sh", "-c", "[ ! -e /mark ] && touch /mark"])
            .await?;
        boots.push(
            container
                .ask(&["cat", "/proc/sys/kernel/random/boot_id"])
                .await?,
        );
        container.ready().await?;
        container.stop(SOON).await?;
        assert_eq!(container.status().await?.exit_code, 0);
        container.remove().await?;
    }
    boots.dedup();
    assert_eq!(boots.len(), 1, "the pod was booted anew");
    pod.remove().await
}

async fn one_ends_the_other_goes_on(bed: &Bed) -> Result<()> {
    let pod = pod("one").run(bed).await?;
    let staying = ContainerSpec::idle("staying").start(&pod).await?;
    let ending = container("ending", &["sh", "-c", "exit 9"])
        .start(&pod)
        .await?;
    assert_eq!(ending.exit_code(SOON).await?, 9);
    assert_eq!(staying.ask(&["echo", "here"]).await?, "here");
    pod.remove().await
}

async fn created_but_never_started(bed: &Bed) -> Result<()> {
    let pod = pod("created").run(bed).await?;
    let container = ContainerSpec::idle("main").create(&pod).await?;
    container.remove().await?;
    ContainerSpec::idle("main").attempt(1).create(&pod).await?;
    pod.remove().await
}
