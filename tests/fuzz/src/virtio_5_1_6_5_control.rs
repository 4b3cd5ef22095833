//! Commands to a network device of several pairs of queues (virtio 1.2, section
//! 5.1.6.5), on a true tap. Nothing is tried where that cannot be made.

use arbitrary::{Arbitrary, Unstructured};
use monitor::virtio::net::Net;
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{Action, Driver, Plan};
use crate::machine::Machine;
use crate::rings::Rings;
use crate::wire::{self, Wire};

const PAIRS: usize = 2;
const SIZES: [u16; 2 * PAIRS + 1] = [256, 256, 256, 256, 16];
const COMMANDS: usize = 2 * PAIRS;
const MOST_STEPS: usize = 100;

/// `VIRTIO_NET_CTRL_MQ`, and its one command: to use one pair, or both.
const MQ: u8 = 4;
const PAIRS_SET: u8 = 0;
/// `VIRTIO_NET_OK`.
const OK: u8 = 0;

#[derive(Arbitrary)]
enum Step {
    /// One that a driver means, or might have meant.
    Command(Command),
    /// Anything else.
    Action(Action),
}

#[derive(Arbitrary)]
struct Command {
    class: Option<u8>,
    command: Option<u8>,
    pairs: u16,
    more: Vec<u8>,
    /// Where the driver cuts it in two.
    cut: u8,
    /// Among the commands, or in another queue.
    queue: Option<u8>,
}

impl Command {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.class.unwrap_or(MQ), self.command.unwrap_or(PAIRS_SET)];
        bytes.extend(self.pairs.to_le_bytes());
        bytes.extend(&self.more);
        bytes
    }

    fn queue(&self) -> u8 {
        let commands = u8::try_from(COMMANDS).unwrap();
        self.queue.unwrap_or(commands) % (commands + 1)
    }

    fn offer(&self, rings: &mut Rings) {
        let bytes = self.bytes();
        let (first, second) = bytes.split_at(usize::from(self.cut) % (bytes.len() + 1));
        offer(rings, &[first, second]);
    }
}

/// Parts of a command, and a place for its answer.
fn offer(rings: &mut Rings, parts: &[&[u8]]) -> GuestAddress {
    let answer = rings.place().buffers();
    let mut chain = Vec::new();
    for (number, part) in (1..).zip(parts) {
        let place = answer + 0x1000 * number;
        rings.write(place, part);
        chain.push((place, u32::try_from(part.len()).unwrap(), false));
    }
    chain.push((answer, 1, true));
    rings.write(answer, &[0xff]);
    rings.offer_located(&chain);
    GuestAddress(answer)
}

thread_local! {
    static WIRE: Option<Wire> = Wire::in_namespace(PAIRS);
}

/// Drives one as `data` says. Host actions are packets for the guest.
pub fn run(data: &[u8]) {
    WIRE.with(|wire| {
        let Some(wire) = wire else { return };
        let mut bytes = Unstructured::new(data);
        let Ok(plan) = bytes.arbitrary::<Plan>() else {
            return;
        };
        let device = Net::new(&wire::config(PAIRS), wire.taps(), Vec::new()).unwrap();
        let machine = Machine::new(Box::new(device));
        let mut driver = Driver::start(machine, plan, &SIZES).unwrap();
        for _ in 0..MOST_STEPS {
            match bytes.arbitrary() {
                Ok(step) if !bytes.is_empty() => act(&mut driver, step, wire),
                _ => break,
            }
        }
        driver.machine.serve().unwrap();
        check(&mut driver.machine);
        wire.drain();
    });
}

fn act(driver: &mut Driver, step: Step, wire: &Wire) {
    match step {
        Step::Action(action) => driver.act(action, &mut |bytes| wire.send(bytes)).unwrap(),
        Step::Command(command) => {
            command.offer(driver.queue(command.queue()));
            driver.machine.kick(command.queue().into());
            driver.machine.serve().unwrap();
        }
    }
}

/// Whatever was before: a driver that does as it should has its commands obeyed.
fn check(machine: &mut Machine) {
    let mut rings: Vec<_> = (0..)
        .zip(SIZES)
        .map(|(number, size)| Rings::new(&machine.memory, number, size))
        .collect();
    rings.iter_mut().for_each(Rings::reset);
    machine.bring_up(u64::MAX, &SIZES).unwrap();
    for (pairs, is_right) in [(1, true), (2, true), (0, false), (3, false), (1, true)] {
        let [low, high] = u16::to_le_bytes(pairs);
        let answer = offer(&mut rings[COMMANDS], &[&[MQ, PAIRS_SET], &[low, high]]);
        machine.kick(COMMANDS);
        machine.serve().unwrap();
        let answer: u8 = machine.memory.read_obj(answer).unwrap();
        assert_eq!(answer == OK, is_right, "{pairs} pairs: {answer}");
    }
}
