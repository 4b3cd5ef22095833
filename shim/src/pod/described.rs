//! A sandbox that containerd describes as a pod (Sandbox API), not as a task.
//! It lives the life of one; only that nobody is told of a task.

use std::path::Path;
use std::time::SystemTime;

use k8s_cri::v1::PodSandboxConfig;
use protocol::{Code, Failure};

use super::{CreateRequest, Pod};
use crate::etc::Etc;
use crate::failure::failure;
use crate::spec;
use crate::stdio::StdioPaths;

/// What containerd asks for.
pub(crate) struct SandboxRequest {
    pub(crate) id: String,
    /// An empty folder.
    pub(crate) bundle: String,
    pub(crate) config: PodSandboxConfig,
    /// Empty: the host's network.
    pub(crate) netns: String,
}

/// What is known of it from its description alone.
pub(super) struct Described {
    pub(super) id: String,
    pub(super) etc: Etc,
    pub(super) at: SystemTime,
}

impl Pod {
    /// Creates the sandbox, with its VM.
    pub(crate) async fn create_sandbox(&self, request: SandboxRequest) -> Result<(), Failure> {
        let SandboxRequest {
            id,
            bundle,
            config,
            netns,
        } = request;
        let folder = Path::new(&bundle);
        let spec = spec::of_pod(&id, &config, &netns).map_err(|e| failure(&e))?;
        spec::write(folder, &spec).map_err(|e| failure(&e))?;
        let etc =
            Etc::write(folder, &config).map_err(|e| Failure::from_error(Code::Internal, &e))?;
        let described = Described {
            id: id.clone(),
            etc,
            at: SystemTime::now(),
        };
        self.0.described.set(described).map_err(|_| {
            let text = format!("cannot create {id}: this shim has a sandbox already");
            Failure::new(Code::AlreadyExists, text)
        })?;
        let request = CreateRequest {
            id,
            bundle,
            rootfs: Vec::new(),
            stdio: StdioPaths::default(),
        };
        self.create(request).await.map(drop)
    }

    /// Whether `id` is the sandbox's, and it was described.
    pub(crate) fn is_described(&self, id: &str) -> bool {
        let described = self.0.described.get();
        described.is_some_and(|sandbox| sandbox.id == id)
    }

    /// When the sandbox was described.
    pub(crate) fn described_at(&self) -> Option<SystemTime> {
        self.0.described.get().map(|described| described.at)
    }
}
