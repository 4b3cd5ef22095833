//! A pod's life in the calls in which kubelet makes it: init containers one after
//! the other, sidecars, the containers, ephemeral ones; restarts; hooks and probes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctl::cri::v1::ContainerState;
use ctl::cri::v1::MountPropagation::PropagationPrivate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::bed::Bed;
use crate::harness::{cases, patient};
use crate::kubelet::PodFolder;
use crate::pod::{Container, ContainerSpec, container, pod};

cases![
    any: init_containers_come_first,
    a_sidecar_ends_after_the_others,
    an_ephemeral_container_sees_its_targets_processes,
    a_failing_container_is_started_again,
    hooks,
    probes_from_inside_and_outside
];

/// Longer than a container takes that has little to do.
const SOON: Duration = Duration::from_secs(20);

fn sharing(spec: ContainerSpec, volume: &Path) -> ContainerSpec {
    spec.mount(volume, "/work", PropagationPrivate, false)
}

/// Each has to have ended well before the next one is created.
async fn init_containers_come_first(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "prepared")?;
    let volume = folder.volume("empty-dir", "work")?;
    let pod = pod("prepared").run(bed).await?;
    for (name, script) in [
        ("fetch", "echo one > /work/steps"),
        (
            "migrate",
            "grep -qx one /work/steps && echo two >> /work/steps",
        ),
    ] {
        let init = sharing(container(name, &["sh", "-c", script]), &volume);
        let init = init.start(&pod).await?;
        assert_eq!(init.exit_code(SOON).await?, 0, "{name}");
    }
    let main = sharing(ContainerSpec::idle("main"), &volume)
        .start(&pod)
        .await?;
    assert_eq!(main.ask(&["cat", "/work/steps"]).await?, "one\ntwo");
    pod.remove().await
}

/// A restartable init container: it runs before the containers, next to them, and
/// is stopped when they have ended. When it dies meanwhile it is made anew.
async fn a_sidecar_ends_after_the_others(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "accompanied")?;
    let volume = folder.volume("empty-dir", "work")?;
    let pod = pod("accompanied").run(bed).await?;
    let serve = "trap 'echo over >> /work/log; exit 0' TERM; touch /ready; \
                 [ -e /work/die ] && rm /work/die && exit 1; \
                 while :; do [ -e /work/die ] && exit 1; sleep 0.1; done";
    let sidecar = |attempt| {
        let spec = container("sidecar", &["sh", "-c", serve]);
        sharing(spec.attempt(attempt), &volume)
    };
    let first = sidecar(0).start(&pod).await?;
    first.ready().await?;
    let work = "echo begun >> /work/log; until [ -e /work/done ]; do sleep 0.1; done; \
                echo worked >> /work/log";
    let main = sharing(container("main", &["sh", "-c", work]), &volume);
    let main = main.start(&pod).await?;

    fs::write(volume.join("die"), "").context("end the sidecar")?;
    assert_eq!(first.exit_code(SOON).await?, 1);
    fs::remove_file(volume.join("die")).context("let the next one live")?;
    let second = sidecar(1).start(&pod).await?;
    second.ready().await?;
    first.remove().await?;

    fs::write(volume.join("done"), "").context("let the container end")?;
    assert_eq!(main.exit_code(SOON).await?, 0);
    let state = second.status().await?.state();
    assert_eq!(state, ContainerState::ContainerRunning);
    second.stop(SOON).await?;
    assert_eq!(second.status().await?.exit_code, 0);
    let log = fs::read_to_string(volume.join("log")).context("read what they wrote")?;
    assert_eq!(log, "begun\nworked\nover\n");
    pod.remove().await
}

/// `kubectl debug --target=main`: of two containers with processes of their own.
async fn an_ephemeral_container_sees_its_targets_processes(bed: &Bed) -> Result<()> {
    let pod = pod("debugged").run(bed).await?;
    let beside = container("beside", &["sh", "-c", "sleep 1001"])
        .start(&pod)
        .await?;
    let main = container("main", &["sh", "-c", "sleep 1002; true"])
        .start(&pod)
        .await?;
    let debugger = ContainerSpec::idle("debugger").target(&main);
    let debugger = debugger.start(&pod).await?;
    let seen = debugger.ask(&["ps", "-o", "args"]).await?;
    ensure!(
        seen.contains("sleep 1002"),
        "the target's are not in {seen}"
    );
    ensure!(!seen.contains("sleep 1001"), "another's are in {seen}");
    debugger
        .ask(&[
            "sh",
            "-c",
            "kill -9 $(pidof sleep | tr ' ' '\\n' | head -1)",
        ])
        .await
        .ok();
    // It goes, and its target stays.
    let other = main.status().await?.state();
    debugger.stop(Duration::ZERO).await?;
    debugger.remove().await?;
    assert_eq!(main.status().await?.state(), other);
    drop(beside);
    pod.remove().await
}

