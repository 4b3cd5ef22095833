//! Standard input of containers, attaching to them, and `kubectl cp`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctl::cri::stream::{Session, Stdio, TerminalSize};
use ctl::cri::v1::ContainerState;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::bed::Bed;
use crate::harness::{cases, patient};
use crate::pod::{ContainerSpec, Input, container, pod};

cases![
    any: input_once_ends_with_its_client,
    input_outlives_its_clients,
    a_terminal_is_resized_by_who_is_attached,
    files_are_copied_in_and_out
];

const SOON: Duration = Duration::from_secs(20);

const PIPES: Stdio = Stdio {
    stdin: true,
    tty: false,
};

/// What it says next, up to and with `end`.
async fn until(session: &mut Session, end: &str) -> Result<String> {
    let mut said = Vec::new();
    let read = async {
        while !said.ends_with(end.as_bytes()) {
            let Some(piece) = session.stdout.chunk().await else {
                break;
            };
            said.extend_from_slice(&piece);
        }
    };
    let read = timeout(patient(SOON), read).await;
    let said = String::from_utf8_lossy(&said).into_owned();
    read.with_context(|| format!("it said {said:?} and no more"))?;
    ensure!(said.ends_with(end), "it ended after {said:?}");
    Ok(said)
}

/// `stdin: true`, `stdinOnce: true`: as `kubectl run -i` has it.
async fn input_once_ends_with_its_client(bed: &Bed) -> Result<()> {
    let pod = pod("once").run(bed).await?;
    let main = container("main", &["sh", "-c", "cat; echo end; exit 4"]);
    let main = main.input(Input::Once).start(&pod).await?;
    let output = main.attach(PIPES).await?.communicate(b"one\ntwo\n").await?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\ntwo\nend\n");
    assert_eq!(main.exit_code(SOON).await?, 4);
    pod.remove().await
}

async fn input_outlives_its_clients(bed: &Bed) -> Result<()> {
    let pod = pod("often").run(bed).await?;
    let echo = "while read -r line; do echo \"got $line\"; done; echo end";
    let main = container("main", &["sh", "-c", echo]);
    let main = main.input(Input::Often).start(&pod).await?;
    for line in ["one", "two"] {
        let mut session = main.attach(PIPES).await?;
        let stdin = session.stdin.take().context("a session without an input")?;
        stdin.write(format!("{line}\n").as_bytes()).await?;
        let said = until(&mut session, &format!("got {line}\n")).await?;
        assert!(!said.contains("end"), "{said}");
        stdin.finish().await?;
    }
    let state = main.status().await?.state();
    assert_eq!(state, ContainerState::ContainerRunning);
    pod.remove().await
}

async fn a_terminal_is_resized_by_who_is_attached(bed: &Bed) -> Result<()> {
    let pod = pod("resized").run(bed).await?;
    // A change of size ends the shell's reading, and not its loop.
    let script = "trap 'stty size' WINCH; touch /ready; \
                  while :; do read -r line && echo \"got $line\"; done";
    let main = container("main", &["sh", "-c", script]);
    let main = main.input(Input::Terminal).start(&pod).await?;
    main.ready().await?;
    let mut session = main
        .attach(Stdio {
            stdin: true,
            tty: true,
        })
        .await?;
    let stdin = session.stdin.take().context("a session without an input")?;
    for (width, height) in [(111, 33), (80, 25)] {
        let resizer = session.resizer.as_ref();
        let resizer = resizer.context("a terminal without a size")?;
        resizer.resize(TerminalSize { width, height }).await?;
        let resized = format!(
            "until stty size < /proc/1/fd/0 | grep -qx '{height} {width}'; do sleep 0.1; done"
        );
        main.ask(&["sh", "-c", &resized]).await?;
    }
    stdin.write(b"line\r").await?;
    let said = until(&mut session, "got line\r\n").await?;
    assert!(said.contains("33 111\r\n"), "{said}");
    pod.remove().await
}

/// What `kubectl cp` does: tar through the streams of an exec.
async fn files_are_copied_in_and_out(bed: &Bed) -> Result<()> {
    let pod = pod("copied").run(bed).await?;
    let main = ContainerSpec::idle("main").start(&pod).await?;
    let content = noise(24 << 20);
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(content.len())?);
    header.set_mode(0o640);
    archive.append_data(&mut header, "large file", &content[..])?;
    let archive = archive.into_inner()?;
    let unpack = ["tar", "-xmf", "-", "-C", "/tmp"];
    let put = main.stream(&unpack, &archive).await?;
    assert_eq!(put.exit_code, 0, "{}", String::from_utf8_lossy(&put.stderr));
    let sum = main.ask(&["sha256sum", "/tmp/large file"]).await?;
    let expected = hex::encode(Sha256::digest(&content));
    assert_eq!(sum.split(' ').next(), Some(expected.as_str()));

    let got = main
        .stream(&["tar", "cf", "-", "-C", "/tmp", "large file"], b"")
        .await?;
    assert_eq!(got.exit_code, 0, "{}", String::from_utf8_lossy(&got.stderr));
    let mut archive = tar::Archive::new(&got.stdout[..]);
    let mut entry = archive
        .entries()?
        .next()
        .context("an archive of nothing")??;
    let mut back = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut back)?;
    ensure!(back == content, "{} other bytes came back", back.len());
    pod.remove().await
}

/// Bytes without a pattern (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = std::iter::repeat_with(next);
    words.flat_map(u64::to_le_bytes).take(length).collect()
}
