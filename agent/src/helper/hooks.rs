//! Hooks that run after the start and after the stop of a container. Those of
//! its creation are libcontainer's.

use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::hooks::{HookError, run_hooks};
use oci_spec::runtime::Spec;
use protocol::Id;

use super::{HelperError, Stage, parse};
use crate::container::paths;

/// A hook failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HooksError {
    #[error("read the container's state")]
    State(#[source] Box<LibcontainerError>),
    #[error("run hooks")]
    Run(#[from] HookError),
}

/// Runs the hooks of `stage`, in order, up to the first that fails.
pub(super) fn run(id: &Id, stage: Stage) -> Result<(), HelperError> {
    let spec: Spec = parse(paths::configuration(id))?;
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    let (hooks, status) = match stage {
        Stage::Poststart => (hooks.poststart(), ContainerStatus::Running),
        Stage::Poststop => (hooks.poststop(), ContainerStatus::Stopped),
    };
    let state = paths::state(id);
    let mut container =
        Container::load(state.clone()).map_err(|error| HooksError::State(Box::new(error)))?;
    container.set_status(status);
    run_hooks(
        hooks.as_ref(),
        Some(&container.state),
        Some(&state),
        None,
        None,
    )
    .map_err(HooksError::from)?;
    Ok(())
}
