//! Signals, orphans, and processes that outlive others.

use protocol::Code;
use protocol::agent::Stdio;

use crate::pod::{Pod, container, context};
use crate::spec;

#[tokio::test]
async fn a_signal_reaches_the_first_process_alone() {
    let mut pod = Pod::boot().await;
    let script = "trap 'exit 9' TERM; sleep 1000 & echo ready; while :; do wait; done";
    pod.run_until_ready("c", script).await;
    assert_eq!(
        pod.signal("c", "", 99, false).await.unwrap_err().code,
        Code::InvalidArgument
    );
    pod.signal("c", "", 15, false).await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 9);
}

#[tokio::test]
async fn a_signal_to_all_reaches_every_process() {
    let mut pod = Pod::boot().await;
    let script = "sleep 1000 & sleep 1000 & echo ready; wait; wait; exit 6";
    pod.run_until_ready("c", script).await;
    let listed = pod
        .agent
        .list_processes(context(), &container("c"))
        .await
        .unwrap()
        .pids;
    assert_eq!(listed.len(), 3);
    // The shell ignores none, but as the first of its namespace it is not
    // ended by a signal it does not handle.
    pod.signal("c", "", 15, true).await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 6);
}

#[tokio::test]
async fn killing_all_ends_the_container() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000 & sleep 1000")).await;
    pod.exec("c", "e", &spec::process(&["sleep", "900"]), Stdio::new())
        .await
        .unwrap();
    pod.signal("c", "", 9, true).await.unwrap();
    pod.exit("c", "e").await;
    assert_eq!(pod.exit("c", "").await.status, 137);
    pod.delete("c").await.unwrap();
}

#[tokio::test]
async fn orphans_are_reaped_in_silence() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell(
        "for i in 1 2 3; do (true &); done; sleep 0.2; exit 2",
    ));
    // In the guest's own PID namespace orphans are the agent's.
    spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    let (_, _, status) = pod.output_of("c", &spec).await;
    assert_eq!(status, 2);
    let mut count = spec::container(spec::shell("ps | grep -c '[Z]  '"));
    count["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    assert_eq!(pod.output_of("d", &count).await.0, "0\n");
}

#[tokio::test]
async fn what_outlives_the_first_process_is_killed() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell("sleep 1000 & exit 0"));
    spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    pod.create("c", &spec, Stdio::new()).await.unwrap();
    pod.start("c").await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 0);
    pod.delete("c").await.unwrap();
}

#[tokio::test]
async fn helpers_are_there_though_their_nursery_was_killed() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell(
        "for p in $(pidof init); do [ $p = 1 ] || { kill -9 $p && echo killed; }; done; sleep 1000",
    ));
    spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    let streams = pod.create("c", &spec, Stdio::new()).await;
    drop(streams);
    pod.start("c").await.unwrap();
    let ask = spec::shell("while [ $(pidof init | wc -w) != 1 ]; do sleep 0.1; done; echo gone");
    let (stdout, status) = pod.output_of_exec("c", &ask).await;
    assert_eq!((stdout.as_str(), status), ("gone\n", 0));
    let (stdout, _, status) = pod
        .output_of("d", &spec::container(spec::shell("echo built")))
        .await;
    assert_eq!((stdout.as_str(), status), ("built\n", 0));
}
