//! Freezing and thawing a container.

use protocol::{Code, Failure, Id};

use super::Pod;
use super::lookup::Target;
use super::state::Step;
use crate::containerd::Event;

impl Pod {
    /// Freezes every process of a container.
    pub(crate) async fn pause(&self, target: &Target) -> Result<(), Failure> {
        self.allow(target, Step::Pause)?;
        self.sandbox()?
            .agent
            .pause_container(target.id.as_str())
            .await?;
        self.took(
            target,
            Step::Pause,
            Event::Paused {
                id: target.id.to_string(),
            },
        )
    }

    /// Thaws them.
    pub(crate) async fn resume(&self, target: &Target) -> Result<(), Failure> {
        self.allow(target, Step::Resume)?;
        self.sandbox()?
            .agent
            .resume_container(target.id.as_str())
            .await?;
        self.took(
            target,
            Step::Resume,
            Event::Resumed {
                id: target.id.to_string(),
            },
        )
    }

    fn allow(&self, target: &Target, step: Step) -> Result<(), Failure> {
        self.only_in_guest(&target.id, "pause or resume")?;
        self.with_process(target, |process| process.check(step))?
    }

    pub(super) fn only_in_guest(&self, id: &Id, what: &str) -> Result<(), Failure> {
        if self.in_guest(id)? {
            return Ok(());
        }
        let text = format!("cannot {what} {id}: it is the sandbox, not a container");
        Err(Failure::new(Code::Unimplemented, text))
    }

    fn took(&self, target: &Target, step: Step, event: Event) -> Result<(), Failure> {
        let mut inner = self.lock();
        inner.process(target)?.step(step)?;
        self.send(event);
        Ok(())
    }
}
