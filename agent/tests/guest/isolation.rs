//! What containers of a pod share, and what they do not.

use protocol::agent::{CreateContainerRequest, CreateSandboxRequest, IdMapping, Stdio};
use protocol::{Code, Failure};
use serde_json::{Value, json};

use crate::machine::Shape;
use crate::pod::{Pod, context, sandbox};
use crate::spec;

async fn run_shared(pod: &Pod, id: &str, spec: &Value) {
    let request = CreateContainerRequest {
        container_id: id.to_owned(),
        spec: spec.to_string().into_bytes(),
        stdio: Some(Stdio::new()).into(),
        share_process_namespace: true,
        ..Default::default()
    };
    pod.agent
        .create_container(context(), &request)
        .await
        .unwrap();
    pod.start(id).await.unwrap();
}

#[tokio::test]
async fn containers_share_host_name_memory_and_message_queues() {
    let mut pod = Pod::boot().await;
    pod.run("a", spec::shell("sleep 1000")).await;
    pod.run("b", spec::shell("sleep 1000")).await;
    let ids = "for n in ipc uts net; do readlink /proc/self/ns/$n; done; hostname";
    let a = pod.output_of_exec("a", &spec::shell(ids)).await;
    assert_eq!(a, pod.output_of_exec("b", &spec::shell(ids)).await);
    assert!(a.0.ends_with("web-0\n"));

    let ids = "for n in pid mnt cgroup; do readlink /proc/self/ns/$n; done";
    let a = pod.output_of_exec("a", &spec::shell(ids)).await;
    assert_ne!(a, pod.output_of_exec("b", &spec::shell(ids)).await);
}

#[tokio::test]
async fn a_shared_pid_namespace_has_a_first_process_of_its_own() {
    let mut pod = Pod::boot().await;
    run_shared(&pod, "a", &spec::container(spec::shell("sleep 1111"))).await;
    run_shared(
        &pod,
        "b",
        &spec::container(spec::shell("sleep 2222 & sleep 3333")),
    )
    .await;
    let (stdout, _) = pod
        .output_of_exec("a", &spec::shell("ps | grep -c '[s]leep'"))
        .await;
    assert_eq!(stdout, "3\n");
    // One container's end is its own processes' end alone.
    pod.signal("b", "", 9, false).await.unwrap();
    assert_eq!(pod.exit("b", "").await.status, 137);
    let (stdout, _) = pod
        .output_of_exec("a", &spec::shell("ps | grep -c '[s]leep'"))
        .await;
    assert_eq!(stdout, "1\n");
    pod.delete("b").await.unwrap();
}

#[tokio::test]
async fn the_root_is_the_containers() {
    let mut pod = Pod::boot().await;
    let script = "ls /; cat /proc/self/cgroup; ls -d /image /run/bundles 2>&1";
    let (stdout, _, _) = pod
        .output_of("c", &spec::container(spec::shell(script)))
        .await;
    assert!(stdout.contains("0::/\n"), "{stdout}");
    assert!(
        stdout.contains("/image: No such file or directory"),
        "{stdout}"
    );
}

#[tokio::test]
async fn a_read_only_root_cannot_be_written() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell("echo x > /tmp/x || echo x > /dev/shm/x"));
    spec["root"]["readonly"] = json!(true);
    let (_, stderr, _) = pod.output_of("c", &spec).await;
    assert!(stderr.contains("/tmp/x: Read-only file system"), "{stderr}");
}

#[tokio::test]
async fn paths_are_masked_and_read_only() {
    let mut pod = Pod::boot().await;
    let script = "head -c 1 /proc/kcore | wc -c; echo 1 > /proc/sys/kernel/panic; \
                  ls -l /proc/keys; mount | grep -c ' on /proc/sys type proc (ro'";
    let (stdout, stderr, _) = pod
        .output_of("c", &spec::container(spec::shell(script)))
        .await;
    assert!(
        stderr.contains("/proc/sys/kernel/panic: Read-only file system"),
        "{stderr}"
    );
    assert!(
        stdout.contains("crw-rw-rw-") && stdout.ends_with("1\n"),
        "{stdout}"
    );
}

#[tokio::test]
async fn a_user_namespace_is_the_containers_and_its_execs() {
    let mut pod = Pod::boot().await;
    let mut spec = spec::container(spec::shell("cat /proc/self/uid_map; sleep 1000"));
    let mapping = json!([{"containerID": 0, "hostID": 65536, "size": 65536}]);
    spec["linux"]["uidMappings"] = mapping.clone();
    spec["linux"]["gidMappings"] = mapping;
    spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "user", "path": "/proc/4242/ns/user"}));
    pod.create("c", &spec, Stdio::new()).await.unwrap();
    pod.start("c").await.unwrap();
    let mut process = spec::shell(
        "id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user; echo x > /dev/stdout",
    );
    process["user"] = json!({"uid": 1000, "gid": 1000});
    let (stdout, status) = pod.output_of_exec("c", &process).await;
    let words: Vec<_> = stdout.split_whitespace().collect();
    assert_eq!(words[..4], ["1000", "0", "65536", "65536"]);
    assert_eq!((words.last(), status), (Some(&"x"), 0));
}

