//! Random sequences of what guest and host can do, against a model of both.
//!
//! The guest of [`guest`] keeps the rules as Linux does and checks what it is
//! sent. The one of the last test keeps none.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod guest;
mod world;

use proptest::prelude::*;
use vsock_device::state::packet::Directions;
use world::World;

/// One step. The first number chooses the connection.
#[derive(Clone, Debug)]
enum Step {
    Connect(usize),
    GuestSends(usize, usize),
    GuestReads(usize, usize),
    GuestEnds(usize),
    GuestIgnores(usize),
    GuestCloses(usize),
    HostSends(usize, usize),
    HostReads(usize, usize),
    HostEnds(usize),
    HostCloses(usize),
    /// The guest provides so many buffers of such a size.
    Buffers(usize, usize),
}

const SLOTS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    let amount = prop_oneof![4 => 0usize..300, 2 => 1000usize..70_000, 1 => Just(300_000usize)];
    prop_oneof![
        3 => slot.clone().prop_map(Step::Connect),
        6 => (slot.clone(), amount.clone()).prop_map(|(s, n)| Step::GuestSends(s, n)),
        6 => (slot.clone(), amount.clone()).prop_map(|(s, n)| Step::GuestReads(s, n)),
        1 => slot.clone().prop_map(Step::GuestEnds),
        1 => slot.clone().prop_map(Step::GuestIgnores),
        1 => slot.clone().prop_map(Step::GuestCloses),
        6 => (slot.clone(), amount.clone()).prop_map(|(s, n)| Step::HostSends(s, n)),
        6 => (slot.clone(), amount).prop_map(|(s, n)| Step::HostReads(s, n)),
        1 => slot.clone().prop_map(Step::HostEnds),
        1 => slot.prop_map(Step::HostCloses),
        8 => (0usize..12, 1usize..9000).prop_map(|(n, size)| Step::Buffers(n, size)),
    ]
}

fn run(world: &mut World, step: Step) {
    match step {
        Step::Connect(slot) => world.connect(slot),
        Step::GuestSends(slot, len) => world.guest_sends(slot, len),
        Step::GuestReads(slot, len) => world.guest_reads(slot, len),
        Step::GuestEnds(slot) => world.guest_gives_up(slot, Directions::SEND),
        Step::GuestIgnores(slot) => world.guest_gives_up(slot, Directions::RECEIVE),
        Step::GuestCloses(slot) => world.guest_gives_up(slot, Directions::BOTH),
        Step::HostSends(slot, len) => world.host_sends(slot, len),
        Step::HostReads(slot, len) => world.host_reads(slot, len),
        Step::HostEnds(slot) => world.host_ends(slot),
        Step::HostCloses(slot) => world.host_closes(slot),
        Step::Buffers(count, size) => world.provide(count, size),
    }
}

proptest! {
    /// No octet is lost, doubled or out of order, no credit is exceeded, every
    /// end is seen, and nothing is left.
    #[test]
    fn streams_are_streams(steps in proptest::collection::vec(step(), 1..150)) {
        let mut world = World::new(SLOTS);
        for step in steps {
            run(&mut world, step);
        }
        world.finish();
        prop_assert!(world.device.connections().is_empty());
    }

    /// A guest without rules gets its packets answered, and no more memory
    /// than it was granted.
    #[test]
    fn nonsense_is_bounded(
        packets in proptest::collection::vec(nonsense(), 1..300),
        buffers in 0usize..100,
    ) {
        let mut world = World::new(0);
        for (header, payload) in packets {
            world.transmit_raw(&header, payload);
            world.serve_host();
            prop_assert!(world.device.connections().len() <= 1024);
            prop_assert!(world.device.connections().held() <= 8 * (256 << 10));
        }
        let filled = (0..buffers).take_while(|_| world.receive_raw(2000).is_some()).count();
        prop_assert!(filled <= buffers);
        drop(world.hosts());
        for _ in 0..10 {
            world.serve_host();
        }
        prop_assert_eq!(world.device.connections().held(), 0);
    }
}

/// A header of likely and unlikely values, with payload that need not fit.
fn nonsense() -> impl Strategy<Value = (vsock_device::state::packet::Header, usize)> {
    let cid = prop_oneof![8 => Just(3u64), 1 => Just(2), 1 => any::<u64>()];
    let host = prop_oneof![8 => Just(2u64), 1 => Just(3), 1 => any::<u64>()];
    let ports = (
        0u32..4,
        prop_oneof![Just(1024u32), Just(1025), any::<u32>()],
    );
    let op = prop_oneof![20 => 0u16..9, 1 => any::<u16>()];
    let kind = prop_oneof![20 => Just(1u16), 1 => any::<u16>()];
    let len = prop_oneof![4 => 0u32..5000, 1 => 60_000u32..300_000, 1 => any::<u32>()];
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    let payload = prop_oneof![0usize..6000, Just(300_000usize)];
    (cid, host, ports, op, kind, len, numbers, payload).prop_map(
        |(src_cid, dst_cid, (src_port, dst_port), op, kind, len, numbers, payload)| {
            let (flags, buf_alloc, fwd_cnt) = numbers;
            let header = vsock_device::state::packet::Header {
                src_cid,
                dst_cid,
                src_port,
                dst_port,
                len,
                kind,
                op,
                flags,
                buf_alloc,
                fwd_cnt,
            };
            (header, payload)
        },
    )
}
