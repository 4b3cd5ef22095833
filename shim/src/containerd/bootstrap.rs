//! How containerd starts a shim: what it hands to `start`, and the answer that
//! it reads. Three protocols are in use.
//!
//! | containerd | parameters | answer |
//! |---|---|---|
//! | 1.6, 1.7 | flags, environment, options on stdin | the plain address |
//! | 2.0 to 2.2 | the same | JSON with the task API's version |
//! | 2.3 and later | `BootstrapParams` on stdin | `BootstrapResult` |

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use containerd_shim::Flags;
use containerd_shim::bootstrap::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use protobuf::CodedInputStream;

/// containerd's own bound on what it pipes in.
const MAX_INPUT: u64 = 10 << 20;
/// The newest task API that containerd understands, in the environment.
const MAX_VERSION: &str = "MAX_SHIM_VERSION";
const TTRPC_ADDRESS: &str = "TTRPC_ADDRESS";
const TASK_API: i32 = 3;
const RUNTIME_OPTIONS: &str = "runtimeoptions.v1.Options";

/// What `start` was asked.
#[derive(Debug)]
pub(crate) struct StartRequest {
    /// containerd's own socket, part of the shim's address.
    pub(crate) grpc_address: String,
    /// Where events go.
    pub(crate) ttrpc_address: String,
    /// `options.ConfigPath` of the runtime class in containerd's configuration.
    pub(crate) config_path: Option<PathBuf>,
    /// How containerd reads the answer.
    pub(crate) answer: Answer,
}

/// The three forms of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Plain,
    Json,
    Message,
}

impl StartRequest {
    /// Reads flags, environment and standard input.
    pub(crate) fn read(flags: &Flags) -> io::Result<Self> {
        let env = |name| std::env::var(name).unwrap_or_default();
        Ok(Self::parse(
            flags,
            &input()?,
            &env(TTRPC_ADDRESS),
            &env(MAX_VERSION),
        ))
    }

    fn parse(flags: &Flags, input: &[u8], ttrpc_address: &str, max_version: &str) -> Self {
        if let Some(params) = params(flags, input) {
            let options = params.extensions.iter().filter_map(|e| e.value.as_ref());
            return Self {
                config_path: options.filter_map(config_path).next(),
                grpc_address: params.containerd_grpc_address,
                ttrpc_address: params.containerd_ttrpc_address,
                answer: Answer::Message,
            };
        }
        let options = Any::parse_from_bytes(input).ok();
        Self {
            grpc_address: flags.address.clone(),
            ttrpc_address: ttrpc_address.to_owned(),
            config_path: options.as_ref().and_then(config_path),
            answer: match max_version.parse::<i32>() {
                Ok(TASK_API..) => Answer::Json,
                _ => Answer::Plain,
            },
        }
    }
}

impl Answer {
    /// The answer for a sandbox of the Sandbox API. containerd 2.0 to 2.2 have
    /// it, say that they know no more than version 2 of the task API, and need
    /// to hear of version 3 to send containers the same way.
    pub(crate) fn with_sandbox_api(self) -> Self {
        match self {
            Self::Plain | Self::Json => Self::Json,
            Self::Message => Self::Message,
        }
    }

    /// The bytes for standard output.
    pub(crate) fn encode(self, address: &str) -> Vec<u8> {
        match self {
            Self::Plain => address.as_bytes().to_vec(),
            Self::Json => {
                let answer = serde_json::json!({
                    "version": TASK_API, "address": address, "protocol": "ttrpc"
                });
                answer.to_string().into_bytes()
            }
            Self::Message => {
                let answer = BootstrapResult {
                    version: TASK_API,
                    address: address.to_owned(),
                    protocol: "ttrpc".to_owned(),
                    ..Default::default()
                };
                answer.write_to_bytes().unwrap_or_default()
            }
        }
    }
}

fn input() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    let mut input = Vec::new();
    if !stdin.is_terminal() {
        stdin.lock().take(MAX_INPUT).read_to_end(&mut input)?;
    }
    Ok(input)
}

/// An `Any` of older protocols decodes as `BootstrapParams` too, with its type
/// where the id belongs: only the id tells them apart.
fn params(flags: &Flags, input: &[u8]) -> Option<BootstrapParams> {
    let params = BootstrapParams::parse_from_bytes(input).ok()?;
    (!flags.id.is_empty() && params.instance_id == flags.id).then_some(params)
}

/// Field 2 of `runtimeoptions.v1.Options`.
fn config_path(options: &Any) -> Option<PathBuf> {
    const CONFIG_PATH: u32 = 2;
    if options.type_url.rsplit('/').next() != Some(RUNTIME_OPTIONS) {
        return None;
    }
    let mut stream = CodedInputStream::from_bytes(&options.value);
    while let Ok(Some(tag)) = stream.read_raw_tag_or_eof() {
        let (field, kind) = (tag >> 3, protobuf::rt::WireType::new(tag & 7)?);
        if field == CONFIG_PATH {
            return stream
                .read_string()
                .ok()
                .filter(|path| !path.is_empty())
                .map(PathBuf::from);
        }
        stream.skip_field(kind).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        Flags {
            id: "c".into(),
            namespace: "k8s.io".into(),
            address: "/a".into(),
            ..Default::default()
        }
    }

    fn options(type_url: &str) -> Vec<u8> {
        // type_url (field 1) and config_path (field 2) of the options.
        let value = b"\x0a\x03abc\x12\x0b/etc/x.toml".to_vec();
        Any {
            type_url: type_url.into(),
            value,
            ..Default::default()
        }
        .write_to_bytes()
        .unwrap()
    }

    #[test]
    fn containerd_1_reads_a_plain_address() {
        let request = StartRequest::parse(&flags(), b"", "/t", "2");
        assert_eq!(request.answer.encode("unix:///s"), b"unix:///s");
        assert_eq!(
            (request.ttrpc_address.as_str(), request.config_path),
            ("/t", None)
        );
        assert_eq!(
            StartRequest::parse(&flags(), b"", "/t", "").answer,
            Answer::Plain
        );
    }

    #[test]
    fn containerd_2_reads_json() {
        let request = StartRequest::parse(&flags(), &options(RUNTIME_OPTIONS), "/t", "3");
        assert_eq!(request.config_path, Some("/etc/x.toml".into()));
        let answer: serde_json::Value =
            serde_json::from_slice(&request.answer.encode("unix:///s")).unwrap();
        assert_eq!(answer["version"], 3);
        assert_eq!(answer["address"], "unix:///s");
    }

    #[test]
    fn a_sandbox_of_its_own_api_has_version_3() {
        let request = StartRequest::parse(&flags(), b"", "/t", "2");
        let answer = request.answer.with_sandbox_api().encode("unix:///s");
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["version"], 3);
    }

    #[test]
    fn later_containerds_send_and_read_messages() {
        let params = BootstrapParams {
            instance_id: "c".into(),
            containerd_ttrpc_address: "/t2".into(),
            ..Default::default()
        };
        let input = params.write_to_bytes().unwrap();
        let request = StartRequest::parse(&flags(), &input, "/t", "3");
        assert_eq!(
            (request.ttrpc_address.as_str(), request.answer),
            ("/t2", Answer::Message)
        );
    }

    #[test]
    fn options_of_another_runtime_are_not_ours() {
        let request = StartRequest::parse(&flags(), &options("containerd.runc.v1.Options"), "", "");
        assert_eq!(request.config_path, None);
    }
}
