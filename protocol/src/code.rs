//! The closed set of error codes and the one place where they meet gRPC's.

use std::fmt;

use ttrpc::proto::Code as GrpcCode;

/// What kind of failure it was: what containerd and kubelet decide by.
///
/// Values are gRPC's (`google/rpc/code.proto`), names and meanings too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request itself is wrong, whatever the state.
    InvalidArgument,
    /// No such container, exec or file.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Right request, wrong state.
    FailedPrecondition,
    /// A limit was reached.
    ResourceExhausted,
    /// We do not do this.
    Unimplemented,
    /// The guest is gone or not there yet.
    Unavailable,
    /// It took longer than it may.
    DeadlineExceeded,
    /// Our own fault, or the machine's.
    Internal,
}

const CODES: [(Code, GrpcCode); 9] = [
    (Code::InvalidArgument, GrpcCode::INVALID_ARGUMENT),
    (Code::NotFound, GrpcCode::NOT_FOUND),
    (Code::AlreadyExists, GrpcCode::ALREADY_EXISTS),
    (Code::FailedPrecondition, GrpcCode::FAILED_PRECONDITION),
    (Code::ResourceExhausted, GrpcCode::RESOURCE_EXHAUSTED),
    (Code::Unimplemented, GrpcCode::UNIMPLEMENTED),
    (Code::Unavailable, GrpcCode::UNAVAILABLE),
    (Code::DeadlineExceeded, GrpcCode::DEADLINE_EXCEEDED),
    (Code::Internal, GrpcCode::INTERNAL),
];

impl Code {
    fn to_grpc(self) -> GrpcCode {
        CODES
            .iter()
            .find(|(code, _)| *code == self)
            .map_or(GrpcCode::INTERNAL, |(_, grpc)| *grpc)
    }

    fn from_grpc(grpc: GrpcCode) -> Self {
        CODES
            .iter()
            .find(|(_, other)| *other == grpc)
            .map_or(Self::Internal, |(code, _)| *code)
    }
}

/// A failure on its way across an RPC: a code to decide by, a text to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind it was.
    pub code: Code,
    /// What was attempted, on what, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of kind `code`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Prints `error` with its whole chain of sources, outermost first.
    pub fn from_error(code: Code, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some libraries repeat their source in their own text.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self { code, message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for ttrpc::Error {
    fn from(failure: Failure) -> Self {
        Self::RpcStatus(ttrpc::get_status(failure.code.to_grpc(), failure.message))
    }
}

impl From<ttrpc::Error> for Failure {
    fn from(error: ttrpc::Error) -> Self {
        match error {
            ttrpc::Error::RpcStatus(status) => {
                Self::new(Code::from_grpc(status.code()), status.message())
            }
            // All else is of the connection: mostly it has ended.
            lost => Self::new(
                Code::Unavailable,
                format!("the guest's agent cannot be asked: {lost}"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for (code, _) in CODES {
            let sent = Failure::new(code, "why");
            let received = Failure::from(ttrpc::Error::from(sent.clone()));
            assert_eq!(received, sent);
        }
    }

    #[test]
    fn a_lost_connection_is_unavailable() {
        for lost in [
            ttrpc::Error::RemoteClosed,
            ttrpc::Error::Socket("early eof".into()),
            ttrpc::Error::Others("channel closed".into()),
        ] {
            assert_eq!(Failure::from(lost).code, Code::Unavailable);
        }
    }

    #[test]
    fn the_chain_is_printed_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("open /x")]
        struct Outer(#[source] std::io::Error);

        let cause = std::io::Error::from_raw_os_error(2);
        let failure = Failure::from_error(Code::NotFound, &Outer(cause));
        assert_eq!(
            failure.message,
            "open /x: No such file or directory (os error 2)"
        );
    }
}
