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

/// Tells that something has changed; the state tells what.
pub(crate) struct Changes {
    handle: Handle,
    events: Events,
    links: Vec<Link>,
    /// As the guest has it.
    told: NetworkState,
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
            told,
        }
    }

    /// The next one; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Result<UpdateNetworkRequest, NetworkError>> {
        loop {
            self.events.next().await?;
            tokio::time::sleep(SETTLES).await;
            while self.events.next().now_or_never().flatten().is_some() {}
            match self.read().await {
                Ok(state) if state == self.told => {}
                Ok(state) => return Some(Ok(self.update(state))),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn read(&self) -> Result<NetworkState, NetworkError> {
        let addresses = state::addresses(&self.handle).await?;
        state::read_all(&self.handle, &self.links, &addresses).await
    }

    fn update(&mut self, present: NetworkState) -> UpdateNetworkRequest {
        let gone = gone(&self.told, &present);
        self.told = present.clone();
        UpdateNetworkRequest {
            gone: Some(gone).into(),
            present: Some(present).into(),
            ..Default::default()
        }
    }
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
            Err(failure) => tracing::warn!(
                error = failure.message,
                "the guest does not have all of the pod's network"
            ),
            Ok(()) => tracing::info!("the guest's network was changed as the pod's was"),
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
}
