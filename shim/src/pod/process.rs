//! One process of a container: its first, or an exec.

use std::time::SystemTime;

use protocol::{Code, Failure};
use tokio::sync::watch;

use super::state::{State, Step};
use crate::stdio::{ProcessIo, StdioPaths};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// 0..255, or 128 + signal.
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

impl Exit {
    /// An exit that nobody saw happen in the guest.
    pub(crate) fn now(status: u32) -> Self {
        Self {
            status,
            at: SystemTime::now(),
        }
    }
}

/// A process as the shim knows it.
pub(crate) struct Process {
    /// "container c" or "exec e of container c", for errors.
    name: String,
    state: State,
    pub(crate) pid: u32,
    pub(crate) paths: StdioPaths,
    io: Option<ProcessIo>,
    /// No more input will come.
    input_over: bool,
    exit: watch::Sender<Option<Exit>>,
    /// An exit that came before the answer to the start did.
    early_exit: Option<Exit>,
}

impl Process {
    pub(crate) fn new(name: String, state: State, paths: StdioPaths) -> Self {
        Self {
            name,
            state,
            pid: 0,
            paths,
            io: None,
            input_over: false,
            exit: watch::Sender::new(None),
            early_exit: None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Takes the streams over, once the process has them.
    pub(crate) fn connect(&mut self, mut io: ProcessIo) {
        if self.input_over {
            io.close_stdin();
        }
        self.io = Some(io);
    }

    /// Gives the streams away.
    pub(crate) fn disconnect(&mut self) -> Option<ProcessIo> {
        self.io.take()
    }

    /// No more input will come; a client may know before the process runs.
    pub(crate) fn close_stdin(&mut self) {
        self.input_over = true;
        if let Some(io) = &mut self.io {
            io.close_stdin();
        }
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Becomes `Some` when the process has ended.
    pub(crate) fn watch_exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    /// Takes a step.
    ///
    /// # Errors
    ///
    /// `FailedPrecondition` when the table has no such row.
    pub(crate) fn step(&mut self, step: Step) -> Result<(), Failure> {
        self.state = self.after(step)?;
        Ok(())
    }

    /// Has its creation undo it, if it is being created; what tells when it is forgotten.
    pub(crate) fn abandon(&mut self) -> Option<watch::Receiver<Option<Exit>>> {
        self.step(Step::Abandon).ok().map(|()| self.watch_exit())
    }

    /// Whether the step could be taken.
    pub(crate) fn check(&self, step: Step) -> Result<(), Failure> {
        self.after(step).map(drop)
    }

    fn after(&self, step: Step) -> Result<State, Failure> {
        self.state.after(step).ok_or_else(|| {
            let text = format!("{} is {}", self.name, self.state.as_str());
            Failure::new(Code::FailedPrecondition, text)
        })
    }

    /// Records the exit. Returns whether it is news that can be told: not
    /// while the start has not been told yet, and not twice.
    pub(crate) fn exited(&mut self, exit: Exit) -> bool {
        if self.state == State::Starting {
            self.early_exit = Some(exit);
            return false;
        }
        if self.step(Step::Exit).is_err() {
            return false;
        }
        self.exit.send_replace(Some(exit));
        true
    }

    /// The exit that waited for the start to be told.
    pub(crate) fn take_early_exit(&mut self) -> Option<Exit> {
        self.early_exit.take()
    }

    /// The process will never run.
    pub(crate) fn never_ran(&mut self, status: u32) {
        self.state = State::Stopped;
        self.io = None;
        self.exit.send_replace(Some(Exit::now(status)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdio::Streams;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    fn created() -> Process {
        Process::new("container c".into(), State::Created, StdioPaths::default())
    }

    #[test]
    fn an_exit_before_the_start_was_told_waits() {
        let mut process = created();
        process.step(Step::Start).unwrap();
        let exit = Exit::now(7);
        assert!(!process.exited(exit));
        assert_eq!(process.exit(), None);

        process.step(Step::StartDone).unwrap();
        let early = process.take_early_exit().unwrap();
        assert!(process.exited(early));
        assert_eq!(process.exit(), Some(exit));
        assert!(!process.exited(Exit::now(1)), "an exit is told once");
    }

    /// `ctr task exec` tells that its input has ended as soon as it has.
    #[tokio::test]
    async fn input_that_ended_before_the_process_ran_ends() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("in");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let paths = StdioPaths {
            stdin: fifo.display().to_string(),
            ..Default::default()
        };
        let streams = Streams::new();
        let mut process = created();
        process.close_stdin();

        let io = ProcessIo::open(&paths, &streams).unwrap();
        let (mut guest, host) = UnixStream::pair().unwrap();
        guest.write_all(&io.tokens().stdin_token).await.unwrap();
        process.connect(io);
        streams.arrived(host);
        assert_eq!(guest.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[test]
    fn a_wrong_step_says_who_and_how_it_is() {
        let failure = created().step(Step::Pause).unwrap_err();
        assert_eq!(failure.code, Code::FailedPrecondition);
        assert_eq!(failure.message, "container c is created but not started");
    }
}
