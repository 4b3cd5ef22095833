//! Where mounts go whose destinations have links in them.

use protocol::Code;
use serde_json::{Value, json};

use crate::pod::Pod;
use crate::spec;

/// A container that runs `script`, with more mounts of the guest's files.
fn mounted(script: &str, mounts: &[(&str, &str)]) -> Value {
    let mut spec = spec::container(spec::shell(script));
    let all = spec["mounts"].as_array_mut().unwrap();
    all.extend(mounts.iter().map(|(source, destination)| {
        json!({"destination": destination, "type": "bind", "source": source, "options": ["bind"]})
    }));
    spec
}

/// Puts links into the image, each by its name and what it says.
async fn link(pod: &mut Pod, links: &[(&str, &str)]) {
    let commands = links
        .iter()
        .map(|(name, target)| format!("busybox ln -s {target} {name}"));
    let script = commands.collect::<Vec<_>>().join(" && ");
    let spec = spec::container(spec::shell(&script));
    let (_, stderr, status) = pod.output_of("links", &spec).await;
    assert_eq!(status, 0, "{stderr}");
}

#[tokio::test]
async fn a_destination_behind_links_that_lead_nowhere_is_made() {
    let mut pod = Pod::boot().await;
    let links = [
        ("/etc/resolv.conf", "../nowhere/stub.conf"),
        ("/srv/run", "/made"),
        ("/srv/out", "../../../../../run/escaped"),
    ];
    link(&mut pod, &links).await;
    let script = "cat /etc/resolv.conf /nowhere/stub.conf; \
                  ls /made/secrets/passwd /run/escaped/x/passwd; ls -d /guest/escaped";
    let mounts = [
        ("/image/rootfs/etc/data", "/etc/resolv.conf"),
        ("/image/rootfs/etc", "/srv/run/secrets"),
        ("/image/rootfs/etc", "/srv/out/x"),
        ("/run", "/guest"),
    ];
    let (stdout, stderr, _) = pod.output_of("c", &mounted(script, &mounts)).await;
    let expected = "not a program\nnot a program\n/made/secrets/passwd\n/run/escaped/x/passwd\n";
    assert_eq!(stdout, expected, "{stderr}");
    assert!(stderr.contains("/guest/escaped: No such file"), "{stderr}");
}

#[tokio::test]
async fn links_in_a_circle_are_named() {
    let mut pod = Pod::boot().await;
    link(&mut pod, &[("/one", "two"), ("/two", "one")]).await;
    let spec = mounted("exit 0", &[("/image/rootfs/etc", "/one/x")]);
    let failure = pod
        .create("c", &spec, Default::default())
        .await
        .unwrap_err();
    assert_eq!(failure.code, Code::InvalidArgument, "{failure}");
    assert!(failure.message.contains("/one/x"), "{failure}");
}
