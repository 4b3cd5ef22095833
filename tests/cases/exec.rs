//! Commands in a running container of a pod, through CRI.

use anyhow::{Context, Result};
use ctl::cri::stream::{Stdio, TerminalSize};

use crate::bed::Bed;
use crate::harness::cases;
use crate::pod::{ContainerSpec, pod};

cases![
    any: exit_codes,
    output_apart,
    large_output,
    stream_exit_codes,
    stream_stdin_ends,
    stream_large_input_comes_back,
    stream_at_a_terminal,
    many_at_once,
    unknown_command
];

/// How a process can end, and what the runtime then tells.
const ENDS: [(&str, i32); 5] = [
    ("exit 0", 0),
    ("exit 7", 7),
    ("exit 130", 130),
    ("kill -9 $$", 137),
    ("kill -15 $$", 143),
];

async fn exit_codes(bed: &Bed) -> Result<()> {
    let pod = pod("codes").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    for (script, code) in ENDS {
        let ended = container.exec(&["sh", "-c", script]).await?;
        assert_eq!(ended.code, Some(code), "{script}");
    }
    pod.remove().await
}

async fn output_apart(bed: &Bed) -> Result<()> {
    let pod = pod("output").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let ended = container
        .exec(&["sh", "-c", "echo out; echo err >&2"])
        .await?;
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("out\n", "err\n")
    );
    pod.remove().await
}

async fn large_output(bed: &Bed) -> Result<()> {
    let pod = pod("large").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let ended = container
        .exec(&["sh", "-c", "yes | head -c 1000000"])
        .await?;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stdout.len(), 1_000_000);
    pod.remove().await
}

async fn stream_exit_codes(bed: &Bed) -> Result<()> {
    let pod = pod("stream").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    for (script, code) in ENDS {
        let output = container.stream(&["sh", "-c", script], b"").await?;
        assert_eq!(output.exit_code, code, "{script}");
    }
    pod.remove().await
}

async fn stream_stdin_ends(bed: &Bed) -> Result<()> {
    let pod = pod("stdin").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let output = container
        .stream(&["sh", "-c", "cat; echo end; echo err >&2"], b"in\n")
        .await?;
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"in\nend\n"[..], &b"err\n"[..])
    );
    pod.remove().await
}

async fn stream_large_input_comes_back(bed: &Bed) -> Result<()> {
    let pod = pod("both").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let input: Vec<u8> = (0..1_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let output = container.stream(&["cat"], &input).await?;
    assert_eq!(output.stdout.len(), input.len());
    assert!(output.stdout == input, "what came back is something else");
    pod.remove().await
}

async fn stream_at_a_terminal(bed: &Bed) -> Result<()> {
    let pod = pod("terminal").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let script = "until [ \"$(stty size)\" = '33 111' ]; do sleep 0.1; done; \
                  read line; echo \"got $line\"; exit 5";
    let mut session = container
        .open(
            &["sh", "-c", script],
            Stdio {
                stdin: true,
                tty: true,
            },
        )
        .await?;
    let resizer = session
        .resizer
        .as_ref()
        .context("a terminal without a size")?;
    resizer
        .resize(TerminalSize {
            width: 111,
            height: 33,
        })
        .await?;
    // It stays open: containerd ends the session of a terminal with its input.
    let stdin = session
        .stdin
        .as_ref()
        .context("a session without an input")?;
    stdin.write(b"typed\r").await?;
    let shown = session.stdout.to_end().await;
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("got typed\r\n"), "{shown:?}");
    assert_eq!(session.result.exit_code().await?, 5);
    pod.remove().await
}

async fn many_at_once(bed: &Bed) -> Result<()> {
    let pod = pod("many").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let numbers: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    let commands: Vec<_> = numbers.iter().map(|n| ["echo", n.as_str()]).collect();
    let answers = commands.iter().map(|command| container.ask(command));
    let answers = futures::future::try_join_all(answers).await?;
    assert_eq!(answers, numbers);
    pod.remove().await
}

async fn unknown_command(bed: &Bed) -> Result<()> {
    let pod = pod("unknown").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let error = container
        .exec(&["/no/such/command"])
        .await
        .map(|ended| ended.code);
    let error = format!("{:#}", error.expect_err("a command that is not there ran"));
    assert!(error.contains("/no/such/command"), "{error}");
    pod.remove().await
}
