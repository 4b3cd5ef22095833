//! Device nodes of containers: where they are, and whose.

use serde_json::{Value, json};

use crate::pod::Pod;
use crate::spec;

fn bind(source: &str, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]})
}

/// `/dev/zero` under another name.
fn zero(path: &str, mode: u32) -> Value {
    json!([{"path": path, "type": "c", "major": 1, "minor": 5, "fileMode": mode,
            "uid": 0, "gid": 1000}])
}

#[tokio::test]
async fn a_device_may_be_anywhere() {
    let mut pod = Pod::boot().await;
    let script = "busybox stat -c '%F %t:%T %a %u:%g' /mnt/volume; head -c 3 /mnt/volume | wc -c";
    let mut spec = spec::container(spec::shell(script));
    spec["linux"]["devices"] = zero("/mnt/volume", 0o640);
    for _ in 0..2 {
        let (stdout, stderr, _) = pod.output_of("c", &spec).await;
        let expected = "character special file 1:5 640 0:1000\n3\n";
        assert_eq!(stdout, expected, "{stderr}");
    }
}

#[tokio::test]
async fn a_device_is_the_users_of_a_user_namespace() {
    let mut pod = Pod::boot().await;
    let script = "busybox stat -c '%t:%T %a %u:%g' /dev/volume; head -c 3 /dev/volume | wc -c; \
                  head -c 1 /dev/zero | wc -c";
    let mut spec = spec::container(spec::shell(script));
    let mapping = json!([{"containerID": 0, "hostID": 65536, "size": 65536}]);
    spec["linux"]["uidMappings"] = mapping.clone();
    spec["linux"]["gidMappings"] = mapping;
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    spec["linux"]["devices"] = zero("/dev/volume", 0o600);
    let (stdout, stderr, _) = pod.output_of("c", &spec).await;
    assert_eq!(stdout, "1:5 600 0:1000\n3\n1\n", "{stderr}");
}

#[tokio::test]
async fn the_guests_dev_may_be_a_containers() {
    let mut pod = Pod::boot().await;
    let script = "ls /dev/fuse /dev/loop-control; readlink /dev/fd; readlink /dev/ptmx; \
                  echo x > /dev/null; ls -d /dev/mqueue /dev/pts/ptmx /dev/shm";
    let mut spec = spec::container(spec::shell(script));
    // containerd leaves its own out.
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    mounts.push(bind("/dev", "/dev"));
    let expected = "/dev/fuse\n/dev/loop-control\n/proc/self/fd\npts/ptmx\n\
                    /dev/mqueue\n/dev/pts/ptmx\n/dev/shm\n";
    for id in ["one", "two"] {
        let (stdout, stderr, _) = pod.output_of(id, &spec).await;
        assert_eq!(stdout, expected, "{stderr}");
    }
    // The guest's is what it was.
    let script = "busybox stat -c %F /host/dev/ptmx; ls -d /host/dev/fd";
    let mut spec = spec::container(spec::shell(script));
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.push(bind("/dev", "/host/dev"));
    let (stdout, stderr, _) = pod.output_of("three", &spec).await;
    assert_eq!(stdout, "character special file\n", "{stderr}");
}

#[tokio::test]
async fn a_device_that_a_mount_brings_is_not_made_again() {
    let mut pod = Pod::boot().await;
    let script = "ls /dev/fuse /dev/kmsg; busybox stat -c %T /dev/random";
    let mut spec = spec::container(spec::shell(script));
    let kmsg = json!({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11});
    let fuse = json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229});
    spec["linux"]["devices"] = json!([fuse, kmsg, kmsg]);
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.push(bind("/dev/fuse", "/dev/fuse"));
    mounts.push(bind("/dev/urandom", "/dev/random"));
    let (stdout, stderr, _) = pod.output_of("c", &spec).await;
    assert_eq!(stdout, "/dev/fuse\n/dev/kmsg\n9\n", "{stderr}");
}

#[tokio::test]
async fn who_may_use_all_devices_has_the_guests() {
    let mut pod = Pod::boot().await;
    let script = "ls /dev/fuse /dev/kmsg /dev/loop-control /dev/loop7 /dev/net/tun; \
                  echo x > /dev/kmsg && echo may; \
                  busybox yes | head -c 4096 > /tmp/disk; \
                  busybox losetup /dev/loop7 /tmp/disk && head -c 3 /dev/loop7";
    let mut spec = spec::container(spec::shell(script));
    let (stdout, ..) = pod.output_of("others", &spec).await;
    // It has made a file, in its own `/dev`.
    assert_eq!(stdout, "may\n");
    spec["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    let (stdout, stderr, _) = pod.output_of("privileged", &spec).await;
    let expected = "/dev/fuse\n/dev/kmsg\n/dev/loop-control\n/dev/loop7\n/dev/net/tun\nmay\ny\ny";
    assert_eq!(stdout, expected, "{stderr}");
}
