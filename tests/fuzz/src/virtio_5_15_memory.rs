//! Memory that comes and goes (virtio 1.2, section 5.15), against a model of
//! what the host gave.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use arbitrary::{Arbitrary, Unstructured};
use monitor::virtio::mem::{BLOCK, Host, HostError, Mem};
use monitor::virtio::register;
use monitor::virtio::target::Target;

use crate::driver::{Action, Driver, Plan};
use crate::machine::Machine;
use crate::rings::Rings;

const START: u64 = 8 << 30;
const BLOCKS: u64 = 24;
const QUEUE_SIZE: u16 = 16;
const MOST_STEPS: usize = 200;

/// Where a driver reads how much is plugged (section 5.15.4).
const PLUGGED_SIZE: u64 = register::CONFIG + 40;

#[derive(Arbitrary)]
enum Step {
    /// One that a driver means (section 5.15.6).
    Request(Request),
    /// The host is to give so many blocks.
    Want(u8),
    /// The host has nothing left, or has again.
    Refuse(bool),
    /// Anything else.
    Action(Action),
}

#[derive(Arbitrary)]
struct Request {
    kind: u8,
    block: u8,
    /// Bytes besides whole blocks.
    offset: u16,
    count: u16,
}

impl Request {
    /// Kinds behind the last one are unknown; two blocks of 26 are not there.
    fn offer(&self, rings: &mut Rings) {
        let (question, answer) = (rings.place().buffers(), rings.place().buffers() + 64);
        let block = u64::from(self.block) % (BLOCKS + 2);
        let address = START + block * BLOCK + u64::from(self.offset);
        rings.write(question, &(u64::from(self.kind) % 5).to_le_bytes());
        rings.write(question + 8, &address.to_le_bytes());
        rings.write(question + 16, &u64::from(self.count).to_le_bytes());
        rings.offer_located(&[(question, 24, false), (answer, 10, true)]);
    }
}

/// What the host gave, and how much it was to give at most so far.
#[derive(Default)]
struct Given {
    blocks: BTreeSet<usize>,
    wanted: u64,
    refuses: bool,
}

/// Is asked only for what makes sense.
#[derive(Clone, Default)]
struct Model(Arc<Mutex<Given>>);

impl Host for Model {
    fn plug(&mut self, block: usize) -> Result<(), HostError> {
        let mut given = self.0.lock().unwrap();
        refused(given.refuses, "plug", block)?;
        assert!(block < usize::try_from(BLOCKS).unwrap());
        assert!(given.blocks.insert(block), "{block} was given twice");
        assert!(given.blocks.len() as u64 <= given.wanted);
        Ok(())
    }

    fn unplug(&mut self, block: usize) -> Result<(), HostError> {
        let mut given = self.0.lock().unwrap();
        refused(given.refuses, "unplug", block)?;
        assert!(given.blocks.remove(&block), "{block} was never given");
        Ok(())
    }
}

fn refused(refuses: bool, step: &'static str, block: usize) -> Result<(), HostError> {
    match refuses {
        false => Ok(()),
        true => Err(HostError {
            step,
            block,
            source: ErrorKind::OutOfMemory.into(),
        }),
    }
}

/// Drives one as `data` says.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(plan) = bytes.arbitrary::<Plan>() else {
        return;
    };
    let (target, model) = (Target::new().unwrap(), Model::default());
    let host = Box::new(model.clone());
    let device = Mem::new(START, BLOCKS * BLOCK, Arc::clone(&target), host);
    let machine = Machine::new(Box::new(device));
    let mut driver = Driver::start(machine, plan, &[QUEUE_SIZE]).unwrap();
    for _ in 0..MOST_STEPS {
        match bytes.arbitrary() {
            Ok(step) if !bytes.is_empty() => act(&mut driver, step, &target, &model),
            _ => break,
        }
        check(&driver, &target, &model);
    }
    driver.machine.serve().unwrap();
    check(&driver, &target, &model);
}

fn act(driver: &mut Driver, step: Step, target: &Target, model: &Model) {
    match step {
        Step::Action(action) => driver.act(action, &mut |_| {}).unwrap(),
        Step::Refuse(refuses) => model.0.lock().unwrap().refuses = refuses,
        Step::Want(blocks) => {
            let wanted = u64::from(blocks) % (BLOCKS + 1);
            model.0.lock().unwrap().wanted = wanted;
            target.want(wanted * BLOCK);
        }
        Step::Request(request) => {
            request.offer(driver.queue(0));
            driver.machine.kick(0);
            driver.machine.serve().unwrap();
        }
    }
}

/// Device, driver and host agree on how much there is.
fn check(driver: &Driver, target: &Target, model: &Model) {
    let given = model.0.lock().unwrap().blocks.len() as u64 * BLOCK;
    assert_eq!(target.there(), given);
    let read = |register| u64::from(driver.machine.read(register));
    let shown = read(PLUGGED_SIZE) | read(PLUGGED_SIZE + 4) << 32;
    assert_eq!(shown, given);
}
