//! A guest that does not end what is killed loses its VM.

use std::time::Duration;

use tokio::time::{Instant, pause};

use super::fake::{Answer, Fixture};
use super::*;
use crate::pod::Vm;

async fn stubborn(manners: Manners) -> Fixture {
    let fixture = fixture_with(manners).await;
    pause();
    fixture
}

/// Everything of the pod has ended, `c` and then `s`, after some `seconds`.
async fn all_is_lost(fixture: &mut Fixture, begin: Instant, seconds: u64, why: &str) {
    let exit = fixture.pod.wait(&target("s")).await.unwrap();
    assert_eq!(exit.status, 137);
    assert_eq!(names(&mut fixture.events), ["exit c 137", "exit s 137"]);
    // Real processes die then, for which the clock does not wait.
    let took = begin.elapsed().as_secs();
    assert!((seconds..seconds + 30).contains(&took), "{took} s");
    let failure = fixture.pod.sandbox().err().unwrap();
    assert!(failure.message.contains(why), "{failure}");
}

#[tokio::test]
async fn one_that_does_not_answer_the_kill() {
    let mut fixture = stubborn(Manners {
        signal: Answer::Silence,
        ..Manners::default()
    })
    .await;
    let begin = Instant::now();
    fixture.pod.kill(&target("c"), 9, false).await.unwrap();
    all_is_lost(&mut fixture, begin, 30, "did not answer within 30 s").await;
    fixture.pod.delete(&target("c")).await.unwrap();
    fixture.pod.delete(&target("s")).await.unwrap();
}

#[tokio::test]
async fn one_that_answers_and_then_never_again() {
    let mut fixture = stubborn(Manners {
        signal: Answer::Lies,
        list: Answer::Silence,
        ..Manners::default()
    })
    .await;
    let begin = Instant::now();
    fixture.pod.kill(&target("c"), 9, true).await.unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "it is not waited for"
    );
    all_is_lost(&mut fixture, begin, 60, "for 30 s, and then").await;
}

#[tokio::test]
async fn one_that_answers_and_tells_no_exit() {
    let mut fixture = stubborn(Manners {
        signal: Answer::Lies,
        ..Manners::default()
    })
    .await;
    let begin = Instant::now();
    fixture.pod.kill(&target("c"), 9, false).await.unwrap();
    all_is_lost(&mut fixture, begin, 90, "container c was killed").await;
}

#[tokio::test]
async fn one_that_refuses_the_kill() {
    let mut fixture = stubborn(Manners {
        signal: Answer::Refuses,
        ..Manners::default()
    })
    .await;
    let begin = Instant::now();
    let refused = fixture.pod.kill(&target("c"), 9, false).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    all_is_lost(&mut fixture, begin, 90, "container c was killed").await;
}

#[tokio::test]
async fn one_that_ends_it_keeps_its_vm() {
    let mut fixture = stubborn(Manners::default()).await;
    fixture.pod.kill(&target("c"), 9, false).await.unwrap();
    assert_eq!(fixture.pod.wait(&target("c")).await.unwrap().status, 137);
    fixture.pod.delete(&target("c")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(names(&mut fixture.events), ["exit c 137", "delete c"]);
    assert!(fixture.pod.sandbox().is_ok());
}

/// The others' kills come while the VM is on its way out.
#[tokio::test]
async fn a_kill_of_what_is_lost_already_is_done() {
    let mut fixture = fixture().await;
    fixture.pod.lock().vm = Vm::Gone("it was lost".into());
    fixture.pod.kill(&target("c"), 9, false).await.unwrap();
    let term = fixture.pod.kill(&target("c"), 15, false).await.unwrap_err();
    assert_eq!(term.code, Code::Unavailable);
    assert!(fixture.asked().is_empty());
}

#[tokio::test]
async fn another_signal_may_be_without_effect() {
    let fixture = stubborn(Manners {
        signal: Answer::Lies,
        ..Manners::default()
    })
    .await;
    fixture.pod.kill(&target("c"), 15, false).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(fixture.pod.sandbox().is_ok());
}

#[tokio::test]
async fn deleting_what_never_ran_does_not_wait_for_ever() {
    let mut fixture = stubborn(Manners {
        signal: Answer::Silence,
        delete: Answer::Silence,
        ..Manners::default()
    })
    .await;
    fixture.pod.delete(&target("c")).await.unwrap();
    let told = ["exit c 137", "exit s 137", "delete c"];
    assert_eq!(names(&mut fixture.events), told);
}

#[tokio::test]
async fn one_that_does_not_answer_the_deletion() {
    let mut fixture = stubborn(Manners {
        delete: Answer::Silence,
        list: Answer::Silence,
        ..Manners::default()
    })
    .await;
    fixture.pod.delete(&target("c")).await.unwrap();
    let told = ["exit c 137", "exit s 137", "delete c"];
    assert_eq!(names(&mut fixture.events), told);
}

#[tokio::test]
async fn one_that_refuses_the_deletion_for_long() {
    let mut fixture = stubborn(Manners {
        delete: Answer::Refuses,
        ..Manners::default()
    })
    .await;
    for _ in 0..2 {
        let refused = fixture.pod.delete(&target("c")).await.unwrap_err();
        assert_eq!(refused.code, Code::FailedPrecondition);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(fixture.pod.sandbox().is_ok());
    }
    fixture.pod.delete(&target("c")).await.unwrap();
    let told = ["exit c 137", "exit s 137", "delete c"];
    assert_eq!(names(&mut fixture.events), told);
}
