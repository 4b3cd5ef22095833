//! What becomes of the namespace's network while the pod runs.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use protocol::Code;
use protocol::agent::{Interface, NetworkState, UpdateNetworkRequest};
use rtnetlink::Handle;

use super::link::Link;
use super::namespace::Events;
use super::{NetworkError, state};
use crate::agent::Agent;

/// Who changes something mostly changes several things.
const SETTLES: Duration = Duration::from_millis(50);

/// How often, and after how long, a guest is told again that has not taken all. What
/// it refuses then waits for the next change.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Tells that something has changed; the state tells what.
pub(crate) struct Changes {
    handle: Handle,
    events: Events,
    links: Vec<Link>,
    /// All that the guest may have.
    had: NetworkState,
    /// What the last request said.
    told: NetworkState,
    /// How often in a row the guest has not taken it.
    refused: u32,
}

impl Changes {
    /// Since `told` was read; `events` began before.
    pub(super) fn new(
        handle: Handle,
        events: Events,
        links: Vec<Link>,
        told: NetworkState,
    ) -> Self {
        Self {
            handle,
            events,
            links,
            had: told.clone(),
            told,
            refused: 0,
        }
    }

    /// The next one, or the last one again; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Result<UpdateNetworkRequest, NetworkError>> {
        loop {
            tokio::select! {
                event = self.events.next() => {
                    event?;
                    self.settle().await;
                }
                () = again(self.refused) => {}
            }
            match self.read().await {
                Ok(state) if state == self.told && self.refused == 0 => {}
                Ok(state) => return Some(Ok(self.update(state))),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The guest has what it was told.
    pub(super) fn taken(&mut self) {
        self.had = self.told.clone();
        self.refused = 0;
    }

    /// The guest has some of it.
    pub(super) fn refused(&mut self) {
        self.had = either(&self.had, &self.told);
        self.refused = self.refused.saturating_add(1);
    }

    async fn settle(&mut self) {
        tokio::time::sleep(SETTLES).await;
        while self.events.next().now_or_never().flatten().is_some() {}
    }

    async fn read(&self) -> Result<NetworkState, NetworkError> {
        let addresses = state::addresses(&self.handle).await?;
        state::read_all(&self.handle, &self.links, &addresses).await
    }

    fn update(&mut self, present: NetworkState) -> UpdateNetworkRequest {
        let gone = gone(&self.had, &present);
        self.told = present.clone();
        UpdateNetworkRequest {
            gone: Some(gone).into(),
            present: Some(present).into(),
            ..Default::default()
        }
    }
}

/// When what was `refused` so often in a row is to be told again.
async fn again(refused: u32) {
    match refused {
        1..=TRIES => tokio::time::sleep(PAUSE * refused).await,
        _ => std::future::pending().await,
    }
}

/// What is in one of them, or in both.
fn either(one: &NetworkState, other: &NetworkState) -> NetworkState {
    let gone = gone(one, other);
    let addressed = gone.interfaces.into_iter();
    let mut both = other.clone();
    both.interfaces
        .extend(addressed.filter(|interface| !interface.addresses.is_empty()));
    both.routes.extend(gone.routes);
    both.rules.extend(gone.rules);
    both.neighbours.extend(gone.neighbours);
    both
}

/// What of `before` is not in `now`.
fn gone(before: &NetworkState, now: &NetworkState) -> NetworkState {
    fn missing<T: PartialEq + Clone>(before: &[T], now: &[T]) -> Vec<T> {
        let gone = before.iter().filter(|one| !now.contains(one));
        gone.cloned().collect()
    }
    let addresses = |interface: &Interface| {
        let same = now.interfaces.iter().find(|i| i.name == interface.name);
        let now = same.map_or(&[][..], |interface| &interface.addresses[..]);
        Interface {
            name: interface.name.clone(),
            addresses: missing(&interface.addresses, now),
            ..Default::default()
        }
    };
    NetworkState {
        interfaces: before.interfaces.iter().map(addresses).collect(),
        routes: missing(&before.routes, &now.routes),
        rules: missing(&before.rules, &now.rules),
        neighbours: missing(&before.neighbours, &now.neighbours),
        ..Default::default()
    }
}

/// Brings `changes` to `agent`'s guest, as long as there is one.
pub(crate) async fn follow(mut changes: Changes, agent: Agent) {
    while let Some(change) = changes.next().await {
        let request = match change {
            Ok(request) => request,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return tracing::warn!(error, "the guest's network follows nobody any more");
            }
        };
        match agent.update_network(&request).await {
            Err(failure) if failure.code == Code::Unavailable => return,
            Err(failure) => {
                changes.refused();
                tracing::warn!(
                    error = failure.message,
                    "the guest does not have all of the pod's network"
                );
            }
            Ok(()) => {
                changes.taken();
                tracing::info!("the guest's network was changed as the pod's was");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::agent::Route;

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        Interface {
            name: name.to_owned(),
            addresses: addresses.iter().map(|&a| a.to_owned()).collect(),
            ..Default::default()
        }
    }

    fn route(destination: &str) -> Route {
        Route {
            destination: destination.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn gone_is_what_is_not_there_any_more() {
        let before = NetworkState {
            interfaces: vec![
                interface("eth0", &["10.0.0.2/24", "fd00::2/64"]),
                interface("net1", &["10.1.0.2/24"]),
            ],
            routes: vec![route(""), route("10.9.0.0/16")],
            ..Default::default()
        };
        let now = NetworkState {
            interfaces: vec![interface("eth0", &["10.0.0.3/24", "fd00::2/64"])],
            routes: vec![route("10.8.0.0/16"), route("")],
            ..Default::default()
        };
        let gone = gone(&before, &now);
        assert_eq!(
            gone.interfaces,
            [
                interface("eth0", &["10.0.0.2/24"]),
                interface("net1", &["10.1.0.2/24"])
            ]
        );
        assert_eq!(gone.routes, [route("10.9.0.0/16")]);
    }

    /// Of addresses and routes.
    fn state(addresses: &[&str], routes: &[&str]) -> NetworkState {
        NetworkState {
            interfaces: vec![interface("eth0", addresses)],
            routes: routes
                .iter()
                .map(|destination| route(destination))
                .collect(),
            ..Default::default()
        }
    }

    #[test]
    fn what_a_guest_may_have_goes_when_it_is_no_more() {
        let had = state(&["10.0.0.2/24"], &["10.8.0.0/16"]);
        let refused = state(&["10.0.0.3/24"], &["10.9.0.0/16"]);
        let mut may_have = either(&had, &refused);
        // The same again adds nothing.
        may_have = either(&may_have, &refused);
        assert_eq!(may_have.interfaces.len(), 2, "{may_have}");
        let gone = gone(&may_have, &state(&[], &["10.7.0.0/16"]));
        let addresses: Vec<_> = gone.interfaces.iter().flat_map(|i| &i.addresses).collect();
        assert_eq!(addresses, ["10.0.0.3/24", "10.0.0.2/24"]);
        assert_eq!(gone.routes, [route("10.9.0.0/16"), route("10.8.0.0/16")]);
    }
}
