//! Followed volumes, with an agent of the test's own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::stream;
use protocol::agent::Empty;
use protocol::agent_ttrpc::{Agent as AgentService, create_agent};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::{Server, TtrpcContext};

use super::*;

/// Tells what it is asked for; fails as often as it is to.
struct Recording {
    asked: mpsc::UnboundedSender<String>,
    failures: Mutex<u32>,
}

#[async_trait]
impl AgentService for Recording {
    async fn refresh_volume(&self, _: &TtrpcContext, volume: CopiedVolume) -> ttrpc::Result<Empty> {
        let failing = {
            let mut failures = self.failures.lock().unwrap();
            let failing = *failures > 0;
            *failures = failures.saturating_sub(1);
            failing
        };
        // The test may have ended.
        let _ = self.asked.send(volume.revision);
        match failing {
            true => Err(Failure::new(Code::Internal, "not now").into()),
            false => Ok(Empty::default()),
        }
    }
}

struct Fixture {
    agent: Agent,
    asked: mpsc::UnboundedReceiver<String>,
    folder: tempfile::TempDir,
    _server: Server,
}

impl Fixture {
    async fn new(failures: u32) -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let service = Recording {
            asked: sender,
            failures: Mutex::new(failures),
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut server = Server::new()
            .add_listener(Listener::new(stream::iter([Ok(theirs)])))
            .register_service(create_agent(Arc::new(service)));
        server.start().await.unwrap();
        let fixture = Self {
            agent: Agent::unchecked(ours),
            asked,
            folder: tempfile::tempdir().unwrap(),
            _server: server,
        };
        fixture.write("..1");
        fixture
    }

    fn volume(&self) -> Written {
        Written {
            host: self.path(),
            name: "v".into(),
            source: "/run/share/v".into(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn write(&self, revision: &str) {
        let path = self.path();
        fs::create_dir(path.join(revision)).unwrap();
        symlink(revision, path.join("..data_tmp")).unwrap();
        fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    }

    /// What the agent is asked for next.
    async fn next(&mut self) -> String {
        let asked = tokio::time::timeout(Duration::from_secs(60), self.asked.recv());
        asked.await.expect("nothing was asked for").unwrap()
    }
}

#[tokio::test]
async fn changes_are_told_once() {
    let mut fixture = Fixture::new(0).await;
    let follower = Follower::default();
    for _ in 0..2 {
        let now = follower.follow(&fixture.agent, &fixture.volume()).unwrap();
        assert_eq!(now.revision, "..1");
    }
    for revision in ["..2", "..3"] {
        fixture.write(revision);
        assert_eq!(fixture.next().await, revision);
    }
    let now = follower.follow(&fixture.agent, &fixture.volume()).unwrap();
    assert_eq!(now.revision, "..3");
    assert!(fixture.asked.try_recv().is_err());
}

#[tokio::test]
async fn changes_are_seen_without_inotify() {
    let mut fixture = Fixture::new(0).await;
    let follower = Follower::default();
    let volumes = Arc::clone(&follower.volumes);
    let running = Running::start(None, volumes, fixture.agent.clone());
    *follower.running.lock().unwrap() = Some(running);
    follower.follow(&fixture.agent, &fixture.volume()).unwrap();
    fixture.write("..2");
    assert_eq!(fixture.next().await, "..2");
}

/// A watch that cannot be had turns the others into looks too.
#[tokio::test]
async fn a_folder_that_cannot_be_watched_is_looked_at() {
    let mut fixture = Fixture::new(0).await;
    let follower = Follower::default();
    follower.follow(&fixture.agent, &fixture.volume()).unwrap();
    follower.watch(&fixture.agent, Path::new("/no/such/folder"));
    fixture.write("..2");
    assert_eq!(fixture.next().await, "..2");
}

#[tokio::test]
async fn what_fails_is_tried_again() {
    let mut fixture = Fixture::new(2).await;
    let follower = Follower::default();
    follower.follow(&fixture.agent, &fixture.volume()).unwrap();
    fixture.write("..2");
    for _ in 0..3 {
        assert_eq!(fixture.next().await, "..2");
    }
}

#[test]
fn what_fails_is_not_tried_for_ever() {
    let mut volumes = vec![Followed {
        volume: Written {
            host: "/nosuch".into(),
            name: "v".into(),
            source: "/run/share/v".into(),
        },
        revision: "..1".into(),
        failures: 0,
    }];
    let change = volumes[0].volume.at("..2");
    let failed = || Err(Failure::new(Code::Internal, "no"));
    for _ in 1..TRIES {
        assert!(settle(&mut volumes, &change, failed()));
    }
    assert!(!settle(&mut volumes, &change, failed()));
    assert_eq!(volumes[0].revision, "..1");
    assert!(!settle(&mut volumes, &change, Ok(())));
    assert_eq!(volumes[0].revision, "..2");
}
