//! What the guest runs though its start has failed is ended.

use tokio::time::pause;

use super::fake::Answer;
use super::*;

#[tokio::test]
async fn a_container_whose_start_failed_is_ended_and_deleted() {
    let mut fixture = fixture_with(Manners {
        start: Answer::Refuses,
        ..Manners::default()
    })
    .await;
    let failure = fixture.pod.start(&target("c")).await.unwrap_err();
    assert_eq!(failure.message, "no");
    assert_eq!(fixture.pod.wait(&target("c")).await.unwrap().status, 128);
    fixture.pod.delete(&target("c")).await.unwrap();
    assert_eq!(fixture.asked(), ["start c", "signal 9 c", "delete c"]);
    assert_eq!(names(&mut fixture.events), ["delete c"]);
}

#[tokio::test]
async fn an_exec_whose_start_was_not_answered_is_ended_and_deleted() {
    let mut fixture = fixture_with(Manners {
        start: Answer::Silence,
        ..Manners::default()
    })
    .await;
    fixture
        .pod
        .exec(ExecRequest {
            id: "c".into(),
            exec_id: "e".into(),
            spec: Vec::new(),
            stdio: StdioPaths::default(),
        })
        .unwrap();
    pause();
    let exec = Target::new("c", "e").unwrap();
    let failure = fixture.pod.start(&exec).await.unwrap_err();
    assert_eq!(failure.code, Code::DeadlineExceeded);
    fixture.pod.delete(&exec).await.unwrap();
    assert_eq!(fixture.asked(), ["exec e", "signal 9 ce", "delete e"]);
}
