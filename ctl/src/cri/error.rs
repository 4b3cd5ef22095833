//! What can go wrong between this client and the container runtime.

use tonic::Code;

use super::stream::StreamError;

/// An error of the CRI client. Each variant names the operation and its object;
/// the cause is in the source.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The endpoint is not the address of a UNIX socket.
    #[error(
        "runtime endpoint `{endpoint}` is not a UNIX socket; write it as unix:///path/to/socket"
    )]
    Endpoint {
        /// The endpoint as it was given.
        endpoint: String,
    },

    /// Nothing answers at the endpoint.
    #[error("cannot connect to a container runtime at {endpoint}")]
    Connect {
        /// The endpoint as it was given.
        endpoint: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },

    /// The runtime answered a call with an error.
    #[error("{operation} {subject} failed")]
    Rpc {
        /// Name of the RPC, as in the CRI specification.
        operation: &'static str,
        /// The pod, container or image that it was about.
        subject: String,
        /// The runtime's answer.
        #[source]
        status: RpcStatus,
    },

    /// A streaming session could not be opened.
    #[error("{operation} {subject} failed")]
    Stream {
        /// Name of the RPC that began it.
        operation: &'static str,
        /// The container or pod that it was about.
        subject: String,
        /// What went wrong.
        #[source]
        source: StreamError,
    },

    /// The runtime's answer lacks a field that the specification requires.
    #[error("{operation} {subject}: the runtime's answer has no `{field}`")]
    Incomplete {
        /// Name of the RPC.
        operation: &'static str,
        /// The object of the call.
        subject: String,
        /// The missing field.
        field: &'static str,
    },
}

impl CriError {
    /// The status code of the runtime's answer, where there was one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Rpc { status, .. } => Some(status.code),
            _ => None,
        }
    }

    /// Whether the runtime said that the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }
}

/// A gRPC status as plain text: code and message, without transport metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct RpcStatus {
    /// The gRPC code.
    pub code: Code,
    /// The runtime's words.
    pub message: String,
}

impl From<tonic::Status> for RpcStatus {
    fn from(status: tonic::Status) -> Self {
        Self {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(code: Code) -> CriError {
        CriError::Rpc {
            operation: "StopContainer",
            subject: "c1".to_owned(),
            status: tonic::Status::new(code, "no such container").into(),
        }
    }

    #[test]
    fn an_rpc_error_reads_as_operation_then_code_and_message() {
        let error = rpc(Code::NotFound);
        assert_eq!(error.to_string(), "StopContainer c1 failed");
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some("NotFound: no such container"));
    }

    #[test]
    fn only_not_found_is_not_found() {
        assert!(rpc(Code::NotFound).is_not_found());
        assert!(!rpc(Code::Unknown).is_not_found());
    }
}
