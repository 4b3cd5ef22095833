//! What can go wrong with a streaming session.

use std::io;

use super::Closed;

/// An error of a streaming session.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The runtime's answer is not an `http` URL with host and port.
    #[error(
        "the runtime gave `{url}` as streaming address; only plain http is supported (containerd: enable_tls_streaming = false)"
    )]
    Url {
        /// The runtime's answer.
        url: String,
    },

    /// The streaming server cannot be reached.
    #[error(
        "cannot connect to the streaming server at {address}; it listens on the runtime's host"
    )]
    Dial {
        /// Host and port.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The HTTP exchange failed.
    #[error("the streaming server at {address} does not speak HTTP as expected")]
    Http {
        /// Host and port.
        address: String,
        /// What the exchange met.
        #[source]
        source: hyper::Error,
    },

    /// The server did not switch protocols.
    #[error("the streaming server refused the session with {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: hyper::StatusCode,
        /// The first bytes of what it said.
        body: String,
    },

    /// The streams could not be opened.
    #[error("cannot open the session's streams")]
    Open(#[source] Closed),

    /// The session ended and its result never came.
    #[error("the session ended without a result; the runtime or the pod's VM may have stopped")]
    NoResult,

    /// The result is not a Kubernetes Status object.
    #[error("the session's result is not understood: {text}")]
    Result {
        /// The first bytes of the result.
        text: String,
    },

    /// The runtime could not run the command, or lost it.
    #[error("{message}")]
    Failed {
        /// The runtime's words.
        message: String,
    },
}
