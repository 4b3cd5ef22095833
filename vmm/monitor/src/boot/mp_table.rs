//! Processors and interrupt lines, as told by the tables of Intel's
//! MultiProcessor Specification 1.4 (chapter 4; D for its example).
//!
//! A floating pointer, which the kernel looks for, leads to a header with
//! entries behind it. Processor `n` has APIC id `n`; interrupt line `n` of the
//! one bus is input `n` of the one I/O APIC, active high and edge triggered.

use vm_memory::{Bytes, GuestMemoryError, GuestMemoryMmap};

use super::Cpus;
use crate::memory::layout::MP_TABLE;

/// Most processors: APIC ids are 8 bits, of which 0xff means all, and the I/O
/// APIC has one too.
pub const MOST_CPUS: u8 = 254;

/// Inputs of KVM's I/O APIC.
const LINES: u8 = 24;

const LOCAL_APIC: u32 = 0xfee0_0000;
const IO_APIC: u32 = 0xfec0_0000;
/// Integrated APICs with x2APIC, and an I/O APIC of this version.
const LOCAL_APIC_VERSION: u8 = 0x14;
const IO_APIC_VERSION: u8 = 0x11;

const FLOATING_POINTER: usize = 16;
const HEADER: usize = 44;
const SPEC_1_4: u8 = 4;

// Types of entries (table 4-3).
const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IO_APIC_ENTRY: u8 = 2;
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;

// Types of interrupts (table 4-11).
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;

const ENABLED: u8 = 1;
const BOOT_PROCESSOR: u8 = 2;
const ALL_APICS: u8 = 0xff;

pub(super) fn write(memory: &GuestMemoryMmap, cpus: Cpus) -> Result<(), GuestMemoryError> {
    memory.write_slice(&tables(cpus), MP_TABLE)
}

fn tables(cpus: Cpus) -> Vec<u8> {
    let (entries, count) = entries(cpus);
    let table = MP_TABLE.0 + FLOATING_POINTER as u64;
    let mut bytes = floating_pointer(u32::try_from(table).unwrap_or(0));
    bytes.extend(header(&entries, count));
    bytes.extend(entries);
    bytes
}

fn floating_pointer(table: u32) -> Vec<u8> {
    let mut bytes = b"_MP_".to_vec();
    bytes.extend(table.to_le_bytes());
    // Length in paragraphs, revision, checksum, and five feature bytes: zero
    // says that the tables are present and virtual wire mode is in use.
    bytes.extend([1, SPEC_1_4, 0, 0, 0, 0, 0, 0]);
    sealed(bytes, 10)
}

fn header(entries: &[u8], count: u16) -> Vec<u8> {
    let length = u16::try_from(HEADER + entries.len()).unwrap_or(u16::MAX);
    let mut bytes = b"PCMP".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend([SPEC_1_4, 0]);
    bytes.extend(b"KATAMSHV");
    bytes.extend(b"VM          ");
    // No table of the manufacturer's.
    bytes.extend([0; 6]);
    bytes.extend(count.to_le_bytes());
    bytes.extend(LOCAL_APIC.to_le_bytes());
    // No extended entries.
    bytes.extend([0; 4]);
    let sum = checksum(&bytes).wrapping_add(checksum(entries));
    if let Some(byte) = bytes.get_mut(7) {
        *byte = sum;
    }
    bytes
}

