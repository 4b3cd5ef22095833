//! The Sandbox service (containerd 2.x with `sandboxer = "shim"`): the pod
//! itself, without a container that stands for it. Containers come through the
//! Task service of the same connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
    PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest,
    StartSandboxResponse, StopSandboxRequest, StopSandboxResponse, WaitSandboxRequest,
    WaitSandboxResponse,
};
use containerd_shim_protos::sandbox_async::{Sandbox, create_sandbox};
use containerd_shim_protos::types::platform::Platform;
use k8s_cri::v1::PodSandboxConfig;
use prost::Message;
use protocol::{Code, Failure};
use ttrpc::asynchronous::{Service, TtrpcContext};

use super::{figures, metrics, run, timestamp};
use crate::pod::{Pod, SandboxRequest, State, Target};

/// States as CRI spells them, which containerd passes on.
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

const SIGKILL: u32 = 9;

/// Until the answer to the last request has been written: the end closes its
/// connection, which containerd would take for a failure.
const ANSWER: Duration = Duration::from_millis(10);

/// Name of containerd's description of a pod.
const POD_CONFIG: &str = "runtime.v1.PodSandboxConfig";

pub(super) fn services(pod: &Pod) -> HashMap<String, Service> {
    create_sandbox(Arc::new(SandboxService { pod: pod.clone() }))
}

struct SandboxService {
    pod: Pod,
}

#[async_trait]
impl Sandbox for SandboxService {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> ttrpc::Result<CreateSandboxResponse> {
        let request = sandbox_request(request)?;
        run(
            &self.pod,
            |pod| async move { pod.create_sandbox(request).await },
        )
        .await?;
        Ok(CreateSandboxResponse::default())
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: StartSandboxRequest,
    ) -> ttrpc::Result<StartSandboxResponse> {
        let target = Target::new(&request.sandbox_id, "")?;
        let pid = run(&self.pod, |pod| async move { pod.start(&target).await }).await?;
        Ok(StartSandboxResponse {
            pid,
            created_at: self.pod.described_at().map(timestamp).into(),
            ..Default::default()
        })
    }

    async fn platform(
        &self,
        _: &TtrpcContext,
        _: PlatformRequest,
    ) -> ttrpc::Result<PlatformResponse> {
        // As Go and OCI images name them, of the guest, which is the host's.
        let platform = Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            ..Default::default()
        };
        Ok(PlatformResponse {
            platform: Some(platform).into(),
            ..Default::default()
        })
    }

    async fn stop_sandbox(
        &self,
        _: &TtrpcContext,
        request: StopSandboxRequest,
    ) -> ttrpc::Result<StopSandboxResponse> {
        let target = Target::new(&request.sandbox_id, "")?;
        // The guest writes back what it holds, whatever the signal.
        run(&self.pod, |pod| async move {
            pod.kill(&target, SIGKILL, true).await
        })
        .await?;
        Ok(StopSandboxResponse::default())
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        request: WaitSandboxRequest,
    ) -> ttrpc::Result<WaitSandboxResponse> {
        let target = Target::new(&request.sandbox_id, "")?;
        let exit = self.pod.wait(&target).await?;
        Ok(WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: SandboxStatusRequest,
    ) -> ttrpc::Result<SandboxStatusResponse> {
        let snapshot = self.pod.snapshot(&Target::new(&request.sandbox_id, "")?)?;
        let state = match snapshot.state {
            State::Running => READY,
            _ => NOT_READY,
        };
        Ok(SandboxStatusResponse {
            pid: snapshot.pid,
            state: state.to_owned(),
            info: match request.verbose {
                true => self.info(),
                false => HashMap::new(),
            },
            created_at: self.pod.described_at().map(timestamp).into(),
            exited_at: snapshot.exit.map(|exit| timestamp(exit.at)).into(),
            sandbox_id: request.sandbox_id,
            ..Default::default()
        })
    }

    async fn ping_sandbox(
        &self,
        _: &TtrpcContext,
        request: PingRequest,
    ) -> ttrpc::Result<PingResponse> {
        self.pod.snapshot(&Target::new(&request.sandbox_id, "")?)?;
        Ok(PingResponse::default())
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        _: ShutdownSandboxRequest,
    ) -> ttrpc::Result<ShutdownSandboxResponse> {
        let pod = self.pod.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ANSWER).await;
            pod.shutdown(true);
        });
        Ok(ShutdownSandboxResponse::default())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: SandboxMetricsRequest,
    ) -> ttrpc::Result<SandboxMetricsResponse> {
        let figures = figures(&self.pod, &Target::new(&request.sandbox_id, "")?).await?;
        let mut response = SandboxMetricsResponse::default();
        let metric = response.metrics.mut_or_insert_default();
        metric.timestamp = Some(timestamp(std::time::SystemTime::now())).into();
        metric.id = request.sandbox_id;
        metric.data = Some(metrics::encode(&figures)).into();
        Ok(response)
    }
}

impl SandboxService {
    /// For `crictl inspectp`; containerd itself fills in the name `info`.
    fn info(&self) -> HashMap<String, String> {
        let record = self.pod.record();
        record
            .map(|json| HashMap::from([("vm".to_owned(), json)]))
            .unwrap_or_default()
    }
}

fn sandbox_request(request: CreateSandboxRequest) -> Result<SandboxRequest, Failure> {
    let invalid = |text: String| {
        let text = format!("cannot create sandbox {}: {text}", request.sandbox_id);
        Failure::new(Code::InvalidArgument, text)
    };
    let options = request.options.get_or_default();
    if options.type_url.rsplit('/').next() != Some(POD_CONFIG) {
        let text = format!(
            "its description is of type {:?}, not {POD_CONFIG}: it has to come through CRI",
            options.type_url
        );
        return Err(invalid(text));
    }
    let config = PodSandboxConfig::decode(options.value.as_slice())
        .map_err(|error| invalid(format!("read its description: {error}")))?;
    Ok(SandboxRequest {
        id: request.sandbox_id,
        bundle: request.bundle_path,
        config,
        netns: request.netns_path,
    })
}
