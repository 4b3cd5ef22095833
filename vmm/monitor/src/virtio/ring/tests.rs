use super::*;
use crate::virtio::chain::Access;
use crate::virtio::driver::{Driver, Line, all, memory};
use proptest::prelude::*;

const SIZE: u16 = 16;

fn machine(event_idx: bool) -> (Driver, Line, Ring) {
    let driver = Driver::new(&memory(), 0, SIZE, event_idx);
    let line = Line::new();
    let ring = Ring::new(driver.ready(), line.interrupt());
    (driver, line, ring)
}

fn offer(driver: &mut Driver) -> u16 {
    driver.offer(&all(&[(0x20_0000, 4)], Access::Read))
}

#[test]
fn every_chain_is_served_once_and_in_order() {
    let (mut driver, _line, mut ring) = machine(true);
    for round in 0..100_u32 {
        let heads: Vec<_> = (0..round % 17).map(|_| offer(&mut driver)).collect();
        let mut served = Vec::new();
        let memory = driver.memory.clone();
        ring.serve_all(&memory, |chain| {
            served.push(chain.head_index());
            round
        })
        .unwrap();
        assert_eq!(served, heads);
        let used: Vec<_> = heads.iter().map(|head| (u32::from(*head), round)).collect();
        assert_eq!(driver.used(), used);
    }
}

#[test]
fn chains_shown_together_appear_together() {
    let (mut driver, _line, mut ring) = machine(true);
    let heads = [0; 3].map(|_| offer(&mut driver));
    let memory = driver.memory.clone();
    for head in heads {
        ring.take(&memory).unwrap().unwrap();
        ring.give_back(&memory, head, 1).unwrap();
        assert_eq!(driver.used_index(), 0);
    }
    ring.show(&memory).unwrap();
    assert_eq!(driver.used_index(), 3);
}

#[test]
fn a_driver_is_told_if_it_wants_to_be() {
    let (mut driver, line, mut ring) = machine(false);
    let memory = driver.memory.clone();
    for (flags, interrupts) in [(0, 1), (1, 0), (0, 1)] {
        driver.set_flags(flags);
        offer(&mut driver);
        ring.serve_all(&memory, |_| 0).unwrap();
        assert_eq!(line.count(), interrupts);
    }
    ring.serve_all(&memory, |_| 0).unwrap();
    assert_eq!(line.count(), 0, "told of nothing");
}

#[test]
fn an_impossible_ring_is_an_error() {
    let (mut driver, _line, mut ring) = machine(true);
    let memory = driver.memory.clone();
    driver.announce(SIZE);
    assert!(ring.serve_all(&memory, |_| 0).is_err());

    let (mut driver, _line, mut ring) = machine(true);
    let memory = driver.memory.clone();
    driver.set_available(SIZE + 1);
    assert!(ring.serve_all(&memory, |_| 0).is_err());
}

#[test]
fn a_driver_that_never_stops_does_not_keep_the_thread() {
    let (mut driver, _line, mut ring) = machine(true);
    let memory = driver.memory.clone();
    offer(&mut driver);
    let mut served = 0;
    ring.serve_all(&memory, |_| {
        served += 1;
        offer(&mut driver);
        0
    })
    .unwrap();
    assert_eq!(served, BUDGET);
    assert_eq!(driver.kick.read().unwrap(), 1, "goes on by itself");
}

proptest! {
    /// The interrupt is due when the index that the driver named is among
    /// those that became used since it was last told, however they wrap.
    #[test]
    fn an_index_that_is_passed_is_told(
        batches in proptest::collection::vec((0..=SIZE, -20_i32..20), 1..40),
        start in any::<u16>(),
    ) {
        let (mut driver, line, mut ring) = machine(true);
        (ring.filled, ring.told) = (start, start);
        ring.queue.set_next_used(start);
        let memory = driver.memory.clone();
        let mut used = start;
        for (count, ahead) in batches {
            let event = used.wrapping_add_signed(i16::try_from(ahead).unwrap());
            driver.set_used_event(event);
            for _ in 0..count {
                let head = offer(&mut driver);
                ring.take(&memory).unwrap().unwrap();
                ring.give_back(&memory, head, 0).unwrap();
            }
            ring.show(&memory).unwrap();
            ring.tell(&memory).unwrap();
            let due = (0..count).any(|passed| used.wrapping_add(passed) == event);
            prop_assert_eq!(line.count(), u64::from(due));
            used = used.wrapping_add(count);
        }
    }

    /// A driver that notifies when it is asked to is never forgotten.
    #[test]
    fn no_kick_is_missed(batches in proptest::collection::vec(1..=SIZE, 1..40)) {
        let (mut driver, _line, mut ring) = machine(true);
        let memory = driver.memory.clone();
        for count in batches {
            let mut kicked = false;
            for _ in 0..count {
                offer(&mut driver);
                kicked |= driver.kick();
            }
            prop_assert!(kicked);
            let mut served = 0;
            ring.serve_all(&memory, |_| {
                served += 1;
                0
            })
            .unwrap();
            prop_assert_eq!(served, count);
        }
    }
}