fn entries(cpus: Cpus) -> (Vec<u8>, u16) {
    let possible = cpus.possible.clamp(1, MOST_CPUS);
    // The I/O APIC's id is the first that no processor has.
    let io_apic = possible;
    let mut bytes = Vec::new();
    let mut count = 0;
    let mut add = |entry: &[u8]| {
        bytes.extend(entry);
        count += 1;
    };
    for id in 0..possible {
        let boot = if id == 0 { BOOT_PROCESSOR } else { 0 };
        let mut entry = [0; 20];
        entry[..4].copy_from_slice(&[PROCESSOR, id, LOCAL_APIC_VERSION, ENABLED | boot]);
        add(&entry);
    }
    add(&[BUS, 0, b'I', b'S', b'A', b' ', b' ', b' ']);
    let mut entry = [IO_APIC_ENTRY, io_apic, IO_APIC_VERSION, ENABLED, 0, 0, 0, 0];
    entry[4..].copy_from_slice(&IO_APIC.to_le_bytes());
    add(&entry);
    for line in 0..LINES {
        add(&[IO_INTERRUPT, INT, 0, 0, 0, line, io_apic, line]);
    }
    add(&[LOCAL_INTERRUPT, EXT_INT, 0, 0, 0, 0, 0, 0]);
    add(&[LOCAL_INTERRUPT, NMI, 0, 0, 0, 0, ALL_APICS, 1]);
    (bytes, count)
}

/// The byte that makes the sum of `bytes` and itself zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, b| sum.wrapping_sub(*b))
}

fn sealed(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    let sum = checksum(&bytes);
    if let Some(byte) = bytes.get_mut(at) {
        *byte = sum;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    /// A reader as the specification describes one: type byte, then a length
    /// that follows from the type.
    fn read(cpus: u8) -> Vec<Vec<u8>> {
        let bytes = tables(Cpus { possible: cpus });
        let (pointer, table) = bytes.split_at(FLOATING_POINTER);
        assert_eq!(&pointer[..4], b"_MP_");
        assert_eq!(sum(pointer), 0);
        assert_eq!(sum(table), 0);
        assert_eq!(&table[..4], b"PCMP");
        let length = u16::from_le_bytes([table[4], table[5]]);
        assert_eq!(usize::from(length), table.len());
        let count = u16::from_le_bytes([table[34], table[35]]);
        let mut rest = &table[HEADER..];
        let mut entries = Vec::new();
        while let Some(kind) = rest.first() {
            let (entry, next) = rest.split_at(if *kind == PROCESSOR { 20 } else { 8 });
            entries.push(entry.to_vec());
            rest = next;
        }
        assert_eq!(entries.len(), usize::from(count));
        entries
    }

    fn of_type(entries: &[Vec<u8>], kind: u8) -> Vec<&Vec<u8>> {
        entries.iter().filter(|entry| entry[0] == kind).collect()
    }

    #[test]
    fn every_processor_is_there_and_the_first_boots() {
        for cpus in [1, 4, MOST_CPUS] {
            let entries = read(cpus);
            let processors = of_type(&entries, PROCESSOR);
            assert_eq!(processors.len(), usize::from(cpus));
            for (id, entry) in processors.iter().enumerate() {
                assert_eq!(usize::from(entry[1]), id);
                assert_eq!(entry[3], if id == 0 { 3 } else { 1 });
            }
        }
    }

    #[test]
    fn every_line_leads_to_the_input_of_its_number() {
        let entries = read(2);
        let io_apic = of_type(&entries, IO_APIC_ENTRY)[0];
        assert_eq!(io_apic[1], 2, "an id that no processor has");
        assert_eq!(io_apic[4..], [0, 0, 0xc0, 0xfe]);
        let lines = of_type(&entries, IO_INTERRUPT);
        assert_eq!(lines.len(), 24);
        for (line, entry) in lines.iter().enumerate() {
            assert_eq!(usize::from(entry[5]), line);
            assert_eq!(usize::from(entry[7]), line);
            assert_eq!(entry[6], io_apic[1]);
            assert_eq!(entry[2..4], [0, 0], "as the bus has it: edge, high");
        }
        assert_eq!(of_type(&entries, BUS)[0][2..], *b"ISA   ");
        assert_eq!(of_type(&entries, LOCAL_INTERRUPT).len(), 2);
    }

    #[test]
    fn the_largest_tables_fit_below_the_kernel() {
        let length = tables(Cpus {
            possible: MOST_CPUS,
        })
        .len();
        assert!(MP_TABLE.0 + length as u64 <= crate::memory::layout::KERNEL_START);
    }
}