/// `restartPolicy: OnFailure`: kubelet makes the next attempt beside the remains of
/// the last, and reads each one's message from the file that it mounted for it.
async fn a_failing_container_is_started_again(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "failing")?;
    let work = folder.volume("empty-dir", "work")?;
    let messages = folder.volume("host", "messages")?;
    let pod = pod("failing").run(bed).await?;
    let script = "n=$(cat /work/count 2>/dev/null || echo 0); echo $((n + 1)) > /work/count; \
                  echo \"attempt $n\" > /dev/termination-log; echo \"log $n\"; [ $n = 2 ]";
    let mut before: Option<Container> = None;
    for attempt in 0..3 {
        let message = messages.join(attempt.to_string());
        fs::write(&message, "").context("make a file for a message")?;
        let spec = container("main", &["sh", "-c", script]).attempt(attempt);
        let spec = spec.log(&format!("{attempt}.log"));
        let spec = spec.mount(&message, "/dev/termination-log", PropagationPrivate, false);
        let main = sharing(spec, &work).start(&pod).await?;
        assert_eq!(main.exit_code(SOON).await?, i32::from(attempt < 2));
        let said = fs::read_to_string(&message).context("read a message")?;
        assert_eq!(said, format!("attempt {attempt}\n"));
        let expected = format!("log {attempt}\n");
        let logs = main.logs_when(|logs| logs.stdout == expected).await?;
        assert_eq!(logs.stdout, expected);
        if let Some(before) = before.replace(main) {
            before.remove().await?;
        }
    }
    pod.remove().await
}

/// `postStart` runs at once beside the container's own command, `preStop` to its end
/// before the container is asked to end.
async fn hooks(bed: &Bed) -> Result<()> {
    let pod = pod("hooked").run(bed).await?;
    let script = "trap 'cat /hooks; exit 0' TERM; touch /ready; while :; do sleep 0.1; done";
    let main = container("main", &["sh", "-c", script]).start(&pod).await?;
    main.ask(&["sh", "-c", "echo postStart >> /hooks"]).await?;
    main.ready().await?;
    let failing = main.exec(&["sh", "-c", "echo no >&2; exit 3"]).await?;
    assert_eq!((failing.code, failing.stderr.as_str()), (Some(3), "no\n"));
    main.ask(&["sh", "-c", "sleep 1; echo preStop >> /hooks"])
        .await?;
    main.stop(SOON).await?;
    let expected = "postStart\npreStop\n";
    let logs = main.logs_when(|logs| logs.stdout == expected).await?;
    assert_eq!(logs.stdout, expected);
    pod.remove().await
}

/// Readiness by exec, liveness by HTTP and TCP: the latter two are kubelet's own, and
/// come from the node.
async fn probes_from_inside_and_outside(bed: &Bed) -> Result<()> {
    let pod = pod("probed").run(bed).await?;
    // In the background it is when it listens.
    let serve = "mkdir /www; echo well > /www/health; httpd -p 8080 -h /www; \
                 sleep 1; touch /ready; exec sleep 1000";
    let main = container("main", &["sh", "-c", serve]).start(&pod).await?;
    let ready = ["test", "-e", "/ready"];
    let deadline = Instant::now() + patient(SOON);
    let mut unready = 0;
    while main.exec(&ready).await?.code != Some(0) {
        ensure!(Instant::now() < deadline, "it does not become ready");
        unready += 1;
        sleep(Duration::from_millis(100)).await;
    }
    assert!(unready > 0, "it was ready before it was");
    for address in pod.addresses().await? {
        let address = match address.contains(':') {
            true => format!("[{address}]"),
            false => address,
        };
        let well = http(&address, "/health").await?;
        ensure!(
            well.starts_with("HTTP/1.1 200 OK") || well.starts_with("HTTP/1.0 200 OK"),
            "{well}"
        );
        let ill = http(&address, "/none").await?;
        ensure!(ill.contains(" 404 "), "{ill}");
        let closed = TcpStream::connect(format!("{address}:8081")).await;
        assert!(closed.is_err(), "a port without a listener is open");
    }
    pod.remove().await
}

/// The whole answer to a probe's request.
async fn http(address: &str, path: &str) -> Result<String> {
    let probe = async {
        let mut stream = TcpStream::connect(format!("{address}:8080")).await?;
        let request = format!("GET {path} HTTP/1.0\r\nUser-Agent: kube-probe/1.33\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(patient(SOON), probe)
        .await
        .context("the probe hangs")?;
    answer.with_context(|| format!("ask {address} for {path}"))
}
