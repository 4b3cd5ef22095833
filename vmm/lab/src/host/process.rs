//! QEMU's process, and the thread that listens to it.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Error;
use super::qemu::{self, Order};
use crate::message::{Event, Request};

/// From the end of QEMU's output to its own.
const CLOSING: Duration = Duration::from_secs(5);

/// What there is to hear of a lab.
pub(super) enum News {
    Said(Event),
    /// A line that is no message of ours.
    Garbage(String),
    Gone(io::Result<ExitStatus>),
    /// Nothing, for as long as was waited.
    Silence,
}

/// A running QEMU. Dropping it ends it.
pub(super) struct Process {
    requests: ChildStdin,
    news: Receiver<News>,
    child: Arc<Mutex<Child>>,
    listener: Option<JoinHandle<()>>,
}

/// What the thread hands out once QEMU runs.
type Started = Result<(Arc<Mutex<Child>>, ChildStdin), Error>;

impl Process {
    pub(super) fn start(order: Order) -> Result<Self, Error> {
        let (started, start) = channel();
        let (sender, news) = channel();
        let listener = std::thread::spawn(move || listen(order, &started, &sender));
        let started: Started = start
            .recv()
            .unwrap_or_else(|_| unreachable!("the thread begins with an answer"));
        let (child, requests) = started?;
        Ok(Self {
            requests,
            news,
            child,
            listener: Some(listener),
        })
    }

    pub(super) fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.requests.write_all(line.as_bytes())
    }

    /// The next thing to hear of it until `deadline`.
    pub(super) fn next(&self, deadline: Instant) -> News {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.news.recv_timeout(left) {
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout) => News::Silence,
            Err(RecvTimeoutError::Disconnected) => News::Gone(lock(&self.child).wait()),
        }
    }

    pub(super) fn end(&self) -> io::Result<ExitStatus> {
        let mut child = lock(&self.child);
        // It may have ended by itself.
        let _ = child.kill();
        child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.end();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

/// Starts QEMU, which dies with the thread that started it, and relays what it
/// says until its end. Whoever does not listen any more is ending it.
fn listen(order: Order, started: &Sender<Started>, news: &Sender<News>) {
    let mut child = match qemu::spawn(order) {
        Ok(child) => child,
        Err(error) => return drop(started.send(Err(error))),
    };
    let (Some(requests), Some(events)) = (child.stdin.take(), child.stdout.take()) else {
        unreachable!("both are pipes");
    };
    let child = Arc::new(Mutex::new(child));
    let _ = started.send(Ok((Arc::clone(&child), requests)));
    relay(events, news);
    let _ = news.send(News::Gone(reap(&child)));
}

fn relay(events: ChildStdout, news: &Sender<News>) {
    for line in BufReader::new(events).lines() {
        let Ok(line) = line else { return };
        let said = match serde_json::from_str(&line) {
            Ok(event) => News::Said(event),
            Err(error) => News::Garbage(format!("{error} in {line:?}")),
        };
        let _ = news.send(said);
    }
}

/// QEMU closes its output when it ends, or hangs half closed. The lock is not
/// held while waiting, as whoever drops the process wants to kill it.
fn reap(child: &Mutex<Child>) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + CLOSING;
    while Instant::now() < deadline {
        if let Some(status) = lock(child).try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut child = lock(child);
    child.kill()?;
    child.wait()
}

/// A panic elsewhere leaves a process that has to be ended all the same.
fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
