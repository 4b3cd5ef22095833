//! Connections to ports of a pod.

use super::exec::failed;
use super::upgrade::dial;
use super::{Reader, StreamError, Writer};
use crate::cri::client::{CALL, call, timed};
use crate::cri::spdy::Opener;
use crate::cri::v1::PortForwardRequest;
use crate::cri::{Client, CriError};

const PROTOCOL: &str = "portforward.k8s.io";

/// One connection to a port of a pod. `output` ends when the program behind the
/// port closes its side.
#[derive(Debug)]
pub struct Forward {
    /// Bytes to the port. Finish it to close this direction.
    pub input: Writer,
    /// Bytes from the port.
    pub output: Reader,
    /// Why the connection failed, as text; it ends without a byte where it did
    /// not.
    pub error: Reader,
}

impl Client {
    /// Connects to TCP port `port` on the loopback address inside a pod.
    ///
    /// # Errors
    /// [`CriError::Rpc`], [`CriError::Stream`]. That nothing listens is told by
    /// [`Forward::error`].
    pub async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<Forward, CriError> {
        let request = PortForwardRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            port: vec![i32::from(port)],
        };
        let mut api = self.runtime.clone();
        let pending = api.port_forward(timed(request, CALL));
        let url = call("PortForward", sandbox_id, pending).await?.url;
        open(&url, port)
            .await
            .map_err(failed("PortForward", sandbox_id))
    }
}

async fn open(url: &str, port: u16) -> Result<Forward, StreamError> {
    let mut connection = Opener::new(dial(url, PROTOCOL).await?);
    let port = port.to_string();
    // The server pairs the two streams by request id, the error stream first.
    let headers = |kind: &'static str| {
        [
            ("streamtype", kind),
            ("port", port.as_str()),
            ("requestid", "0"),
        ]
    };
    let error = connection.stream(&headers("error")).await;
    let (unused, error) = error.map_err(StreamError::Open)?;
    unused.finish().await.map_err(StreamError::Open)?;
    let data = connection.stream(&headers("data")).await;
    let (input, output) = data.map_err(StreamError::Open)?;
    Ok(Forward {
        input,
        output,
        error,
    })
}
