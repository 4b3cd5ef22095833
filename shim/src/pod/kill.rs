//! Signals.

use protocol::agent::SignalProcessRequest;
use protocol::{Code, Failure};

use super::Pod;
use super::lookup::Target;
use super::sigkill::SIGKILL;
use super::state::State;
use super::watch::end;

/// Signals of Linux: 1 to 64.
const SIGNALS: std::ops::RangeInclusive<u32> = 1..=64;
/// Those at which a process ends that does not handle them: the sandbox has
/// no process of its own, so it ends at them as such a process would.
const SIGHUP: u32 = 1;
const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGTERM: u32 = 15;
const ENDING: [u32; 5] = [SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM];

impl Pod {
    /// Sends `signal` to a process, or to `all` of its container.
    ///
    /// # Errors
    ///
    /// `NotFound` for a process that has ended: what containerd takes for
    /// "already done".
    pub(crate) async fn kill(
        &self,
        target: &Target,
        signal: u32,
        all: bool,
    ) -> Result<(), Failure> {
        if !SIGNALS.contains(&signal) {
            let text = format!("{signal} is not a signal");
            return Err(Failure::new(Code::InvalidArgument, text));
        }
        match self.with_process(target, |process| process.state())? {
            State::Stopped => Err(Failure::new(Code::NotFound, "process already finished")),
            state if self.in_guest(&target.id)? => {
                let first = target.exec_id.is_none() && state.is_created();
                match signal {
                    SIGKILL if first => self.kill_surely(target, all).await,
                    _ => self.kill_in_guest(target, signal, all).await,
                }
            }
            _ => self.kill_sandbox(signal).await,
        }
    }

    async fn kill_in_guest(&self, target: &Target, signal: u32, all: bool) -> Result<(), Failure> {
        let message = SignalProcessRequest {
            container_id: target.id.to_string(),
            exec_id: target.exec_id_or_empty(),
            signal,
            all,
            ..Default::default()
        };
        self.sandbox()?.agent.signal(&message).await
    }

    async fn kill_sandbox(&self, signal: u32) -> Result<(), Failure> {
        if !ENDING.contains(&signal) {
            return Ok(());
        }
        if let Some(sandbox) = self.take_vm("it was stopped") {
            end(&sandbox).await;
        }
        self.all_exited(128 + signal);
        Ok(())
    }
}
