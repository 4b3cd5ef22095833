//! Building a container: the specification made fit for the guest, then
//! libcontainer, up to the point where only the program's start is missing.

use std::cell::OnceCell;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use oci_spec::runtime::{Hooks, Spec};
use protocol::Id;

use super::adapt::{self, Adapted};
use super::payload::{Payload, PayloadError};
use super::report::{Report, Reporter, Started};
use super::{Create, HelperError, delegation, limits, namespaces, parse, write};
use crate::container::paths;

/// libcontainer could not build it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CreateError {
    #[error("create the container")]
    Build(#[from] Box<LibcontainerError>),
    #[error("create the container: it has no process")]
    NoProcess,
}

/// Builds the container of `order` and reports its first process.
pub(super) fn run(order: &Create, reporter: Reporter) -> Result<(), HelperError> {
    let id = Id::new(order.container.as_str())?;
    let spec: Spec = parse(paths::specification(&id))?;
    spec.process().iter().for_each(limits::raise);
    if order.in_user_namespace {
        namespaces::join_shared()?;
    }
    // The helper ends right after its report: what it made of the specification
    // and the container need not be taken apart for that.
    let adapted = adapt::adapt(spec, &id, order)?;
    let adapted = ManuallyDrop::new(adapted);
    if let Some(filter) = &adapted.filter {
        write(paths::filter(&id), &filter.to_bytes())?;
    }
    let configuration = serde_json::to_vec(&adapted.spec).map_err(|source| HelperError::Parse {
        path: paths::configuration(&id),
        source,
    })?;
    write(paths::configuration(&id), &configuration)?;
    let payload = Payload::new(&adapted.process, adapted.filter.clone())?;
    let user = adapted.process.user().uid();
    delegation::delegate(&adapted.spec, user, &paths::cgroup(&id))?;
    let container = ManuallyDrop::new(build(
        &id,
        order,
        Program {
            payload,
            reporter,
            path: OnceCell::new(),
        },
    )?);
    reporter.send(&Report::Started(started(&container, &adapted)?));
    Ok(())
}

fn build(id: &Id, order: &Create, program: Program) -> Result<Container, CreateError> {
    let build = || {
        ContainerBuilder::new(id.to_string(), SyscallType::default())
            .with_executor(program)
            .with_console_socket(order.console.clone())
            .with_root_path(paths::STATES)?
            .as_init(paths::bundle(id))
            .with_systemd(false)
            .as_sibling(true)
            .build()
    };
    build().map_err(|error| CreateError::Build(Box::new(error)))
}

fn started(container: &Container, adapted: &Adapted) -> Result<Started, CreateError> {
    let has = |of: fn(&Hooks) -> &Option<Vec<_>>| {
        adapted
            .spec
            .hooks()
            .as_ref()
            .and_then(|hooks| of(hooks).as_ref())
            .is_some_and(|hooks| {
                let hooks: &Vec<oci_spec::runtime::Hook> = hooks;
                !hooks.is_empty()
            })
    };
    Ok(Started {
        pid: container.pid().ok_or(CreateError::NoProcess)?.as_raw(),
        poststart: has(Hooks::poststart),
        poststop: has(Hooks::poststop),
    })
}

/// The payload in libcontainer's hands. What fails in it is reported from the
/// very process it fails in.
#[derive(Clone)]
struct Program {
    payload: Payload,
    reporter: Reporter,
    path: OnceCell<PathBuf>,
}

impl Program {
    fn report(&self, error: &PayloadError) {
        self.reporter.send(&Report::failed(error.kind(), error));
    }

    /// Found once, before the container is reported as created.
    fn path(&self) -> Result<&Path, PayloadError> {
        if let Some(path) = self.path.get() {
            return Ok(path);
        }
        self.payload.make_directory()?;
        let path = self.payload.prepare()?;
        Ok(self.path.get_or_init(|| path))
    }
}

impl Executor for Program {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        self.path().map(drop).map_err(|error| {
            self.report(&error);
            ExecutorValidationError::ArgValidationError(error.to_string())
        })
    }

    /// The environment goes to exec as it is, in its order.
    fn setup_envs(
        &self,
        _: std::collections::HashMap<String, String>,
    ) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    /// When the container is started.
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let error = match self.path() {
            Ok(path) => self.payload.execute(path),
            Err(error) => error,
        };
        self.report(&error);
        Err(ExecutorError::Other(error.to_string()))
    }
}
