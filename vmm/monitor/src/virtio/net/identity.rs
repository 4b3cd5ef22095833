//! What a driver reads of the interface (virtio 1.2, section 5.1.4).

use virtio_bindings::virtio_net::VIRTIO_NET_S_LINK_UP;
use vmm_api::NetConfig;

/// Smallest MTU: IPv4's least (RFC 791). Also virtio's (section 5.1.4.1).
const LEAST_MTU: u16 = 68;

/// An interface that no guest can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No address that one interface can have.
    #[error(
        "{mac:?} is not the hardware address of an interface: it is one like 02:00:00:00:00:01"
    )]
    Mac {
        /// As configured.
        mac: String,
    },
    /// Too small or too large.
    #[error("an MTU of {mtu}: it has to be between {LEAST_MTU} and {}", u16::MAX)]
    Mtu {
        /// As configured.
        mtu: u32,
    },
}

/// The configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    mac: [u8; 6],
    mtu: u16,
    pairs: u16,
}

impl Identity {
    /// Of an interface with `pairs` of queues.
    pub(super) fn new(config: &NetConfig, pairs: u16) -> Result<Self, IdentityError> {
        let mac = parse_mac(&config.mac).ok_or_else(|| IdentityError::Mac {
            mac: config.mac.clone(),
        })?;
        let mtu = u16::try_from(config.mtu).ok().filter(|m| *m >= LEAST_MTU);
        let mtu = mtu.ok_or(IdentityError::Mtu { mtu: config.mtu })?;
        Ok(Self { mac, mtu, pairs })
    }

    pub(super) fn mtu(&self) -> u16 {
        self.mtu
    }

    /// `struct virtio_net_config` up to the MTU.
    pub(super) fn config(&self, up: bool) -> [u8; 12] {
        let status = match up {
            true => VIRTIO_NET_S_LINK_UP.to_le_bytes(),
            false => [0; 4],
        };
        let mut config = [0; 12];
        let fields = self
            .mac
            .into_iter()
            .chain(status.into_iter().take(2))
            .chain(self.pairs.to_le_bytes())
            .chain(self.mtu.to_le_bytes());
        config
            .iter_mut()
            .zip(fields)
            .for_each(|(to, byte)| *to = byte);
        config
    }
}

/// Six bytes in hexadecimal. A group's address is none that packets can be
/// sent to one interface by, nor is zero.
fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut parts = text.split(':');
    let mut mac = [0; 6];
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        let digits = part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| digits)?;
    }
    let group = mac.first().is_some_and(|first| first & 1 == 1);
    (parts.next().is_none() && !group && mac != [0; 6]).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(mac: &str, mtu: u32) -> NetConfig {
        NetConfig {
            mac: mac.into(),
            mtu,
            queue_pairs: 1,
            vhost: false,
        }
    }

    #[test]
    fn a_driver_reads_what_was_configured() {
        let identity = Identity::new(&config("02:ab:CD:00:00:0f", 9000), 4).unwrap();
        let bytes = [2, 0xab, 0xcd, 0, 0, 15, 1, 0, 4, 0, 0x28, 0x23];
        assert_eq!(identity.config(true), bytes);
        assert_eq!(identity.config(false)[6], 0);
    }

    #[test]
    fn impossible_interfaces_are_refused() {
        for mac in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:00:00:00:00:01",
            "02:00:00:00:00:+1",
            "02:00:00:00:00:0g",
            "02-00-00-00-00-01",
            "01:00:00:00:00:01",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
        ] {
            let refused = Identity::new(&config(mac, 1500), 1);
            assert!(matches!(refused, Err(IdentityError::Mac { .. })), "{mac}");
        }
        for mtu in [0, 67, 65536, u32::MAX] {
            let refused = Identity::new(&config("02:00:00:00:00:01", mtu), 1);
            assert_eq!(refused, Err(IdentityError::Mtu { mtu }));
        }
    }
}
