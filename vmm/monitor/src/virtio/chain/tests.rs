use super::*;
use crate::virtio::driver::{Driver, Line, all, descriptor, flags, memory};
use crate::virtio::ring::Ring;
use proptest::prelude::*;

const MOST: usize = 8;
const SIZE: u16 = 16;

/// What a device finds in the only chain there is.
fn pieces(driver: &Driver, wanted: Option<Access>) -> Vec<Result<Piece, BadChain>> {
    let mut ring = Ring::new(driver.ready(), Line::new().interrupt());
    let chain = ring.take(&driver.memory).unwrap().unwrap();
    let pieces = Pieces::of(chain, &driver.memory, MOST);
    match wanted {
        Some(access) => pieces.only(access).collect(),
        None => pieces.collect(),
    }
}

fn driver() -> Driver {
    Driver::new(&memory(), 0, SIZE, true)
}

fn piece((address, length): (u64, usize), access: Access) -> Piece {
    Piece {
        address: GuestAddress(address),
        length,
        access,
    }
}

#[test]
fn pieces_come_in_order_by_table_or_not() {
    let parts = [
        ((0x20_0000, 5), Access::Read),
        ((0x30_0000, 1), Access::Read),
        ((0x20_0003, 900), Access::Write),
    ];
    let expected = parts.map(|(region, access)| Ok(piece(region, access)));
    for indirect in [false, true] {
        let mut driver = driver();
        match indirect {
            true => driver.offer_indirect(&parts),
            false => driver.offer(&parts),
        };
        assert_eq!(pieces(&driver, None), expected);
    }
}

#[test]
fn empty_pieces_are_passed_over() {
    let mut driver = driver();
    let regions = [(0, 0), (0x20_0000, 7), (u64::MAX, 0)];
    driver.offer(&all(&regions, Access::Write));
    let expected = [Ok(piece((0x20_0000, 7), Access::Write))];
    assert_eq!(pieces(&driver, Some(Access::Write)), expected);
}

#[test]
fn what_is_not_memory_is_no_piece() {
    let ram = 64 << 20;
    for (address, length) in [
        (ram, 1),
        (ram - 1, 2),
        (0, (64 << 20) + 1),
        (u64::MAX, 1),
        (u64::MAX - 1, 4096),
        (0xd000_0000, 512),
        (0x1000, u32::MAX as usize),
    ] {
        let mut driver = driver();
        driver.offer(&all(&[(address, length), (0x20_0000, 1)], Access::Read));
        let error = BadChain::NotMemory { address, length };
        assert_eq!(pieces(&driver, Some(Access::Read)), [Err(error)]);
    }
}

#[test]
fn the_wrong_direction_is_an_error() {
    for (access, wanted) in [(Access::Read, Access::Write), (Access::Write, Access::Read)] {
        let mut driver = driver();
        driver.offer(&[((0x20_0000, 4), wanted), ((0x20_0000, 4), access)]);
        let found = pieces(&driver, Some(wanted));
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], Err(BadChain::Direction { wanted }));
    }
}

#[test]
fn a_chain_without_an_end_is_an_error() {
    let looped = {
        let mut driver = driver();
        driver.offer_loop((0x20_0000, 4), Access::Read);
        driver
    };
    assert_eq!(
        pieces(&looped, None).last(),
        Some(&Err(BadChain::Long { most: MOST }))
    );

    let mut astray = driver();
    astray.write(
        0,
        &descriptor((0x20_0000, 4), flags(Access::Read, true), SIZE),
    );
    astray.announce(0);
    assert_eq!(pieces(&astray, None).last(), Some(&Err(BadChain::Endless)));

    let mut nowhere = driver();
    nowhere.announce(SIZE);
    assert_eq!(pieces(&nowhere, None), [Err(BadChain::Endless)]);
}

#[test]
fn bad_tables_are_errors() {
    let mut nested = driver();
    let inner = nested.place(&descriptor((0x20_0000, 4), 0, 0));
    let outer = nested.place(&descriptor(inner, 4, 0));
    nested.offer_table(outer);
    assert_eq!(pieces(&nested, None), [Err(BadChain::Endless)]);

    for table in [
        (0x20_0000, 0),
        (0x20_0000, 17),
        (1 << 30, 32),
        (u64::MAX - 15, 16),
    ] {
        let mut driver = driver();
        driver.offer_table(table);
        assert_eq!(
            pieces(&driver, None),
            [Err(BadChain::Endless)],
            "{table:x?}"
        );
    }
}

proptest! {
    /// Against a plain walk over the table, whatever is in it.
    #[test]
    fn any_table_gives_what_a_walk_over_it_gives(
        table in proptest::collection::vec(
            (0_u64..80 << 20, 0_usize..3 << 20, 0_u16..4, 0..SIZE + 2),
            usize::from(SIZE),
        ),
        head in 0..SIZE + 1,
    ) {
        let mut driver = driver();
        for (index, (address, length, flags, next)) in (0_u64..).zip(&table) {
            let bytes = descriptor((*address, *length), *flags, *next);
            driver.write(16 * index, &bytes);
        }
        driver.announce(head);
        prop_assert_eq!(pieces(&driver, None), walk(&table, head));
    }
}

type Entry = (u64, usize, u16, u16);

fn walk(table: &[Entry], head: u16) -> Vec<Result<Piece, BadChain>> {
    let (mut found, mut next) = (Vec::new(), Some(head));
    for taken in 0.. {
        let Some(index) = next else { break };
        let Some((address, length, flags, following)) = table.get(usize::from(index)) else {
            found.push(Err(BadChain::Endless));
            break;
        };
        if taken == MOST {
            found.push(Err(BadChain::Long { most: MOST }));
            break;
        }
        next = (flags & 1 != 0).then_some(*following);
        let (address, length) = (*address, *length);
        if length > 0 && address + length as u64 > 64 << 20 {
            found.push(Err(BadChain::NotMemory { address, length }));
            break;
        }
        let access = if flags & 2 != 0 {
            Access::Write
        } else {
            Access::Read
        };
        if length > 0 {
            found.push(Ok(piece((address, length), access)));
        }
    }
    found
}
