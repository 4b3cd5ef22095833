//! Whether an ended container is started again, and when.

use std::time::Duration;

use crate::manifest::{Container, RestartPolicy};

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran this long starts again without a history.
const FORGIVEN: Duration = Duration::from_secs(600);

/// What is done about an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// The container has ended.
    Done,
    /// It is started again after this time.
    Restart(Duration),
}

/// The policy that holds for a container of a pod.
pub(super) fn policy(of_pod: RestartPolicy, container: &Container) -> RestartPolicy {
    container.restart_policy.unwrap_or(of_pod)
}

/// kubelet's back-off, per container: none, then 10 s, doubled each time.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    next: Duration,
}

impl BackOff {
    /// Decides about an exit with `code` after the container ran for `ran`.
    pub(super) fn decide(&mut self, policy: RestartPolicy, code: i32, ran: Duration) -> Decision {
        let again = match policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        };
        if !again {
            return Decision::Done;
        }
        if ran >= FORGIVEN {
            self.next = Duration::ZERO;
        }
        let wait = self.next;
        self.next = (wait * 2).clamp(FIRST, LONGEST);
        Decision::Restart(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_decides() {
        let short = Duration::from_secs(1);
        for (policy, code, again) in [
            (RestartPolicy::Always, 0, true),
            (RestartPolicy::Always, 1, true),
            (RestartPolicy::OnFailure, 0, false),
            (RestartPolicy::OnFailure, 1, true),
            (RestartPolicy::Never, 1, false),
        ] {
            let decision = BackOff::default().decide(policy, code, short);
            assert_eq!(decision != Decision::Done, again, "{policy:?} {code}");
        }
    }

    #[test]
    fn waits_double_up_to_five_minutes_and_are_forgiven() {
        let mut back_off = BackOff::default();
        let mut wait =
            |ran| match back_off.decide(RestartPolicy::Always, 1, Duration::from_secs(ran)) {
                Decision::Restart(wait) => wait.as_secs(),
                Decision::Done => unreachable!(),
            };
        let waits: Vec<_> = (0..8).map(|_| wait(1)).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(wait(600), 0);
        assert_eq!(wait(1), 10);
    }
}