fn in_user_namespace() -> CreateSandboxRequest {
    let mut request = sandbox();
    let range = || IdMapping {
        inside: 0,
        outside: 65536,
        size: 65536,
        ..Default::default()
    };
    request.uid_mappings = vec![range()];
    request.gid_mappings = vec![range()];
    request
}

fn in_pods_user_namespace(process: Value) -> Value {
    let mut spec = spec::container(process);
    let mapping = json!([{"containerID": 0, "hostID": 65536, "size": 65536}]);
    spec["linux"]["uidMappings"] = mapping.clone();
    spec["linux"]["gidMappings"] = mapping;
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user", "path": "/proc/4242/ns/user"}));
    spec
}

#[tokio::test]
async fn a_pods_user_namespace_owns_its_other_namespaces() {
    let mut request = in_user_namespace();
    let sysctl = ("net.core.somaxconn".to_owned(), "1234".to_owned());
    request.sysctls.extend([sysctl]);
    let mut pod = Pod::boot_with(Default::default(), request).await;
    let spec = in_pods_user_namespace(spec::shell("sleep 1000"));
    run_shared(&pod, "a", &spec).await;
    run_shared(&pod, "b", &spec).await;
    let ids = "for n in user ipc uts net pid; do readlink /proc/self/ns/$n; done; hostname; \
               cat /proc/sys/net/core/somaxconn; ip link set lo down && ip link set lo up && echo may";
    let mut process = spec::shell(ids);
    process["capabilities"] = json!({
        "bounding": ["CAP_NET_ADMIN"], "effective": ["CAP_NET_ADMIN"], "permitted": ["CAP_NET_ADMIN"]
    });
    let a = pod.output_of_exec("a", &process).await;
    assert_eq!(a, pod.output_of_exec("b", &process).await);
    assert!(a.0.ends_with("web-0\n1234\nmay\n"), "{a:?}");
}

/// No capability of a user namespace raises a limit.
#[tokio::test]
async fn limits_above_the_guests_own_hold_in_a_user_namespace() {
    let mut pod = Pod::boot_with(Default::default(), in_user_namespace()).await;
    let mut process = spec::shell("ulimit -Hn; ulimit -Hl; ulimit -Sn");
    process["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "hard": 2_000_000, "soft": 1024},
        // libcgroups leaves 128 MiB at most.
        {"type": "RLIMIT_MEMLOCK", "hard": 64 << 20, "soft": 64 << 20},
    ]);
    let expected = "2000000\n65536\n1024\n";
    let container = in_pods_user_namespace(process.clone());
    let (stdout, stderr, _) = pod.output_of("a", &container).await;
    assert_eq!(stdout, expected, "{stderr}");
    let sleeper = in_pods_user_namespace(spec::shell("sleep 1000"));
    run_shared(&pod, "b", &sleeper).await;
    assert_eq!(pod.output_of_exec("b", &process).await.0, expected);
}

/// containerd's `cgroup_writable`: the container's root has groups of its own,
/// and no say in its limits.
#[tokio::test]
async fn a_writable_cgroup_is_its_containers_in_a_user_namespace() {
    let mut pod = Pod::boot_with(Default::default(), in_user_namespace()).await;
    let script = "cd /sys/fs/cgroup; stat -c '%u %n' . cgroup.procs memory.max; \
                  mkdir own && echo 0 > own/cgroup.procs && \
                  echo +memory > cgroup.subtree_control && echo 1000000000 > own/memory.max && \
                  cat /proc/self/cgroup; echo max > memory.max || echo limited";
    let mut spec = in_pods_user_namespace(spec::shell(script));
    spec["mounts"][5]["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
    let (stdout, stderr, _) = pod.output_of("c", &spec).await;
    let expected = "0 .\n0 cgroup.procs\n65534 memory.max\n0::/own\nlimited\n";
    assert_eq!(stdout, expected, "{stderr}");
}

#[tokio::test]
async fn ids_that_overlap_are_the_hosts_mistake() {
    let mut request = in_user_namespace();
    let again = request.uid_mappings[0].clone();
    request.uid_mappings.push(again);
    let pod = Pod::greeted(Shape::default()).await;
    let refused = pod.agent.create_sandbox(context(), &request).await;
    let refused = Failure::from(refused.unwrap_err());
    assert_eq!(refused.code, Code::InvalidArgument, "{refused:?}");
    assert!(refused.message.contains("uid_map"), "{refused:?}");
}

#[tokio::test]
async fn the_pods_kernel_settings_are_set() {
    let mut request = sandbox();
    request
        .sysctls
        .insert("net.core.somaxconn".to_owned(), "1234".to_owned());
    request.shm_size = 1 << 20;
    let mut pod = Pod::boot_with(Default::default(), request).await;
    let mut spec = spec::container(spec::shell(
        "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax; \
         dd if=/dev/zero of=/dev/shm/x bs=1024 count=2000 2>&1 | grep -c 'No space'",
    ));
    spec["linux"]["sysctl"] = json!({"kernel.shmmax": "123456"});
    spec["mounts"][6]["options"] = json!(["rbind", "rw"]);
    assert_eq!(pod.output_of("c", &spec).await.0, "1234\n123456\n1\n");
}
