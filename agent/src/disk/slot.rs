//! Names of slots.

use std::fmt;

/// What the kernel calls a slot of the machine's: `virtio-mmio.7`. Safe as a
/// part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot(String);

/// It is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a slot, such as virtio-mmio.7")]
pub(crate) struct SlotError(String);

/// Longest name that is repeated in an error.
const SHOWN: usize = 32;

impl Slot {
    pub(crate) fn new(name: &str) -> Result<Self, SlotError> {
        let number = name.strip_prefix("virtio-mmio.").unwrap_or_default();
        let parsed = number.parse::<u8>();
        match parsed.is_ok_and(|parsed| parsed.to_string() == number) {
            true => Ok(Self(name.to_owned())),
            false => Err(SlotError(name.chars().take(SHOWN).collect())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_slots_are_names() {
        for name in ["virtio-mmio.0", "virtio-mmio.31"] {
            assert_eq!(Slot::new(name).unwrap().as_str(), name);
        }
        let long = format!("virtio-mmio.{}", "1".repeat(1000));
        for name in [
            "",
            "virtio-mmio",
            "virtio-mmio.",
            "virtio-mmio.07",
            "virtio-mmio.+7",
            "virtio-mmio.256",
            "virtio-mmio.7/..",
            "virtio-mmio.7\n",
            "../virtio-mmio.7",
            "vda",
            &long,
        ] {
            let error = Slot::new(name).unwrap_err();
            assert!(error.0.len() <= SHOWN, "{name:?}");
        }
    }
}
