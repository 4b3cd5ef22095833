//! The pod and the container that an operator means.

use std::time::Duration;

use crate::cri::v1::{
    Container, ContainerFilter, ContainerState, PodSandbox, PodSandboxFilter, PodSandboxState,
};
use crate::cri::{Client, CriError};
use crate::manifest::to_cri::{CONTAINER_NAME, GRACE_PERIOD};

/// By which a pod says which container is meant where none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Nothing, or more than one thing, is meant.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No such pod.
    #[error("no pod `{query}`; `kata-mshv ps -a` lists all pods")]
    NoPod {
        /// What was asked for.
        query: String,
    },
    /// Several such pods.
    #[error("`{query}` is more than one pod: {candidates}; give namespace/name or an id")]
    ManyPods {
        /// What was asked for.
        query: String,
        /// Names and ids.
        candidates: String,
    },
    /// No such container in the pod.
    #[error("pod {pod} has no {wanted} container; it has: {containers}")]
    NoContainer {
        /// The pod.
        pod: String,
        /// What was asked for.
        wanted: String,
        /// Names and states of those that there are.
        containers: String,
    },
    /// The runtime cannot be asked.
    #[error(transparent)]
    Cri(#[from] CriError),
}

/// The pod that `query` names: a name, namespace/name, or the beginning of an
/// id. Of several with the same name one that is ready wins.
///
/// # Errors
/// [`FindError::NoPod`], [`FindError::ManyPods`], [`FindError::Cri`].
pub async fn find_pod(client: &Client, query: &str) -> Result<PodSandbox, FindError> {
    let pods = client
        .list_pod_sandboxes(PodSandboxFilter::default())
        .await?;
    select_pod(pods, query)
}

fn select_pod(pods: Vec<PodSandbox>, query: &str) -> Result<PodSandbox, FindError> {
    let (mut named, others): (Vec<_>, Vec<_>) =
        pods.into_iter().partition(|pod| is_named(pod, query));
    if named.is_empty() {
        let begins = |pod: &PodSandbox| !query.is_empty() && pod.id.starts_with(query);
        named = others.into_iter().filter(begins).collect();
    }
    let ready = |pod: &PodSandbox| pod.state() == PodSandboxState::SandboxReady;
    if named.iter().any(ready) {
        named.retain(ready);
    }
    let query = query.to_owned();
    match <[PodSandbox; 1]>::try_from(named) {
        Ok([pod]) => Ok(pod),
        Err(none) if none.is_empty() => Err(FindError::NoPod { query }),
        Err(several) => {
            let names = several
                .iter()
                .map(|pod| format!("{} ({:.13})", full_name(pod), pod.id));
            let candidates = names.collect::<Vec<_>>().join(", ");
            Err(FindError::ManyPods { query, candidates })
        }
    }
}

fn is_named(pod: &PodSandbox, query: &str) -> bool {
    let Some(metadata) = &pod.metadata else {
        return false;
    };
    match query.split_once('/') {
        Some((namespace, name)) => metadata.namespace == namespace && metadata.name == name,
        None => metadata.name == query,
    }
}

/// `namespace/name` of a pod.
#[must_use]
pub fn full_name(pod: &PodSandbox) -> String {
    match &pod.metadata {
        Some(metadata) => format!("{}/{}", metadata.namespace, metadata.name),
        None => pod.id.clone(),
    }
}

/// The containers of a pod, oldest first.
///
/// # Errors
/// What asking the runtime meets.
pub async fn containers_of(client: &Client, sandbox_id: &str) -> Result<Vec<Container>, CriError> {
    let filter = ContainerFilter {
        pod_sandbox_id: sandbox_id.to_owned(),
        ..Default::default()
    };
    let mut containers = client.list_containers(filter).await?;
    containers.sort_by_key(|container| container.created_at);
    Ok(containers)
}

/// Of `containers` (oldest first) the one that `name` names, else the one that
/// the pod says is its default, else the first. Of several attempts the last.
/// With `running`, only running ones count.
///
/// # Errors
/// [`FindError::NoContainer`].
pub fn find_container<'a>(
    pod: &PodSandbox,
    containers: &'a [Container],
    name: Option<&str>,
    running: bool,
) -> Result<&'a Container, FindError> {
    let counts = |c: &&Container| !running || c.state() == ContainerState::ContainerRunning;
    let default = pod.annotations.get(DEFAULT_CONTAINER).map(String::as_str);
    let by_name = |name: &str| {
        let mut latest = containers.iter().rev();
        latest.find(|c| counts(c) && container_name(c) == name)
    };
    let found = match name {
        Some(name) => by_name(name),
        None => default
            .and_then(by_name)
            .or_else(|| containers.iter().find(counts)),
    };
    found.ok_or_else(|| FindError::NoContainer {
        pod: full_name(pod),
        wanted: wanted(name, running),
        containers: describe(containers),
    })
}

