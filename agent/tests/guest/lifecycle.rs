//! From creation to deletion.

use protocol::Code;
use protocol::agent::{AdjustClockRequest, Empty, Stdio};
use serde_json::json;

use crate::pod::{Pod, container, context};
use crate::spec;

#[tokio::test]
async fn the_guest_tells_who_it_is() {
    let pod = Pod::boot().await;
    assert_eq!(pod.hello.protocol_version, protocol::PROTOCOL_VERSION);
    assert!(
        pod.hello.kernel_release.starts_with("6."),
        "{}",
        pod.hello.kernel_release
    );
    assert_eq!(pod.hello.boot_id.len(), 36);
    assert!(pod.hello.userspace_started_ns > 0);
}

#[tokio::test]
async fn a_container_runs_and_its_status_is_exact() {
    let mut pod = Pod::boot().await;
    for (id, script, expected) in [
        ("zero", "exit 0", 0),
        ("seven", "exit 7", 7),
        (
            "interrupted",
            "trap 'exit 130' INT; kill -INT $$; sleep 9",
            130,
        ),
        ("high", "exit 255", 255),
    ] {
        let (_, _, status) = pod
            .output_of(id, &spec::container(spec::shell(script)))
            .await;
        assert_eq!(status, expected, "{script}");
    }
}

#[tokio::test]
async fn the_same_id_can_be_used_again() {
    let mut pod = Pod::boot().await;
    for round in ["one", "two", "three"] {
        let spec = spec::container(spec::shell(&format!("echo {round}")));
        let (stdout, _, status) = pod.output_of("again", &spec).await;
        assert_eq!((stdout, status), (format!("{round}\n"), 0));
    }
}

#[tokio::test]
async fn what_does_not_fit_the_state_is_refused() {
    let mut pod = Pod::boot().await;
    let sleeper = spec::container(spec::shell("sleep 1000"));
    assert_eq!(pod.start("c").await.unwrap_err().code, Code::NotFound);
    pod.create("c", &sleeper, Stdio::new()).await.unwrap();

    let again = pod.create("c", &sleeper, Stdio::new()).await.unwrap_err();
    assert_eq!(again.code, Code::AlreadyExists);
    let early = pod
        .exec("c", "e", &spec::shell("true"), Stdio::new())
        .await
        .unwrap_err();
    assert_eq!(early.code, Code::FailedPrecondition);
    pod.start("c").await.unwrap();
    assert_eq!(
        pod.start("c").await.unwrap_err().code,
        Code::FailedPrecondition
    );
    assert_eq!(
        pod.delete("c").await.unwrap_err().code,
        Code::FailedPrecondition
    );

    pod.signal("c", "", 9, false).await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 137);
    assert_eq!(
        pod.signal("c", "", 9, false).await.unwrap_err().code,
        Code::NotFound
    );
    pod.delete("c").await.unwrap();
    assert_eq!(pod.delete("c").await.unwrap_err().code, Code::NotFound);
    assert_eq!(
        pod.delete("../c").await.unwrap_err().code,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_container_that_was_never_started_can_be_killed_and_deleted() {
    let mut pod = Pod::boot().await;
    let spec = spec::container(spec::shell("exit 0"));
    pod.create("c", &spec, Stdio::new()).await.unwrap();
    pod.signal("c", "", 9, false).await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 137);
    pod.delete("c").await.unwrap();
}

#[tokio::test]
async fn a_container_that_was_never_started_ends_with_its_deletion() {
    let mut pod = Pod::boot().await;
    let spec = spec::container(spec::shell("exit 0"));
    pod.create("c", &spec, Stdio::new()).await.unwrap();
    pod.delete("c").await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 137);
    let (_, _, status) = pod.output_of("c", &spec).await;
    assert_eq!(status, 0, "the id is free");
}

/// It is not told to have ended when its deletion comes.
#[tokio::test]
async fn a_deletion_waits_for_what_was_killed() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    let sleeper = spec::process(&["sleep", "500"]);
    pod.exec("c", "e", &sleeper, Stdio::new()).await.unwrap();
    pod.signal("c", "e", 9, false).await.unwrap();
    let exec = pod.process("c", "e");
    pod.agent.delete_process(context(), &exec).await.unwrap();
    assert_eq!(pod.exit("c", "e").await.status, 137);

    pod.signal("c", "", 9, true).await.unwrap();
    pod.delete("c").await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 137);
}

