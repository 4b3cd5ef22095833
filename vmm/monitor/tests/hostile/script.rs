//! Scripts for the guest's interpreter.

use crate::image::SCRIPT;
use crate::program::{ENTRY, Op};

/// Where a guest says that it is over.
pub(crate) const EXIT_PORT: u16 = 0x604;
/// The serial port's data.
pub(crate) const SERIAL: u16 = 0x3f8;

/// What a guest does, in order.
#[derive(Clone, Default)]
pub(crate) struct Script(Vec<[u64; 4]>);

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One step.
    pub(crate) fn step(&mut self, op: Op, a: u64, b: u64, c: u64) -> &mut Self {
        self.0.push([op as u64, a, b, c]);
        self
    }

    pub(crate) fn write32(&mut self, address: u64, value: u32) -> &mut Self {
        self.step(Op::Write32, address, value.into(), 0)
    }

    /// Bytes into memory, eight at a time.
    pub(crate) fn place(&mut self, address: u64, bytes: &[u8]) -> &mut Self {
        for (index, chunk) in (0..).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.step(
                Op::Write64,
                address + 8 * index,
                u64::from_le_bytes(word),
                0,
            );
        }
        self
    }

    /// Text to the serial port.
    pub(crate) fn say(&mut self, text: &str) -> &mut Self {
        for byte in text.bytes() {
            self.step(Op::Out8, SERIAL.into(), byte.into(), 0);
        }
        self
    }

    /// Exits.
    pub(crate) fn exit(&mut self, status: u8) -> &mut Self {
        self.step(Op::Out8, EXIT_PORT.into(), status.into(), 0)
    }

    /// Does what `body` adds, `times` times.
    pub(crate) fn repeat(&mut self, times: u64, body: impl FnOnce(&mut Self)) -> &mut Self {
        let before = self.0.len();
        body(self);
        let back = ENTRY * (self.0.len() - before) as u64;
        self.step(Op::Loop, times, back, 0)
    }

    /// Adds `by` to the first operand of the step that was added last, each time
    /// the script comes here.
    pub(crate) fn advance(&mut self, by: u64) -> &mut Self {
        self.change(1, by)
    }

    /// The same with its second operand.
    pub(crate) fn vary(&mut self, by: u64) -> &mut Self {
        self.change(2, by)
    }

    fn change(&mut self, operand: u64, by: u64) -> &mut Self {
        let changes = |op: u64| op == Op::Add as u64;
        let last = self.0.iter().rposition(|entry| !changes(entry[0]));
        let step = last.unwrap_or(0) as u64;
        self.step(Op::Add, SCRIPT + step * ENTRY + 8 * operand, by, 0)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let words = self.0.iter().flatten();
        words.flat_map(|word| word.to_le_bytes()).collect()
    }
}
