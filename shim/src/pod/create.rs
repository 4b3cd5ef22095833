//! Creating a container, and with the first of a pod its VM.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use config::Loaded;
use oci_spec::runtime::Spec;
use protocol::agent::CreateContainerRequest;
use protocol::{Code, Failure, Id};

use super::container::Container;
use super::lookup::valid;
use super::stand_in::StandIn;
use super::state::Step;
use super::{Pod, Vm};
use crate::containerd::Event;
use crate::failure::failure;
use crate::role::Role;
use crate::sandbox::{Plan, Sandbox, boot};
use crate::share::RootfsMount;
use crate::sizing::Limits;
use crate::spec::{self, GuestSpec, SpecError};
use crate::stdio::{ProcessIo, StdioPaths};

/// What containerd asks for.
pub(crate) struct CreateRequest {
    pub(crate) id: String,
    pub(crate) bundle: String,
    pub(crate) rootfs: Vec<RootfsMount>,
    pub(crate) stdio: StdioPaths,
}

/// A container's VM, and the streams of one that is in it.
type Built = (Arc<Sandbox>, Option<ProcessIo>);

/// What the guest is told of a container, and what of the share is for it.
type Shown = (GuestSpec, Vec<String>);

impl Pod {
    /// Creates a container; the host pid that stands for it.
    pub(crate) async fn create(&self, request: CreateRequest) -> Result<u32, Failure> {
        let id = valid(&request.id)?;
        let mut spec = spec::read(Path::new(&request.bundle)).map_err(|e| failure(&e))?;
        let role = Role::of(&spec);
        if let (Some(pod), Role::Member { .. }) = (self.0.described.get(), &role) {
            pod.etc.complete(&mut spec);
        }
        self.enter(&id, &role, &request)?;
        self.take_oom_score(&id, &spec);
        let built = self.build(&id, &role, &spec, &request).await;
        self.settle(&id, &role, &request, built).await
    }

    /// Takes what was built for created, or undoes it.
    pub(super) async fn settle(
        &self,
        id: &Id,
        role: &Role,
        request: &CreateRequest,
        built: Result<Built, Failure>,
    ) -> Result<u32, Failure> {
        let created = built.and_then(|(sandbox, io)| self.created(id, request, &sandbox, io));
        if created.is_err() {
            self.undo(id, role).await;
        }
        created
    }

    /// Takes away what there is of a container that is not to be: its creation has
    /// failed, or was abandoned.
    async fn undo(&self, id: &Id, role: &Role) {
        match (self.sandbox(), role) {
            (Ok(_), Role::Sandbox | Role::Lone) => self.stop().await,
            (Ok(sandbox), Role::Member { .. }) => {
                // The guest may have built it even where its answer came too late.
                if let Err(failure) = self.forget_in_guest(&sandbox, id).await {
                    tracing::warn!(%id, %failure, "undo the creation of a container");
                    // Nobody asks again.
                    self.take_back(&sandbox, id).await;
                }
            }
            (Err(_), _) => {}
        }
        self.remove(&mut self.lock(), id);
    }

    /// Takes the id, so that nobody else creates it meanwhile.
    pub(super) fn enter(
        &self,
        id: &Id,
        role: &Role,
        request: &CreateRequest,
    ) -> Result<(), Failure> {
        let mut inner = self.lock();
        if inner.containers.contains_key(id) {
            let text = format!("container {id} exists already");
            return Err(Failure::new(Code::AlreadyExists, text));
        }
        let owner = matches!(role, Role::Sandbox | Role::Lone);
        if owner && !matches!(inner.vm, Vm::Absent) {
            let text = format!("cannot create {id}: this shim has a VM already");
            return Err(Failure::new(Code::FailedPrecondition, text));
        }
        if owner {
            inner.vm = Vm::Booting;
        }
        let mut container = Container::new(
            id,
            role.clone(),
            request.bundle.clone(),
            request.stdio.clone(),
        );
        if matches!(role, Role::Member { .. }) {
            let made = StandIn::new().map_err(|e| Failure::from_error(Code::Internal, &e))?;
            container.stand_in = Some(made);
        }
        inner.containers.insert(id.clone(), container);
        Ok(())
    }

    async fn build(
        &self,
        id: &Id,
        role: &Role,
        spec: &Spec,
        request: &CreateRequest,
    ) -> Result<Built, Failure> {
        let sandbox = match role {
            Role::Sandbox | Role::Lone => self.boot(id, spec, *role == Role::Lone).await?,
            Role::Member { .. } => self.sandbox()?,
        };
        if *role == Role::Sandbox {
            return Ok((sandbox, None));
        }
        self.admit(&sandbox, id, Limits::of_container(spec)).await?;
        let target = spec::shared_processes(spec).and_then(|pid| self.stood_in_by(pid));
        let io = create_in_guest(&sandbox, id, spec, target, request).await?;
        Ok((sandbox, Some(io)))
    }

    /// The container that has that number on the host.
    fn stood_in_by(&self, pid: u32) -> Option<Id> {
        let inner = self.lock();
        let mut all = inner.containers.iter();
        let has =
            |container: &Container| container.stand_in.as_ref().map(StandIn::number) == Some(pid);
        all.find(|(_, container)| has(container))
            .map(|(id, _)| id.clone())
    }

