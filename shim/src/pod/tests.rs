//! The pod against an agent of the test's own: no VM, no containerd.

mod abandoned;
mod fake;
mod stubborn;
mod unstarted;

use std::time::Duration;

use protocol::Code;

use super::lookup::Target;
use super::{ExecRequest, State};
use crate::stdio::StdioPaths;
use fake::{Manners, fixture, fixture_with, names, target};

#[tokio::test]
async fn an_exit_is_never_told_before_its_start() {
    let mut fixture = fixture().await;
    fixture.pod.start(&target("c")).await.unwrap();
    let exit = fixture.pod.wait(&target("c")).await.unwrap();
    assert_eq!(exit.status, 7);
    assert_eq!(names(&mut fixture.events), ["start c", "exit c 7"]);
    let snapshot = fixture.pod.snapshot(&target("c")).unwrap();
    assert_eq!(snapshot.state, State::Stopped);

    let deleted = fixture.pod.delete(&target("c")).await.unwrap();
    assert_eq!(deleted.exit.status, 7);
    assert_eq!(names(&mut fixture.events), ["delete c"]);
    let gone = fixture.pod.snapshot(&target("c")).err().unwrap();
    assert_eq!(gone.code, Code::NotFound);
}

#[tokio::test]
async fn killing_the_sandbox_ends_the_members_first() {
    let mut fixture = fixture().await;
    fixture.pod.kill(&target("s"), 9, false).await.unwrap();
    assert_eq!(names(&mut fixture.events), ["exit c 137", "exit s 137"]);
    let again = fixture.pod.kill(&target("s"), 9, false).await.unwrap_err();
    assert_eq!(again.code, Code::NotFound, "{again}");
    let late = fixture.pod.start(&target("c")).await.unwrap_err();
    assert_eq!(late.code, Code::Unavailable, "{late}");
}

#[tokio::test]
async fn a_vm_that_ends_takes_every_process_with_it() {
    let mut fixture = fixture().await;
    let sandbox = fixture.pod.sandbox().unwrap();
    sandbox.kill_processes().await;
    let exit = fixture.pod.wait(&target("s")).await.unwrap();
    assert_eq!(exit.status, 137);
    assert_eq!(names(&mut fixture.events), ["exit c 137", "exit s 137"]);
}

#[tokio::test]
async fn wrong_requests_are_refused_with_their_codes() {
    let fixture = fixture().await;
    let pod = &fixture.pod;
    let running = pod.delete(&target("s")).await.unwrap_err();
    assert_eq!(running.code, Code::FailedPrecondition);
    assert_eq!(running.message, "sandbox s is running");
    assert_eq!(
        pod.start(&target("x")).await.unwrap_err().code,
        Code::NotFound
    );
    assert_eq!(
        pod.kill(&target("c"), 65, false).await.unwrap_err().code,
        Code::InvalidArgument
    );
    assert_eq!(
        pod.pause(&target("s")).await.unwrap_err().code,
        Code::Unimplemented
    );
    assert_eq!(
        pod.pause(&target("c")).await.unwrap_err().code,
        Code::FailedPrecondition
    );
    assert_eq!(
        Target::new("../x", "").unwrap_err().code,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn an_exec_id_is_taken_once() {
    let mut fixture = fixture().await;
    let request = |exec_id: &str| ExecRequest {
        id: "c".into(),
        exec_id: exec_id.into(),
        spec: Vec::new(),
        stdio: StdioPaths::default(),
    };
    fixture.pod.exec(request("e")).unwrap();
    assert_eq!(names(&mut fixture.events), ["exec-added e"]);
    assert_eq!(
        fixture.pod.exec(request("e")).unwrap_err().code,
        Code::AlreadyExists
    );
    assert_eq!(
        fixture.pod.exec(request("")).unwrap_err().code,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn the_shim_ends_only_when_nothing_is_left() {
    let fixture = fixture().await;
    fixture.pod.shutdown(false);
    let over = tokio::time::timeout(Duration::from_millis(50), fixture.pod.over()).await;
    assert!(over.is_err(), "it ended with containers left");
    fixture.pod.shutdown(true);
    fixture.pod.over().await;
}
