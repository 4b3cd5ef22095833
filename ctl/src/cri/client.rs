//! The connection, and how every call is made.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::CriError;
use super::v1::image_service_client::ImageServiceClient;
use super::v1::runtime_service_client::RuntimeServiceClient;
use super::v1::{StatusRequest, StatusResponse, VersionRequest, VersionResponse};

/// Where containerd listens unless told otherwise.
pub const DEFAULT_ENDPOINT: &str = "unix:///run/containerd/containerd.sock";

/// How long a call may take, as kubelet's `runtimeRequestTimeout`.
pub(super) const CALL: Duration = Duration::from_secs(120);

const CONNECT: Duration = Duration::from_secs(5);

/// containerd's own limit for one message. tonic's default of 4 MiB is less
/// than what an `ExecSync` may answer.
const MESSAGE_LIMIT: usize = 16 << 20;

/// A connection to a container runtime. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) runtime: RuntimeServiceClient<Channel>,
    pub(super) images: ImageServiceClient<Channel>,
}

impl Client {
    /// Connects to `endpoint`, a `unix://` address or an absolute path.
    ///
    /// # Errors
    /// [`CriError::Endpoint`] for any other kind of address,
    /// [`CriError::Connect`] when nothing answers.
    pub async fn connect(endpoint: &str) -> Result<Self, CriError> {
        let channel = dial(endpoint).await?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_LIMIT),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT),
        })
    }

    /// Name and version of the runtime.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn version(&self) -> Result<VersionResponse, CriError> {
        let request = VersionRequest {
            version: "v1".to_owned(),
        };
        let mut api = self.runtime.clone();
        call("Version", "", api.version(timed(request, CALL))).await
    }

    /// Readiness of runtime and network; `verbose` adds the runtime's own
    /// configuration as JSON.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn status(&self, verbose: bool) -> Result<StatusResponse, CriError> {
        let mut api = self.runtime.clone();
        call(
            "Status",
            "",
            api.status(timed(StatusRequest { verbose }, CALL)),
        )
        .await
    }
}

async fn dial(endpoint: &str) -> Result<Channel, CriError> {
    let malformed = || CriError::Endpoint {
        endpoint: endpoint.to_owned(),
    };
    let failed = |source| CriError::Connect {
        endpoint: endpoint.to_owned(),
        source,
    };
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if !path.starts_with('/') {
        return Err(malformed());
    }
    // tonic tells the system's reason three times over; this tells it once.
    UnixStream::connect(path).await.map_err(failed)?;
    let address = Endpoint::from_shared(format!("unix://{path}")).map_err(|_| malformed())?;
    let channel = address.connect_timeout(CONNECT).connect().await;
    channel.map_err(|error| failed(io::Error::other(error)))
}

/// A request with a deadline that the runtime is told too.
pub(super) fn timed<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

/// Awaits a call and gives its error the operation's name and object.
pub(super) async fn call<T>(
    operation: &'static str,
    subject: &str,
    pending: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CriError> {
    match pending.await {
        Ok(response) => Ok(response.into_inner()),
        Err(status) => Err(CriError::Rpc {
            operation,
            subject: subject.to_owned(),
            status: status.into(),
        }),
    }
}

/// Takes a field that the specification requires of an answer.
pub(super) fn required<T>(
    value: Option<T>,
    operation: &'static str,
    subject: &str,
    field: &'static str,
) -> Result<T, CriError> {
    value.ok_or_else(|| CriError::Incomplete {
        operation,
        subject: subject.to_owned(),
        field,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_that_is_no_unix_socket_is_refused_by_name() {
        for endpoint in ["tcp://127.0.0.1:1", "unix://relative", ""] {
            let error = Client::connect(endpoint).await.unwrap_err();
            assert!(
                matches!(error, CriError::Endpoint { .. }),
                "{endpoint}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_a_connect_error() {
        let error = Client::connect("unix:///nonexistent/c.sock")
            .await
            .unwrap_err();
        assert!(matches!(error, CriError::Connect { .. }), "{error}");
    }
}