    async fn boot(&self, id: &Id, spec: &Spec, lone: bool) -> Result<Arc<Sandbox>, Failure> {
        let booted = self.try_boot(id, spec, lone).await.map(Arc::new);
        self.boot_ended(booted.as_ref().ok());
        let sandbox = booted?;
        if let Err(stopped) = self.sandbox() {
            sandbox.stop().await;
            return Err(stopped);
        }
        self.watch(&sandbox);
        Ok(sandbox)
    }

    /// A VM that was stopped before it was there stays so.
    pub(super) fn boot_ended(&self, sandbox: Option<&Arc<Sandbox>>) {
        let mut inner = self.lock();
        if matches!(inner.vm, Vm::Booting) {
            inner.vm = sandbox.map_or(Vm::Absent, |up| Vm::Up(Arc::clone(up)));
        }
    }

    async fn try_boot(&self, id: &Id, spec: &Spec, lone: bool) -> Result<Sandbox, Failure> {
        let settings = &self.0.settings;
        let loaded = Loaded::read(&settings.config_path)
            .map_err(|e| Failure::from_error(Code::FailedPrecondition, &e))?;
        let plan = Plan::new(
            id.as_str(),
            &settings.namespace,
            spec,
            lone,
            loaded,
            settings.began,
        )
        .map_err(|e| failure(&e))?;
        self.declare(plan.limits).await;
        boot(&plan).await.map_err(|e| failure(&e))
    }

    fn created(
        &self,
        id: &Id,
        request: &CreateRequest,
        sandbox: &Sandbox,
        io: Option<ProcessIo>,
    ) -> Result<u32, Failure> {
        let mut inner = self.lock();
        let container = inner.container(id)?;
        let stand_in = container.stand_in.as_ref().map(StandIn::number);
        let pid = stand_in.unwrap_or_else(|| sandbox.pid());
        let process = &mut container.init;
        process.step(Step::CreateDone)?;
        process.pid = pid;
        if let Some(io) = io {
            process.connect(io);
        }
        self.send(Event::Create {
            id: id.to_string(),
            bundle: request.bundle.clone(),
            stdio: request.stdio.clone(),
            pid,
        });
        inner.apply_oom_score();
        Ok(pid)
    }
}

/// Shows the guest the container's files and has the agent build it.
async fn create_in_guest(
    sandbox: &Sandbox,
    id: &Id,
    spec: &Spec,
    target: Option<Id>,
    request: &CreateRequest,
) -> Result<ProcessIo, Failure> {
    let io = ProcessIo::open(&request.stdio, &sandbox.streams)
        .map_err(|e| Failure::from_error(Code::InvalidArgument, &e))?;
    let begin = Instant::now();
    let mut spec = spec.clone();
    attach_volumes(sandbox, id, &mut spec).await?;
    let (guest, paths) = show(sandbox, id, spec, request).await?;
    let kept = sandbox.huge_pages().await;
    let checked = guest.volumes.check_huge_pages(&kept);
    checked.map_err(|e| failure(&e))?;
    sandbox.span("rootfs", begin);
    let begin = Instant::now();
    create_with_volumes(sandbox, id, (guest, paths), target, &io).await?;
    sandbox.span("container create", begin);
    Ok(io)
}

/// Shows the guest the container's files: what it is told of them, and their paths in
/// the share.
async fn show(
    sandbox: &Sandbox,
    id: &Id,
    spec: Spec,
    request: &CreateRequest,
) -> Result<Shown, Failure> {
    let (id, bundle, rootfs) = (id.clone(), request.bundle.clone(), request.rootfs.clone());
    let shown = sandbox.share(move |share| {
        let guest = spec::for_guest(&spec, &id, Path::new(&bundle), &rootfs, share)?;
        Ok((guest, share.paths(id.as_str())))
    });
    shown.await.map_err(|e: SpecError| failure(&e))
}

/// Has the agent build the container. Where kubelet has changed a volume while the
/// guest was copying it, it is done once more.
async fn create_with_volumes(
    sandbox: &Sandbox,
    id: &Id,
    (guest, share_paths): Shown,
    target: Option<Id>,
    io: &ProcessIo,
) -> Result<(), Failure> {
    let volumes = guest.volumes;
    let copied = || {
        let copied = sandbox.follow(&volumes.written);
        copied.map_err(|error| {
            let text = format!("read what kubelet has written for {id}: {error}");
            Failure::new(Code::FailedPrecondition, text)
        })
    };
    let mut message = CreateContainerRequest {
        container_id: id.to_string(),
        spec: guest.json,
        stdio: Some(io.tokens()).into(),
        share_process_namespace: guest.share_process_namespace,
        processes_of: target.map(|id| id.to_string()).unwrap_or_default(),
        copied_volumes: copied()?,
        memory_volumes: volumes.memory.clone(),
        share_paths,
        ..Default::default()
    };
    loop {
        let Err(failure) = sandbox.agent.create_container(&message).await else {
            return Ok(());
        };
        let now = copied()?;
        if now == message.copied_volumes {
            return Err(failure);
        }
        message.copied_volumes = now;
    }
}

/// Gives the guest the block devices of the host that `spec` names, and `spec`
/// their numbers there.
async fn attach_volumes(sandbox: &Sandbox, id: &Id, spec: &mut Spec) -> Result<(), Failure> {
    let mut numbers = Vec::new();
    for device in spec::block_devices(spec) {
        let in_guest = sandbox.attach_volume(id, &device).await;
        numbers.push((device.number, in_guest.map_err(|e| failure(&e))?));
    }
    spec::renumber(spec, &numbers);
    Ok(())
}
