//! More processes in a lone container, through `ctr`.

use anyhow::Result;

use crate::bed::Bed;
use crate::ctr::Ended;
use crate::harness::cases;
use crate::task::Task;
use crate::terminal;

cases![any: exit_codes, streams, terminal, unknown_command, of_a_stopped_container];

async fn exit_codes(bed: &Bed) -> Result<()> {
    let task = Task::idle(bed, "codes").await?;
    for code in [0, 7, 130, 137] {
        let script = format!("exit {code}");
        let exec = task.exec(&format!("e{code}"), &[], &["sh", "-c", &script]);
        let ended = Ended::of(exec).await?;
        assert_eq!(ended.code, Some(code), "{ended:?}");
    }
    let ended = Ended::of(task.exec("killed", &[], &["sh", "-c", "kill -9 $$"])).await?;
    assert_eq!(ended.code, Some(137), "{ended:?}");
    task.end().await
}

async fn streams(bed: &Bed) -> Result<()> {
    let task = Task::idle(bed, "streams").await?;
    let script = "cat; echo err >&2; echo out";
    let exec = task.exec("e", &[], &["sh", "-c", script]);
    let ended = Ended::of_input(exec, b"in\n").await?.success()?;
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("in\nout\n", "err\n")
    );
    task.end().await
}

async fn terminal(bed: &Bed) -> Result<()> {
    let task = Task::idle(bed, "terminal").await?;
    let script = "tty; read line; echo \"got $line\"; exit 5";
    let exec = task.exec("e", &["--tty"], &["sh", "-c", script]);
    let ended = terminal::run(exec, 24, 80, b"typed\r").await?;
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.stdout.contains("got typed\n"), "{ended:?}");
    task.end().await
}

async fn unknown_command(bed: &Bed) -> Result<()> {
    let task = Task::idle(bed, "unknown").await?;
    let ended = Ended::of(task.exec("e", &[], &["/no/such/command"])).await?;
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("/no/such/command"), "{ended:?}");
    task.end().await
}

async fn of_a_stopped_container(bed: &Bed) -> Result<()> {
    let task = Task::idle(bed, "stopped").await?;
    task.kill("SIGKILL").await?;
    task.await_state("STOPPED").await?;
    let ended = Ended::of(task.exec("e", &[], &["true"])).await?;
    assert_ne!(ended.code, Some(0), "{ended:?}");
    task.remove().await?;
    Ok(())
}
