//! Capabilities, no_new_privs and seccomp, of containers and of execs.

use serde_json::{Value, json};

use crate::pod::Pod;
use crate::spec;

const STATUS: &str = "grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd|CapPrm):' /proc/self/status";

/// CHOWN, KILL, SETGID, SETUID, NET_BIND_SERVICE.
const OWN: &str = "00000000000004e1";
const NONE: &str = "0000000000000000";

fn profile() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args":
                [{"index": 0, "value": 4, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"}]},
        ],
    })
}

fn status(capabilities: &str, bounding: &str, privileges: u8) -> String {
    format!(
        "CapPrm:\t{capabilities}\nCapEff:\t{capabilities}\nCapBnd:\t{bounding}\n\
         NoNewPrivs:\t{privileges}\nSeccomp:\t2\n"
    )
}

#[tokio::test]
async fn the_filter_holds_for_the_container_and_its_execs() {
    let mut pod = Pod::boot().await;
    for (id, privileges) in [("with", 1), ("without", 0)] {
        let mut process = spec::shell(&format!("{STATUS} > /tmp/status; sleep 1000"));
        process["noNewPrivileges"] = json!(privileges == 1);
        let mut spec = spec::container(process);
        spec["linux"]["seccomp"] = profile();
        pod.create(id, &spec, Default::default()).await.unwrap();
        pod.start(id).await.unwrap();

        let mut process = spec::shell(&format!("{STATUS}; cat /tmp/status; mkdir /tmp/x 2>&1"));
        process["noNewPrivileges"] = json!(privileges == 1);
        let expected = status(OWN, OWN, privileges);
        let (stdout, _) = pod.output_of_exec(id, &process).await;
        let refusal = "mkdir: can't create directory '/tmp/x': Operation not supported\n";
        assert_eq!(stdout, format!("{expected}{expected}{refusal}"));
        pod.signal(id, "", 9, false).await.unwrap();
        pod.exit(id, "").await;
    }
}

#[tokio::test]
async fn a_user_other_than_root_has_no_capabilities() {
    let mut pod = Pod::boot().await;
    let mut process = spec::shell(STATUS);
    process["user"] = json!({"uid": 1000, "gid": 1000});
    let mut spec = spec::container(process.clone());
    spec["linux"]["seccomp"] = profile();
    assert_eq!(pod.output_of("c", &spec).await.0, status(NONE, OWN, 0));

    spec["process"] = spec::shell("sleep 1000");
    pod.create("d", &spec, Default::default()).await.unwrap();
    pod.start("d").await.unwrap();
    assert_eq!(
        pod.output_of_exec("d", &process).await.0,
        status(NONE, OWN, 0)
    );
}

#[tokio::test]
async fn ambient_capabilities_reach_the_user() {
    let mut pod = Pod::boot().await;
    let mut process = spec::shell("grep CapEff /proc/self/status");
    process["user"] = json!({"uid": 1000, "gid": 1000});
    for set in ["inheritable", "ambient"] {
        process["capabilities"][set] = json!(["CAP_NET_BIND_SERVICE"]);
    }
    let expected = "CapEff:\t0000000000000400\n";
    assert_eq!(
        pod.output_of("c", &spec::container(process.clone()))
            .await
            .0,
        expected
    );
    pod.run("d", spec::shell("sleep 1000")).await;
    assert_eq!(pod.output_of_exec("d", &process).await.0, expected);
}

#[tokio::test]
async fn a_directory_closed_to_the_user_can_be_its_working_directory() {
    let mut pod = Pod::boot().await;
    pod.run(
        "c",
        spec::shell("mkdir -p /tmp/closed && chmod 700 /tmp/closed; sleep 1000"),
    )
    .await;
    let mut process = spec::shell("pwd; ls");
    process["user"] = json!({"uid": 1000, "gid": 1000});
    process["cwd"] = json!("/tmp/closed");
    let (stdout, status) = pod.output_of_exec("c", &process).await;
    assert_eq!((stdout.as_str(), status), ("/tmp/closed\n", 1));
}

/// As runc makes it: root's, whoever the user is, with what the user lacks for
/// that gone when its program runs.
#[tokio::test]
async fn a_missing_working_directory_is_made() {
    let mut pod = Pod::boot().await;
    let script = "pwd; stat -c '%u %g %a' . ..; touch x 2>/dev/null || echo closed; \
                  touch /etc/x 2>/dev/null || echo root is closed";
    let mut process = spec::shell(script);
    process["user"] = json!({"uid": 1000, "gid": 1000, "umask": 0o077});
    process["cwd"] = json!("/new/below");
    let (stdout, _, status) = pod.output_of("c", &spec::container(process)).await;
    let expected = "/new/below\n0 0 755\n0 0 755\nclosed\nroot is closed\n";
    assert_eq!((stdout.as_str(), status), (expected, 0));
}
