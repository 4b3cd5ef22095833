//! Further processes of a running container.

use protocol::Code;
use protocol::agent::Stdio;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::machine::Shape;
use crate::pod::{Pod, context, feed, sandbox, text};
use crate::spec;

#[tokio::test]
async fn an_exec_is_in_the_container_and_its_status_is_exact() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("echo $$ > /tmp/first; sleep 1000"))
        .await;
    for (script, expected) in [
        ("cat /tmp/first; hostname", ("1\nweb-0\n", 0)),
        ("exit 7", ("", 7)),
        ("kill -9 $$", ("", 137)),
        ("cd /srv/app && pwd", ("/srv/app\n", 0)),
        ("ps | grep -c '[s]leep 1000'", ("1\n", 0)),
    ] {
        let (stdout, status) = pod.output_of_exec("c", &spec::shell(script)).await;
        assert_eq!((stdout.as_str(), status), expected, "{script}");
    }
}

#[tokio::test]
async fn an_exec_gets_its_input() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    let (stdio, streams) = pod.stdio(false);
    pod.exec("c", "e", &spec::process(&["cat"]), stdio)
        .await
        .unwrap();
    let (_stdin, stdout) = tokio::join!(feed(streams.stdin, b"hello"), text(streams.stdout));
    assert_eq!(stdout, "hello");
    assert_eq!(pod.exit("c", "e").await.status, 0);
}

#[tokio::test]
async fn an_exec_has_the_user_and_limits_it_asks_for() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    let mut process = spec::shell("id -u; id -g; id -G; ulimit -n; umask; echo $HOME; pwd");
    process["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [7, 8], "umask": 0o27});
    process["cwd"] = json!("/srv");
    process["oomScoreAdj"] = json!(500);
    let (stdout, _) = pod.output_of_exec("c", &process).await;
    assert_eq!(stdout, "1000\n1001\n1001 7 8\n1024\n0027\n/srv/app\n/srv\n");

    let mut process = spec::process(&["cat", "/proc/self/oom_score_adj"]);
    process["oomScoreAdj"] = json!(500);
    assert_eq!(pod.output_of_exec("c", &process).await.0, "500\n");
}

/// Like Docker in Docker: its own processes moved away, it gives controllers to
/// children, and then no process can be in its cgroup itself.
#[tokio::test]
async fn an_exec_is_in_the_cgroup_that_the_container_chose() {
    let mut pod = Pod::boot().await;
    let script = "cd /sys/fs/cgroup && mkdir init && echo 0 > init/cgroup.procs && \
                  echo +pids > cgroup.subtree_control && echo ready && sleep 1000";
    let mut spec = spec::container(spec::shell(script));
    spec["mounts"][5]["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
    let (stdio, streams) = pod.stdio(false);
    pod.create("c", &spec, stdio).await.unwrap();
    pod.start("c").await.unwrap();
    let mut stdout = streams.stdout.await.unwrap();
    stdout.read_exact(&mut [0; 6]).await.unwrap();
    let process = spec::process(&["cat", "/proc/self/cgroup"]);
    let (stdout, status) = pod.output_of_exec("c", &process).await;
    assert_eq!((stdout.as_str(), status), ("0::/init\n", 0));
}

/// containerd copies the container's process into each of its execs.
#[tokio::test]
async fn a_container_and_its_execs_are_scheduled_as_they_ask() {
    let shape = Shape {
        cpus: 2,
        ..Shape::default()
    };
    let mut pod = Pod::boot_with(shape, sandbox()).await;
    // rt_priority and policy (proc_pid_stat(5)).
    let mut process = spec::shell("cut -d ' ' -f 40,41 /proc/self/stat; ionice -p $$");
    process["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 7});
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    let expected = "7 1\nbest-effort: prio 6\n";
    let container = spec::container(process.clone());
    assert_eq!(pod.output_of("c", &container).await.0, expected);
    pod.run("d", spec::shell("sleep 1000")).await;
    assert_eq!(pod.output_of_exec("d", &process).await.0, expected);

    let mut process = spec::shell("nproc");
    for (affinity, expected) in [
        (json!({"initial": "0", "final": "1"}), "1\n"),
        // The guest has the first of them alone.
        (json!({"initial": "1-2", "final": "1-2"}), "2\n"),
    ] {
        process["execCPUAffinity"] = affinity;
        assert_eq!(pod.output_of_exec("d", &process).await.0, expected);
    }
}

#[tokio::test]
async fn execs_are_known_until_they_are_deleted() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    let sleeper = spec::process(&["sleep", "500"]);
    pod.exec("c", "e", &sleeper, Stdio::new()).await.unwrap();
    let again = pod
        .exec("c", "e", &sleeper, Stdio::new())
        .await
        .unwrap_err();
    assert_eq!(again.code, Code::AlreadyExists);

    let request = pod.process("c", "e");
    assert!(pod.agent.delete_process(context(), &request).await.is_err());
    pod.signal("c", "e", 15, false).await.unwrap();
    assert_eq!(pod.exit("c", "e").await.status, 143);
    pod.agent.delete_process(context(), &request).await.unwrap();
    assert_eq!(
        pod.signal("c", "e", 15, false).await.unwrap_err().code,
        Code::NotFound
    );
    pod.exec("c", "e", &sleeper, Stdio::new()).await.unwrap();
}

#[tokio::test]
async fn execs_end_before_their_container() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    pod.exec("c", "e", &spec::process(&["sleep", "500"]), Stdio::new())
        .await
        .unwrap();
    pod.signal("c", "", 9, false).await.unwrap();
    assert_eq!(pod.exit("c", "e").await.status, 137);
    assert_eq!(pod.exit("c", "").await.status, 137);
    pod.delete("c").await.unwrap();
}

#[tokio::test]
async fn many_execs_at_once_are_not_mixed_up() {
    let mut pod = Pod::boot().await;
    pod.run("c", spec::shell("sleep 1000")).await;
    let mut outputs = Vec::new();
    for number in 0..8 {
        let (stdio, streams) = pod.stdio(false);
        let process = spec::shell(&format!("echo {number}; exit {number}"));
        pod.exec("c", &format!("e{number}"), &process, stdio)
            .await
            .unwrap();
        outputs.push((number, streams));
    }
    for (number, streams) in outputs {
        assert_eq!(text(streams.stdout).await, format!("{number}\n"));
    }
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..8 {
        let event = pod.event().await;
        seen.insert(event.exited().exec_id.clone(), event.exited().status);
    }
    for number in 0..8 {
        assert_eq!(seen.get(&format!("e{number}")), Some(&number));
    }
}
