//! Hooks (OCI runtime specification, "POSIX-platform Hooks"). All but those of the
//! start run outside of the container, as programs of the host that have to do with
//! its processes and namespaces; those of a VM they do not find.

use oci_spec::runtime::{Hook, Hooks};
use protocol::Id;

use super::SpecError;

/// The hooks that the guest can run: programs of the container's own.
pub(super) fn for_guest(hooks: Option<&Hooks>, id: &Id) -> Result<Option<Hooks>, SpecError> {
    let Some(hooks) = hooks else {
        return Ok(None);
    };
    for (stage, hooks) in [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("poststart", hooks.poststart()),
    ] {
        refuse(stage, hooks.as_deref())?;
    }
    // One that cleans up has nothing to clean up after.
    for hook in hooks.poststop().iter().flatten() {
        tracing::warn!(%id, program = ?hook.path(), "left out a poststop hook: it is the host's");
    }
    let start = hooks.start_container().clone();
    Ok(start.filter(|start| !start.is_empty()).map(|start| {
        let mut own = Hooks::default();
        own.set_start_container(Some(start));
        own
    }))
}

fn refuse(stage: &'static str, hooks: Option<&[Hook]>) -> Result<(), SpecError> {
    match hooks.and_then(<[Hook]>::first) {
        Some(hook) => Err(SpecError::Hook {
            stage,
            program: hook.path().clone(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn in_guest(hooks: Value) -> Result<Option<Hooks>, SpecError> {
        let hooks: Hooks = serde_json::from_value(hooks).unwrap();
        for_guest(Some(&hooks), &Id::new("c").unwrap())
    }

    #[test]
    fn programs_of_the_host_are_refused_by_name() {
        for stage in ["prestart", "createRuntime", "createContainer", "poststart"] {
            let hooks = json!({stage: [{"path": "/usr/bin/nvidia-cdi-hook"}]});
            let refused = in_guest(hooks).unwrap_err().to_string();
            for words in [stage, "/usr/bin/nvidia-cdi-hook", "programs of the host"] {
                assert!(refused.contains(words), "{words:?} is not in: {refused}");
            }
        }
    }

    #[test]
    fn those_of_the_start_are_the_containers_own() {
        let own = json!({"startContainer": [{"path": "/sbin/ldconfig"}]});
        let hooks = in_guest(own.clone()).unwrap();
        assert_eq!(serde_json::to_value(hooks).unwrap(), own);
    }

    #[test]
    fn what_cleans_up_and_what_is_empty_is_left_out() {
        let hooks = json!({"prestart": [], "poststop": [{"path": "/usr/bin/clean"}]});
        assert_eq!(in_guest(hooks).unwrap(), None);
    }
}
