//! What cannot work says so at once, in words, and leaves nothing behind.

use std::time::{Duration, Instant};

use protocol::agent::Stdio;
use protocol::{Code, Failure};
use serde_json::{Value, json};

use crate::pod::Pod;
use crate::spec;

/// A request that is refused takes no longer than this.
const SOON: Duration = Duration::from_secs(3);

async fn refused(pod: &Pod, spec: &Value) -> Failure {
    let began = Instant::now();
    let (stdio, _streams) = pod.stdio(false);
    let failure = pod.create("c", spec, stdio).await.unwrap_err();
    assert!(
        began.elapsed() < SOON,
        "{:?} until {failure}",
        began.elapsed()
    );
    failure
}

/// The id is free, and so is everything else: the same id works next.
async fn nothing_is_left(pod: &mut Pod) {
    let spec = spec::container(spec::shell("ls /sys/fs/cgroup; exit 4"));
    let (_, _, status) = pod.output_of("c", &spec).await;
    assert_eq!(status, 4);
}

#[tokio::test]
async fn a_program_that_is_missing_or_none_is_named() {
    let mut pod = Pod::boot().await;
    for (argument, code, text) in [
        (
            "nosuch",
            Code::NotFound,
            r#"exec: "nosuch": executable file not found in $PATH"#,
        ),
        (
            "/nosuch",
            Code::NotFound,
            r#"exec: "/nosuch": stat /nosuch: no such file or directory"#,
        ),
        (
            "/etc/data",
            Code::FailedPrecondition,
            r#"exec: "/etc/data": permission denied"#,
        ),
        (
            "/etc",
            Code::FailedPrecondition,
            r#"exec: "/etc": is a directory"#,
        ),
    ] {
        let failure = refused(&pod, &spec::container(spec::process(&[argument]))).await;
        assert_eq!((failure.code, failure.message.as_str()), (code, text));
        nothing_is_left(&mut pod).await;
    }
}

#[tokio::test]
async fn a_working_directory_below_a_file_is_named() {
    let mut pod = Pod::boot().await;
    let mut process = spec::shell("exit 0");
    process["cwd"] = json!("/etc/data/below");
    let failure = refused(&pod, &spec::container(process)).await;
    let text = r#"chdir to cwd ("/etc/data/below") set in config.json failed: not a directory"#;
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (Code::FailedPrecondition, text)
    );
    nothing_is_left(&mut pod).await;
}

#[tokio::test]
async fn a_program_that_the_kernel_cannot_run_fails_the_start() {
    let mut pod = Pod::boot().await;
    let spec = spec::container(spec::process(&["garbage"]));
    pod.create("c", &spec, Stdio::new()).await.unwrap();
    let failure = pod.start("c").await.unwrap_err();
    assert_eq!(failure.message, "exec /bin/garbage: exec format error");
    assert_eq!(failure.code, Code::FailedPrecondition);
    pod.exit("c", "").await;
    pod.delete("c").await.unwrap();
    nothing_is_left(&mut pod).await;
}

#[tokio::test]
async fn a_mount_without_its_source_names_the_cause() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell("exit 0"));
    spec["mounts"].as_array_mut().unwrap().push(json!(
        {"destination": "/data", "type": "bind", "source": "/run/share/nosuch", "options": ["rbind"]}
    ));
    let failure = refused(&pod, &spec).await;
    assert!(failure.message.contains("/run/share/nosuch"), "{failure}");
    assert!(
        failure.message.contains("No such file or directory"),
        "{failure}"
    );
    nothing_is_left(&mut pod).await;
}

#[tokio::test]
async fn a_missing_root_is_named() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell("exit 0"));
    spec["root"]["path"] = json!("/run/share/x/rootfs");
    let failure = refused(&pod, &spec).await;
    assert!(failure.message.contains("/run/share/x/rootfs"), "{failure}");
    nothing_is_left(&mut pod).await;
}

#[tokio::test]
async fn what_is_no_specification_is_invalid() {
    let mut pod = Pod::boot().await;
    let failure = refused(&pod, &json!({"ociVersion": 7})).await;
    assert_eq!(failure.code, Code::InvalidArgument, "{failure}");
    let mut spec = spec::container(spec::shell("exit 0"));
    spec["process"]["args"] = json!([]);
    assert_eq!(refused(&pod, &spec).await.code, Code::InvalidArgument);
    nothing_is_left(&mut pod).await;
}

#[tokio::test]
async fn a_failed_exec_leaves_the_container_alone() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    let mut elsewhere = spec::shell("exit 0");
    elsewhere["cwd"] = json!("/nosuch");
    for (process, code, text) in [
        (
            spec::process(&["nosuch"]),
            Code::NotFound,
            r#"exec: "nosuch": executable file not found in $PATH"#,
        ),
        (
            spec::process(&["/etc/data"]),
            Code::FailedPrecondition,
            r#"exec: "/etc/data": permission denied"#,
        ),
        (
            elsewhere,
            Code::NotFound,
            r#"chdir to cwd ("/nosuch") set in config.json failed: no such file or directory"#,
        ),
        (
            spec::process(&["garbage"]),
            Code::FailedPrecondition,
            "exec /bin/garbage: exec format error",
        ),
    ] {
        let began = Instant::now();
        let (stdio, _streams) = pod.stdio(false);
        let failure = pod.exec("c", "e", &process, stdio).await.unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (code, text));
        assert!(began.elapsed() < SOON);
    }
    let (stdout, status) = pod
        .output_of_exec("c", &spec::shell("set -- /proc/[0-9]*; echo $#"))
        .await;
    // The container's sleep and this shell, which starts nothing to count.
    assert_eq!((stdout.as_str(), status), ("2\n", 0));
}
