//! A container that is deleted while it is created.

use std::sync::Arc;

use protocol::{Failure, Id};
use tokio::task::{JoinHandle, yield_now};

use super::fake::Fixture;
use super::*;
use crate::pod::delete::Deleted;
use crate::pod::{CreateRequest, Pod, Vm};
use crate::role::Role;
use crate::sandbox::Sandbox;

fn request(id: &str) -> CreateRequest {
    CreateRequest {
        id: id.into(),
        bundle: "/b".into(),
        rootfs: Vec::new(),
        stdio: StdioPaths::default(),
    }
}

/// A deletion of `id`, under way.
async fn deletion(pod: &Pod, id: &str) -> JoinHandle<Result<Deleted, Failure>> {
    let (pod, target) = (pod.clone(), target(id));
    let deletion = tokio::spawn(async move { pod.delete(&target).await });
    yield_now().await;
    assert!(!deletion.is_finished(), "nothing is undone yet");
    deletion
}

/// The pod of which only the sandbox is there, being created; and its VM, which will be
/// up next.
async fn booting() -> (Fixture, Id, Arc<Sandbox>) {
    let fixture = fixture().await;
    let (id, pod) = (Id::new("s").unwrap(), &fixture.pod);
    pod.lock().containers.clear();
    let vm = pod.sandbox().unwrap();
    pod.lock().vm = Vm::Absent;
    pod.enter(&id, &Role::Sandbox, &request("s")).unwrap();
    (fixture, id, vm)
}

#[tokio::test]
async fn a_member_is_undone_in_the_guest() {
    let mut fixture = fixture().await;
    let pod = fixture.pod.clone();
    let (id, role) = (
        Id::new("m").unwrap(),
        Role::Member {
            sandbox_id: "s".into(),
        },
    );
    pod.enter(&id, &role, &request("m")).unwrap();
    let deletion = deletion(&pod, "m").await;
    let built = Ok((pod.sandbox().unwrap(), None));
    let failure = pod.settle(&id, &role, &request("m"), built).await;
    let failure = failure.unwrap_err();
    assert_eq!(
        failure.message,
        "container m is being created, but was deleted meanwhile"
    );
    assert_eq!(deletion.await.unwrap().unwrap().exit.status, 137);
    assert_eq!(fixture.asked(), ["delete m"]);
    assert!(names(&mut fixture.events).is_empty());
    let gone = pod.delete(&target("m")).await.unwrap_err();
    assert_eq!(gone.code, Code::NotFound);
    assert!(pod.sandbox().is_ok());
}

#[tokio::test]
async fn a_sandbox_takes_its_vm_with_it_and_the_shim_ends() {
    let (mut fixture, id, vm) = booting().await;
    let pod = fixture.pod.clone();
    let deletion = deletion(&pod, "s").await;
    // containerd does not wait for the answer.
    deletion.abort();
    pod.shutdown(false);
    pod.boot_ended(Some(&vm));
    assert!(pod.sandbox().is_ok());
    let built = Ok((vm, None));
    let settled = pod.settle(&id, &Role::Sandbox, &request("s"), built).await;
    settled.unwrap_err();
    assert!(pod.sandbox().is_err());
    pod.over().await;
    assert!(names(&mut fixture.events).is_empty());
}

#[tokio::test]
async fn a_sandbox_that_is_killed_while_it_boots_is_undone() {
    let (fixture, id, vm) = booting().await;
    let pod = &fixture.pod;
    pod.kill(&target("s"), 9, false).await.unwrap();
    pod.boot_ended(Some(&vm));
    let stopped = pod.sandbox().map(|sandbox| (sandbox, None));
    assert!(stopped.is_err());
    let request = request("s");
    let settled = pod.settle(&id, &Role::Sandbox, &request, stopped);
    assert_eq!(settled.await.unwrap_err().code, Code::Unavailable);
    assert!(pod.lock().containers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_pod_that_is_gone_does_not_keep_the_shim() {
    let fixture = fixture().await;
    let pod = &fixture.pod;
    pod.kill(&target("s"), 9, false).await.unwrap();
    pod.delete(&target("s")).await.unwrap();
    pod.shutdown(false);
    let over = tokio::time::timeout(Duration::from_secs(10), pod.over()).await;
    assert!(over.is_err(), "c may still be deleted");
    pod.over().await;
}
