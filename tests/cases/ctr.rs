//! A lone container, through `ctr`.

use anyhow::Result;

use crate::bed::Bed;
use crate::ctr::Ended;
use crate::harness::cases;
use crate::task::{self, Task};
use crate::terminal;

cases![
    any: runs_and_removes,
    exit_code,
    stdin_reaches_the_command,
    terminal_has_the_size_of_ours,
    detached,
    kill_is_an_exit_code,
    signal_is_handled,
    pause_and_resume,
    metrics_count
];

async fn runs_and_removes(bed: &Bed) -> Result<()> {
    let ended = Ended::of(task::run(bed, &["--rm"], "hello", &["echo", "hello"])).await?;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "hello\n"),
        "{ended:?}"
    );
    Ok(())
}

async fn exit_code(bed: &Bed) -> Result<()> {
    for code in [7, 130] {
        let command = format!("exit {code}");
        let ended = Ended::of(task::run(bed, &["--rm"], "code", &["sh", "-c", &command])).await?;
        assert_eq!(ended.code, Some(code), "{ended:?}");
    }
    Ok(())
}

async fn stdin_reaches_the_command(bed: &Bed) -> Result<()> {
    // `ctr run` of 1.7 does not tell that its own input has ended; `ctr task
    // exec` does.
    let run = task::run(bed, &["--rm"], "input", &["head", "-n", "2"]);
    let ended = Ended::of_input(run, b"one\ntwo\n").await?.success()?;
    assert_eq!(ended.stdout, "one\ntwo\n");
    Ok(())
}

async fn terminal_has_the_size_of_ours(bed: &Bed) -> Result<()> {
    // The size arrives a moment after the process has started.
    let script = "until [ \"$(stty size)\" = '33 111' ]; do sleep 0.1; done; \
                  tty; read line; echo \"got $line\"; exit 5";
    let run = task::run(bed, &["--rm", "--tty"], "tty", &["sh", "-c", script]);
    let ended = terminal::run(run, 33, 111, b"typed\r").await?;
    assert_eq!(ended.code, Some(5), "{ended:?}");
    for shown in ["/dev/pts/0\n", "got typed\n"] {
        assert!(
            ended.stdout.contains(shown),
            "{shown:?} is not in {ended:?}"
        );
    }
    Ok(())
}

async fn detached(bed: &Bed) -> Result<()> {
    let task = Task::idle(bed, "detached").await?;
    assert_eq!(task.state().await?, "RUNNING");
    task.ready().await?;
    task.kill("SIGTERM").await?;
    assert_eq!(task.remove().await?, 0);
    Ok(())
}

async fn kill_is_an_exit_code(bed: &Bed) -> Result<()> {
    let task = Task::idle(bed, "killed").await?;
    task.kill("SIGKILL").await?;
    assert_eq!(task.remove().await?, 137);
    Ok(())
}

async fn signal_is_handled(bed: &Bed) -> Result<()> {
    let script = "trap 'exit 42' USR1; touch /ready; while :; do sleep 0.1; done";
    let task = Task::start(bed, &[], "signalled", &["sh", "-c", script]).await?;
    task.ready().await?;
    task.kill("SIGUSR1").await?;
    assert_eq!(task.remove().await?, 42);
    Ok(())
}

async fn pause_and_resume(bed: &Bed) -> Result<()> {
    // Renamed into place: a reader never finds the file empty.
    let count = "n=0; while :; do n=$((n+1)); echo $n > /next; mv /next /count; sleep 0.05; done";
    let task = Task::start(bed, &[], "paused", &["sh", "-c", count]).await?;
    task.tell("pause").await?;
    assert_eq!(task.state().await?, "PAUSED");
    task.tell("resume").await?;
    assert_eq!(task.state().await?, "RUNNING");
    let counts =
        "a=$(cat /count); until [ \"$(cat /count)\" -gt \"${a:-0}\" ]; do sleep 0.05; done";
    Ended::of(task.exec("look", &[], &["sh", "-c", counts]))
        .await?
        .success()?;
    task.end().await
}

async fn metrics_count(bed: &Bed) -> Result<()> {
    let burn = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; touch /ready; sleep 1000";
    let task = Task::start(bed, &[], "measured", &["sh", "-c", burn]).await?;
    task.ready().await?;
    let table = task.tell("metrics").await?;
    let value = |name: &str| -> u64 {
        let row = table.lines().find(|line| line.starts_with(name));
        let number = row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in:\n{table}"))
    };
    assert!(value("memory.usage") > 0, "{table}");
    assert!(value("cpu") > 0, "{table}");
    task.end().await
}
