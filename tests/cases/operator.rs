//! What an operator types: `kata-mshv`.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::bed::{Bed, Driver};
use crate::ctr::Ended;
use crate::harness::cases;
use crate::images::BUSYBOX;
use crate::operator::Operator;
use crate::task::IDLE;
use crate::terminal;

cases![
    vm: run_waits_for_the_end_and_passes_the_code_on,
    exec_passes_streams_and_codes_on,
    exec_gives_a_terminal,
    ps_tells_of_the_vm,
    a_pod_that_cannot_start_is_an_error_and_is_gone,
    check_tells_what_will_be_used
];

/// Writes a manifest of pod `name` that runs `script`; its path.
fn manifest(bed: &Bed, name: &str, handler: &str, script: &str) -> Result<String> {
    let file = bed.layout.scratch(&format!("{name}.yaml"));
    let script = serde_json::to_string(script)?;
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  \
         runtimeClassName: {handler}\n  restartPolicy: Never\n  containers:\n  \
         - {{name: main, image: \"{BUSYBOX}\", command: [sh, -c, {script}]}}\n"
    );
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file.display().to_string())
}

/// A pod that does nothing until it is removed.
async fn idle(bed: &Bed, operator: &Operator<'_>, name: &str) -> Result<()> {
    let [_, _, script] = IDLE;
    let file = manifest(bed, name, bed.handler.name(), script)?;
    operator.run(&file).await
}

async fn run_waits_for_the_end_and_passes_the_code_on(bed: &Bed) -> Result<()> {
    let operator = Operator::new(bed);
    let script = "uname -r; echo complaint >&2; exit 3";
    let file = manifest(bed, "ends", bed.handler.name(), script)?;
    let ended = Ended::of(operator.command(&["run", "--rm", &file])).await?;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stdout.contains("kata-mshv-vm-isolation"), "{ended:?}");
    assert!(ended.stderr.contains("complaint"), "{ended:?}");
    Ok(())
}

async fn exec_passes_streams_and_codes_on(bed: &Bed) -> Result<()> {
    let operator = Operator::new(bed);
    idle(bed, &operator, "streams").await?;
    let mut exec = operator.command(&["exec", "--stdin"]);
    exec.args(["streams", "--", "sh", "-c", "cat; echo err >&2; exit 9"]);
    exec.stdin(Stdio::piped());
    let ended = Ended::of_input(exec, b"in\n").await?;
    assert_eq!(ended.code, Some(9), "{ended:?}");
    assert_eq!(ended.stdout, "in\n", "{ended:?}");
    assert!(ended.stderr.contains("err\n"), "{ended:?}");

    let mut exec = operator.command(&["exec"]);
    exec.args(["streams", "--", "/no/such/command"]);
    let ended = Ended::of(exec).await?;
    assert_eq!(ended.code, Some(127), "{ended:?}");
    operator.remove("streams").await
}

async fn exec_gives_a_terminal(bed: &Bed) -> Result<()> {
    let operator = Operator::new(bed);
    idle(bed, &operator, "terminal").await?;
    let script = "until [ \"$(stty size)\" = '33 111' ]; do sleep 0.1; done; \
                  tty; read line; echo \"got $line\"; exit 5";
    let mut exec = operator.command(&["exec", "--stdin", "--tty"]);
    exec.args(["terminal", "--", "sh", "-c", script]);
    let ended = terminal::run(exec, 33, 111, b"typed\r").await?;
    assert_eq!(ended.code, Some(5), "{ended:?}");
    for shown in ["/dev/pts/", "got typed\n"] {
        assert!(
            ended.stdout.contains(shown),
            "{shown:?} is not in {ended:?}"
        );
    }
    operator.remove("terminal").await
}

async fn ps_tells_of_the_vm(bed: &Bed) -> Result<()> {
    let operator = Operator::new(bed);
    idle(bed, &operator, "listed").await?;
    let ended = Ended::of(operator.command(&["ps"])).await?.success()?;
    for shown in ["listed", "2048", "6.12."] {
        assert!(
            ended.stdout.contains(shown),
            "{shown:?} is not in {ended:?}"
        );
    }
    operator.remove("listed").await?;
    let ended = Ended::of(operator.command(&["ps"])).await?.success()?;
    assert!(!ended.stdout.contains("listed"), "{ended:?}");
    Ok(())
}

async fn a_pod_that_cannot_start_is_an_error_and_is_gone(bed: &Bed) -> Result<()> {
    let operator = Operator::new(bed);
    let _changed = bed.configure("guest.kernel", "/no/such/vmlinux")?;
    let file = manifest(bed, "refused", bed.handler.name(), "true")?;
    let ended = Ended::of(operator.command(&["run", &file])).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("/no/such/vmlinux"), "{ended:?}");
    Ok(())
}

async fn check_tells_what_will_be_used(bed: &Bed) -> Result<()> {
    let operator = Operator::new(bed);
    let config = bed.layout.shim_config().display().to_string();
    let ended = Ended::of(operator.command(&["check", "--config", &config])).await?;
    // A host without hardware for VMs, or with it: either can run pods.
    let ended = ended.success()?;
    let driver = match bed.driver {
        Driver::Qemu => "VMs run by QEMU",
        Driver::Auto => "VMs run by the built-in VMM",
    };
    for shown in [driver, "containerd"] {
        assert!(
            ended.stdout.contains(shown),
            "{shown:?} is not in {ended:?}"
        );
    }
    Ok(())
}