fn wanted(name: Option<&str>, running: bool) -> String {
    let words = [running.then_some("running"), name];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn describe(containers: &[Container]) -> String {
    if containers.is_empty() {
        return "none".to_owned();
    }
    let names = containers
        .iter()
        .map(|c| format!("{} ({})", container_name(c), state_name(c)));
    names.collect::<Vec<_>>().join(", ")
}

/// A container's name in its pod.
#[must_use]
pub fn container_name(container: &Container) -> &str {
    let label = container.labels.get(CONTAINER_NAME);
    let metadata = container.metadata.as_ref().map(|metadata| &metadata.name);
    metadata.or(label).map_or("", String::as_str)
}

/// A container's state in a word.
#[must_use]
pub fn state_name(container: &Container) -> &'static str {
    match container.state() {
        ContainerState::ContainerCreated => "created",
        ContainerState::ContainerRunning => "running",
        ContainerState::ContainerExited => "exited",
        ContainerState::ContainerUnknown => "unknown",
    }
}

/// The grace period that a container was created with.
#[must_use]
pub(super) fn grace_period(container: &Container) -> Duration {
    let seconds = container
        .annotations
        .get(GRACE_PERIOD)
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::v1::{ContainerMetadata, PodSandboxMetadata};

    fn pod(id: &str, namespace: &str, name: &str, state: PodSandboxState) -> PodSandbox {
        PodSandbox {
            id: id.to_owned(),
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                ..Default::default()
            }),
            state: state.into(),
            ..Default::default()
        }
    }

    fn pods() -> Vec<PodSandbox> {
        use PodSandboxState::{SandboxNotready, SandboxReady};
        vec![
            pod("aa11", "default", "web", SandboxNotready),
            pod("aa22", "default", "web", SandboxReady),
            pod("bb33", "shop", "db", SandboxReady),
            pod("bb44", "test", "db", SandboxReady),
            pod("cc55", "default", "aa1", SandboxReady),
        ]
    }

    fn found(query: &str) -> Result<String, String> {
        let found = select_pod(pods(), query);
        found.map(|pod| pod.id).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pod_is_found_by_name_full_name_and_id() {
        for (query, id) in [
            ("web", "aa22"),
            ("default/web", "aa22"),
            ("shop/db", "bb33"),
            ("bb4", "bb44"),
            ("aa11", "aa11"),
            ("aa1", "cc55"),
        ] {
            assert_eq!(found(query).as_deref(), Ok(id), "{query}");
        }
    }

    #[test]
    fn nothing_and_several_are_errors_that_say_so() {
        assert!(found("nope").unwrap_err().starts_with("no pod `nope`"));
        assert!(found("").is_err());
        assert!(found("other/web").is_err());
        let several = found("db").unwrap_err();
        assert!(
            several.contains("shop/db (bb33), test/db (bb44)"),
            "{several}"
        );
    }

    fn container(id: &str, name: &str, state: ContainerState) -> Container {
        Container {
            id: id.to_owned(),
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            state: state.into(),
            ..Default::default()
        }
    }

    fn chosen(default: Option<&str>, name: Option<&str>, running: bool) -> Result<String, String> {
        use ContainerState::{ContainerExited, ContainerRunning};
        let containers = [
            container("1", "init", ContainerExited),
            container("2", "main", ContainerExited),
            container("3", "side", ContainerRunning),
            container("4", "main", ContainerRunning),
        ];
        let mut pod = pod("p", "default", "web", PodSandboxState::SandboxReady);
        let default = default.map(|name| (DEFAULT_CONTAINER.to_owned(), name.to_owned()));
        pod.annotations.extend(default);
        let chosen = find_container(&pod, &containers, name, running);
        chosen
            .map(|c| c.id.clone())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_container_is_the_named_the_default_or_the_first() {
        assert_eq!(chosen(None, Some("main"), true).as_deref(), Ok("4"));
        assert_eq!(chosen(None, Some("init"), false).as_deref(), Ok("1"));
        assert_eq!(chosen(None, None, true).as_deref(), Ok("3"));
        assert_eq!(chosen(Some("main"), None, true).as_deref(), Ok("4"));
        let error = chosen(None, Some("init"), true).unwrap_err();
        assert!(
            error.starts_with("pod default/web has no running init container"),
            "{error}"
        );
    }
}
