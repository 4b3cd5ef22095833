//! What a driver does to its device: what it should, and anything else.

use arbitrary::{Arbitrary, Result, Unstructured};
use monitor::virtio::device::DeviceError;
use monitor::virtio::register;

use crate::machine::Machine;
use crate::rings::{Address, Part, Rings};

/// What a driver does at most: more is no deeper, only slower.
const MOST: usize = 200;

/// A step of a driver's.
#[derive(Arbitrary, Clone, Debug)]
pub enum Action {
    /// Something in a queue.
    Ring(u8, RingAction),
    /// A register is written.
    Register {
        /// Which.
        which: u8,
        /// With what.
        value: u32,
    },
    /// Bytes are written anywhere among registers and configuration.
    Access {
        /// Where.
        offset: u16,
        /// What.
        bytes: [u8; 8],
        /// How many of them.
        width: u8,
    },
    /// A queue is notified.
    Kick(u8),
    /// The device has its turn.
    Serve,
    /// An event of the device's comes, or came too late.
    Late(u16),
    /// The driver resets the device and brings it up again.
    Restart,
    /// Something happens on the host's side.
    Host(Vec<u8>),
}

/// What a driver does in the memory of a queue.
#[derive(Arbitrary, Clone, Debug)]
pub enum RingAction {
    /// A chain as it should be, perhaps by way of a table.
    Offer(Vec<Part>, bool),
    /// Any descriptor: index, what it points to, flags, what follows.
    Describe(u8, Part, u8, u16),
    /// Any head is made available.
    Announce(u16),
    /// The available index jumps.
    Jump(u16),
    /// Bytes anywhere.
    Poke(Address, Vec<u8>),
}

impl RingAction {
    /// Does it.
    pub fn apply(self, rings: &mut Rings) {
        match self {
            Self::Offer(parts, indirect) => rings.offer(&parts, indirect),
            Self::Describe(index, part, flags, next) => {
                rings.describe(index.into(), part, flags.into(), next);
            }
            Self::Announce(head) => rings.announce(head),
            Self::Jump(index) => rings.jump(index),
            Self::Poke(address, bytes) => rings.write(address.of(rings.place()), &bytes),
        }
    }
}

/// Registers that mean something to a driver.
#[rustfmt::skip]
pub const REGISTERS: [u64; 17] = [
    register::DEVICE_FEATURES_SEL, register::DRIVER_FEATURES_SEL, register::DRIVER_FEATURES,
    register::QUEUE_SEL, register::QUEUE_NUM, register::QUEUE_READY, register::QUEUE_NOTIFY,
    register::INTERRUPT_ACK, register::STATUS, register::QUEUE_DESC_LOW, register::QUEUE_DESC_HIGH,
    register::QUEUE_DRIVER_LOW, register::QUEUE_DRIVER_HIGH, register::QUEUE_DEVICE_LOW,
    register::QUEUE_DEVICE_HIGH, register::SHM_SEL, register::CONFIG,
];

/// How a driver brings the device up, if it does.
#[derive(Arbitrary, Clone, Debug)]
pub struct Plan {
    skip: bool,
    features: u64,
    /// Powers of two, one per queue.
    sizes: [u8; 8],
}

/// A driver of one device.
pub struct Driver {
    /// The device.
    pub machine: Machine,
    plan: Plan,
    sizes: Vec<u16>,
    queues: Vec<Rings>,
}

impl Driver {
    /// Of a device that its driver brings up as `plan` says.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn start(
        machine: Machine,
        plan: Plan,
        most: &[u16],
    ) -> std::result::Result<Self, DeviceError> {
        let exponents = plan.sizes.iter().cycle();
        let sizes: Vec<_> = most
            .iter()
            .zip(exponents)
            .map(|(most, exponent)| size(*most, *exponent))
            .collect();
        let queues = (0..)
            .zip(&sizes)
            .map(|(number, size)| Rings::new(&machine.memory, number, *size));
        let mut driver = Self {
            queues: queues.collect(),
            sizes,
            plan,
            machine,
        };
        if !driver.plan.skip {
            driver.restart()?;
        }
        Ok(driver)
    }

    fn restart(&mut self) -> std::result::Result<(), DeviceError> {
        self.queues.iter_mut().for_each(Rings::reset);
        self.machine.bring_up(self.plan.features, &self.sizes)
    }

    fn number(&self, queue: u8) -> usize {
        usize::from(queue) % self.queues.len()
    }

    /// One of its queues.
    pub fn queue(&mut self, queue: u8) -> &mut Rings {
        let number = self.number(queue);
        &mut self.queues[number]
    }

    /// Does what `action` says; what happens on the host's side is left to
    /// `host`.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn act(
        &mut self,
        action: Action,
        host: &mut dyn FnMut(&[u8]),
    ) -> std::result::Result<(), DeviceError> {
        match action {
            Action::Register { which, value } => {
                let register = REGISTERS[usize::from(which) % REGISTERS.len()];
                return self.machine.write(register, value);
            }
            Action::Access {
                offset,
                bytes,
                width,
            } => {
                let width = 1 + usize::from(width) % bytes.len();
                let offset = u64::from(offset) % 512;
                return self.machine.access(offset, &bytes[..width]);
            }
            Action::Kick(queue) => self.machine.kick(self.number(queue)),
            Action::Serve => return self.machine.serve(),
            Action::Late(source) => return self.machine.serve_source(source),
            Action::Restart => return self.restart(),
            Action::Host(bytes) => host(&bytes),
            Action::Ring(queue, action) => action.apply(self.queue(queue)),
        }
        Ok(())
    }
}

fn size(most: u16, exponent: u8) -> u16 {
    let size = 1_u16.checked_shl(u32::from(exponent % 16)).unwrap_or(0);
    // The largest is what drivers choose, and most often what is asked for.
    size.min(most) * u16::from(exponent != u8::MAX)
}

/// What bytes make a driver do.
///
/// # Errors
/// When they are too few for a plan.
pub fn parse(data: &[u8]) -> Result<(Plan, Vec<Action>)> {
    let mut bytes = Unstructured::new(data);
    let plan = bytes.arbitrary()?;
    let mut actions = Vec::new();
    while !bytes.is_empty() && actions.len() < MOST {
        actions.push(bytes.arbitrary()?);
    }
    Ok((plan, actions))
}

/// Has a device of this process be driven as `data` says. It is never lost to
/// what its driver does.
pub fn drive(machine: Machine, most: &[u16], data: &[u8], host: &mut dyn FnMut(&[u8])) {
    let Ok((plan, actions)) = parse(data) else {
        return;
    };
    let mut driver = Driver::start(machine, plan, most).unwrap();
    for action in actions {
        driver.act(action, host).unwrap();
    }
    driver.machine.serve().unwrap();
}