#[tokio::test]
async fn a_container_whose_poststart_hook_fails_is_ended() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell("sleep 1000"));
    spec["hooks"] = json!({"poststart": [{"path": "/nosuch"}]});
    pod.create("c", &spec, Stdio::new()).await.unwrap();
    pod.start("c").await.unwrap_err();
    assert_eq!(pod.exit("c", "").await.status, 137);
    pod.delete("c").await.unwrap();
}

#[tokio::test]
async fn a_poststart_hook_does_not_keep_what_is_killed() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell("sleep 1000"));
    let busybox = "/image/rootfs/bin/busybox";
    spec["hooks"] = json!({"poststart": [{"path": busybox, "args": ["sleep", "1000"]}]});
    pod.create("c", &spec, Stdio::new()).await.unwrap();
    let agent = pod.agent.clone();
    let request = container("c");
    let start = tokio::spawn(async move { agent.start_container(context(), &request).await });
    // Its program runs, and the hook does.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    pod.signal("c", "", 9, true).await.unwrap();
    start.await.unwrap().unwrap_err();
    assert_eq!(pod.exit("c", "").await.status, 137);
    pod.delete("c").await.unwrap();
}

#[tokio::test]
async fn pausing_stops_the_container_for_a_while() {
    let mut pod = Pod::boot().await;
    pod.run(
        "c",
        spec::shell("while :; do echo tick >> /tmp/log; sleep 0.05; done"),
    )
    .await;
    pod.agent
        .pause_container(context(), &container("c"))
        .await
        .unwrap();
    let twice = pod.agent.pause_container(context(), &container("c")).await;
    assert!(twice.is_err());
    let early = pod
        .exec("c", "e", &spec::shell("true"), Stdio::new())
        .await
        .unwrap_err();
    assert_eq!(early.code, Code::FailedPrecondition);
    pod.agent
        .resume_container(context(), &container("c"))
        .await
        .unwrap();
    let (_, status) = pod
        .output_of_exec("c", &spec::shell("test -s /tmp/log"))
        .await;
    assert_eq!(status, 0);

    pod.agent
        .pause_container(context(), &container("c"))
        .await
        .unwrap();
    pod.signal("c", "", 9, false).await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 137);
}

#[tokio::test]
async fn shutting_down_ends_the_machine() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    // The answer may not arrive.
    let _ = pod.agent.shutdown(context(), &Empty::new()).await;
    assert!(pod.machine.ends_within(std::time::Duration::from_secs(10)));
}

#[tokio::test]
async fn the_end_of_the_connection_ends_the_machine() {
    let mut pod = Pod::boot().await;
    pod.hang_up();
    assert!(pod.machine.ends_within(std::time::Duration::from_secs(10)));
}

async fn adjust_clock(pod: &Pod, by_ns: i64) -> i64 {
    let request = AdjustClockRequest {
        by_ns,
        ..Default::default()
    };
    let answer = pod.agent.adjust_clock(context(), &request).await.unwrap();
    i64::try_from(answer.wall_clock_ns).unwrap()
}

#[tokio::test]
async fn the_clock_steps_by_much_and_slides_by_little() {
    const SECOND: i64 = 1_000_000_000;
    let pod = Pod::boot().await;
    let before = adjust_clock(&pod, 0).await;
    let later = adjust_clock(&pod, 3600 * SECOND).await - before;
    assert!((3600..3660).contains(&(later / SECOND)), "{later} ns");
    let before = adjust_clock(&pod, 0).await;
    let same = adjust_clock(&pod, -SECOND / 11).await - before;
    assert!((0..60 * SECOND).contains(&same), "{same} ns");
    let back = adjust_clock(&pod, -3600 * SECOND).await - before;
    assert!((-3600..-3540).contains(&(back / SECOND)), "{back} ns");
}
