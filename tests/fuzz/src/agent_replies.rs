//! What a guest's agent answers to the shim: messages of
//! protocol/proto/agent.proto, and ttrpc's statuses around them.

use arbitrary::Unstructured;
use protobuf::Message;
use protocol::{Failure, Id, Token, agent};

/// Reads `data` as whatever the shim reads.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(kind) = bytes.arbitrary::<u8>() else {
        return;
    };
    let rest = bytes.take_rest();
    match kind % 9 {
        0 => failure(rest),
        1 => identifier(rest),
        2 => read::<agent::HelloResponse>(rest),
        3 => read::<agent::ProcessStarted>(rest),
        4 => read::<agent::ListProcessesResponse>(rest),
        5 => read::<agent::ContainerStatsResponse>(rest),
        6 => read::<agent::Empty>(rest),
        7 => frame(rest),
        _ => read::<agent::Event>(rest),
    }
}

/// What can be read can be written, and is the same again.
fn read<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = M::parse_from_bytes(bytes) {
        let again = message.write_to_bytes().unwrap();
        assert!(M::parse_from_bytes(&again).unwrap() == message);
        // As a log or an error shows it.
        let _ = format!("{message:?}");
    }
}

fn failure(bytes: &[u8]) {
    if let Ok(response) = ttrpc::proto::Response::parse_from_bytes(bytes) {
        let status = response.status.unwrap_or_default();
        let failure = Failure::from(ttrpc::Error::RpcStatus(status));
        let sent = Failure::from(ttrpc::Error::from(failure.clone()));
        assert_eq!(sent, failure);
    }
}

fn identifier(bytes: &[u8]) {
    assert_eq!(
        Token::from_slice(bytes).is_some(),
        bytes.len() == Token::LEN
    );
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(id) = Id::new(text)
    {
        assert_eq!(id.as_str(), text);
    }
}

/// The header of a frame tells how much memory its body gets (ttrpc's
/// PROTOCOL.md).
fn frame(bytes: &[u8]) {
    let Some(header) = bytes.first_chunk::<10>() else {
        return;
    };
    let header = ttrpc::MessageHeader::from(header);
    let again: Vec<u8> = header.into();
    assert_eq!(again, bytes[..10]);
}
