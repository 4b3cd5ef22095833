//! Standard streams without a terminal.

use protocol::agent::Stdio;

use crate::pod::{Pod, feed, text};
use crate::spec;

#[tokio::test]
async fn output_and_errors_come_apart_and_whole() {
    let mut pod = Pod::boot().await;
    let spec = spec::container(spec::shell("echo out; echo err >&2; exit 3"));
    let expected = ("out\n".to_owned(), "err\n".to_owned(), 3);
    assert_eq!(pod.output_of("c", &spec).await, expected);
}

#[tokio::test]
async fn much_output_arrives_before_the_exit() {
    let mut pod = Pod::boot().await;
    let script = "dd if=/dev/zero bs=1024 count=3000 2>/dev/null";
    let (stdout, _, status) = pod
        .output_of("c", &spec::container(spec::shell(script)))
        .await;
    assert_eq!((stdout.len(), status), (3000 * 1024, 0));
}

#[tokio::test]
async fn input_ends_when_the_host_closes_it() {
    let mut pod = Pod::boot().await;
    let (stdio, streams) = pod.stdio(false);
    let spec = spec::container(spec::process(&["/bin/cat"]));
    pod.create("c", &spec, stdio).await.unwrap();
    pod.start("c").await.unwrap();
    let input = "0123456789".repeat(20_000);
    let (_stdin, stdout) =
        tokio::join!(feed(streams.stdin, input.as_bytes()), text(streams.stdout));
    assert_eq!(stdout, input);
    assert_eq!(pod.exit("c", "").await.status, 0);
}

#[tokio::test]
async fn streams_that_nobody_asked_for_are_empty() {
    let mut pod = Pod::boot().await;
    let script = "cat; readlink /proc/self/fd/1; test \"$(readlink /proc/self/fd/0)\" = /dev/null";
    pod.create("c", &spec::container(spec::shell(script)), Stdio::new())
        .await
        .unwrap();
    pod.start("c").await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 0);
}

#[tokio::test]
async fn the_streams_can_be_opened_again_by_any_user() {
    let mut pod = Pod::boot().await;
    let mut process = spec::shell("echo again > /dev/stdout; echo bad > /dev/stderr");
    process["user"] = serde_json::json!({"uid": 1000, "gid": 1000});
    let (stdout, stderr, status) = pod.output_of("c", &spec::container(process)).await;
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), status),
        ("again\n", "bad\n", 0)
    );
}

#[tokio::test]
async fn a_process_left_behind_does_not_hold_up_the_exit() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    let (stdio, streams) = pod.stdio(false);
    let process = spec::shell("sleep 500 & echo done");
    pod.exec("c", "e", &process, stdio).await.unwrap();
    assert_eq!(pod.exit("c", "e").await.status, 0);
    // What it wrote is there although the stream is still open.
    let mut stdout = streams.stdout.await.unwrap();
    let mut line = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut line)
        .await
        .unwrap();
    assert_eq!(&line, b"done\n");
}
