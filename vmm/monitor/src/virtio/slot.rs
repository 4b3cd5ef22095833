//! The places where a device can be.
//!
//! Each has a block of registers at a fixed address and an interrupt line. The
//! kernel's command line declares all of them, empty ones too: that is what
//! makes it possible to put a device into one later
//! (docs/decisions/0016-hot-plug-by-binding-slots.md).

/// Where the registers of slot 0 are.
const BASE: u64 = 0xd000_0000;

/// Driver and number, as Linux has it.
const NAME: &str = "virtio-mmio.";

/// Lines of the I/O APIC that nothing else uses: not the timer's, the
/// keyboard's, the cascade's, the serial port's, the clock's, the coprocessor's.
const LINES: [u8; 18] = [
    5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 3,
];

/// A place for a device. There are [`Slot::COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u8);

impl Slot {
    /// How many there are.
    pub const COUNT: usize = 32;
    /// Bytes of registers and configuration of one.
    pub const SIZE: u64 = Self::BYTES as u64;
    /// The same, for addresses in this process.
    pub const BYTES: usize = 512;
    /// Bytes of all.
    pub const TOTAL: u64 = Self::SIZE * Self::COUNT as u64;

    /// All, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0_u8..).take(Self::COUNT).map(Self)
    }

    /// The one of that number.
    #[must_use]
    pub fn new(number: usize) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        (usize::from(number) < Self::COUNT).then_some(Self(number))
    }

    /// The one whose registers `address` is among, and the offset in them.
    #[must_use]
    pub fn at(address: u64) -> Option<(Self, u64)> {
        let offset = address.checked_sub(BASE).filter(|o| *o < Self::TOTAL)?;
        let number = usize::try_from(offset / Self::SIZE).ok()?;
        Some((Self::new(number)?, offset % Self::SIZE))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> usize {
        usize::from(self.0)
    }

    /// What the guest's kernel calls it: it numbers what the command line
    /// declares, in order.
    #[must_use]
    pub fn name(self) -> String {
        format!("{NAME}{}", self.0)
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|slot| slot.name() == name)
    }

    /// Where its registers are in the guest.
    #[must_use]
    pub fn address(self) -> u64 {
        BASE + u64::from(self.0) * Self::SIZE
    }

    /// Its input of the I/O APIC, which is KVM's GSI of that number too. Slots
    /// from the 19th on share one with another: interrupts are edges, and the
    /// kernel asks every driver of a line at each.
    #[must_use]
    pub fn interrupt_line(self) -> u8 {
        let lines = LINES.len();
        LINES.get(self.number() % lines).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_address_leads_to_its_slot() {
        for slot in Slot::all() {
            let address = slot.address();
            assert_eq!(Slot::at(address), Some((slot, 0)));
            assert_eq!(Slot::at(address + 511), Some((slot, 511)));
        }
        assert_eq!(Slot::at(BASE - 1), None);
        assert_eq!(Slot::at(BASE + Slot::TOTAL), None);
        assert_eq!(Slot::at(0), None);
        assert_eq!(Slot::at(u64::MAX), None);
        assert_eq!(Slot::new(Slot::COUNT), None);
    }

    #[test]
    fn a_name_leads_to_its_slot() {
        for slot in Slot::all() {
            assert_eq!(Slot::named(&slot.name()), Some(slot));
        }
        for name in ["virtio-mmio.32", "virtio-mmio.07", "virtio-mmio.", "7", ""] {
            assert_eq!(Slot::named(name), None, "{name}");
        }
    }

    #[test]
    fn the_first_slots_have_a_line_of_their_own() {
        let lines: HashSet<u8> = Slot::all().take(18).map(Slot::interrupt_line).collect();
        assert_eq!(lines.len(), 18);
        // Timer, keyboard, cascade, serial port, clock, coprocessor.
        assert!([0, 1, 2, 4, 8, 13].iter().all(|line| !lines.contains(line)));
        assert!(lines.iter().all(|line| *line < 24));
    }
}
