//! containerd's side: its protocol in, its events out.

mod bootstrap;
mod events;
mod metrics;
mod service;

use std::time::{SystemTime, UNIX_EPOCH};

use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;

pub(crate) use bootstrap::StartRequest;
pub(crate) use events::{Event, publish};
pub(crate) use service::services;

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
        ..Default::default()
    }
}
