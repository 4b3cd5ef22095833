//! Processes with a terminal.

use protocol::agent::{ResizeTerminalRequest, Stdio};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pod::{PATIENCE, Pod, context, text};
use crate::spec;

async fn read_until(stream: &mut tokio::net::UnixStream, wanted: &str) -> String {
    let mut seen = String::new();
    let read = async {
        let mut buffer = [0; 1024];
        while !seen.contains(wanted) {
            let length = stream.read(&mut buffer).await.unwrap();
            assert!(length > 0, "{seen:?} ended without {wanted:?}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect(wanted);
    seen
}

fn resize(id: &str, exec: &str, columns: u32, rows: u32) -> ResizeTerminalRequest {
    ResizeTerminalRequest {
        container_id: id.to_owned(),
        exec_id: exec.to_owned(),
        columns,
        rows,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_container_with_a_terminal_is_interactive() {
    let mut pod = Pod::boot().await;
    let (stdio, streams) = pod.stdio(true);
    let mut process = spec::process(&["/bin/sh", "-i"]);
    process["terminal"] = json!(true);
    process["consoleSize"] = json!({"height": 30, "width": 100});
    pod.create("c", &spec::container(process), stdio)
        .await
        .unwrap();
    pod.start("c").await.unwrap();
    let (mut stdin, mut stdout) = (streams.stdin.await.unwrap(), streams.stdout.await.unwrap());

    stdin.write_all(b"stty size\n").await.unwrap();
    read_until(&mut stdout, "30 100").await;
    pod.agent
        .resize_terminal(context(), &resize("c", "", 80, 25))
        .await
        .unwrap();
    stdin
        .write_all(b"stty size; test -t 0 && test -t 1 && echo both; test -c /dev/console && echo con''sole\n")
        .await
        .unwrap();
    let seen = read_until(&mut stdout, "console\r\n").await;
    assert!(
        seen.contains("25 80\r\n") && seen.contains("both\r\n"),
        "{seen}"
    );

    stdin.write_all(b"exit 5\n").await.unwrap();
    assert_eq!(pod.exit("c", "").await.status, 5);
    // The terminal's end is the stream's.
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn an_exec_with_a_terminal_owns_it() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    let (stdio, streams) = pod.stdio(true);
    let mut process = spec::shell("stty size; echo owned > /dev/tty; kill -INT $$; sleep 9");
    process["user"] = json!({"uid": 1000, "gid": 1000});
    process["consoleSize"] = json!({"height": 11, "width": 22});
    pod.exec("c", "e", &process, stdio).await.unwrap();
    assert_eq!(text(streams.stdout).await, "11 22\r\nowned\r\n");
    assert_eq!(pod.exit("c", "e").await.status, 130);
}

#[tokio::test]
async fn typing_an_interrupt_interrupts() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    let (stdio, streams) = pod.stdio(true);
    pod.exec("c", "e", &spec::shell("echo ready; sleep 900"), stdio)
        .await
        .unwrap();
    let mut stdout = streams.stdout.await.unwrap();
    read_until(&mut stdout, "ready").await;
    let mut stdin = streams.stdin.await.unwrap();
    stdin.write_all(&[3]).await.unwrap();
    assert_eq!(pod.exit("c", "e").await.status, 130);
}

#[tokio::test]
async fn a_process_without_a_terminal_cannot_be_resized() {
    let pod = Pod::boot().await;
    pod.create("c", &spec::container(spec::shell("sleep 9")), Stdio::new())
        .await
        .unwrap();
    assert!(
        pod.agent
            .resize_terminal(context(), &resize("c", "", 80, 25))
            .await
            .is_err()
    );
}
