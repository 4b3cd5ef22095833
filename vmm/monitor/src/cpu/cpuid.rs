//! What CPUID tells the guest: what KVM can do on this host, minus what a pod
//! has no use for, plus which processor it is that asks.
//!
//! The processors are cores of one package, without threads: mitigations that
//! depend on siblings need not be on, because a guest cannot know them.
//! Leaves are those of the Intel SDM vol. 2A (CPUID) and the AMD APM vol. 3,
//! appendix E.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// What all processors of a machine have in common.
#[derive(Clone, Debug)]
pub struct Template {
    entries: Vec<kvm_cpuid_entry2>,
    possible: u32,
}

/// One register of a leaf.
#[derive(Clone, Copy)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}
use Register::{Eax, Ebx, Ecx, Edx};

const TIMER_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;

/// Bits that are cleared: nested virtualization (VMX, SVM) and performance
/// counters, which are attack surface and state without use to a pod.
const CLEARED: [(u32, Register, u32); 3] = [
    (0x1, Ecx, 1 << 5),
    (0x8000_0001, Ecx, 1 << 2),
    // PerfCtrExtCore, PerfCtrExtNB, PerfCtrExtLLC.
    (0x8000_0001, Ecx, 1 << 23 | 1 << 24 | 1 << 28),
];

/// Bits that are set. KVM has the deadline timer always, but leaves it to its
/// user to say so (Documentation/virt/kvm/api.rst, KVM_CAP_TSC_DEADLINE_TIMER).
const SET: [(u32, Register, u32); 1] = [(0x1, Ecx, TIMER_DEADLINE | HYPERVISOR)];

/// Leaves that are left out: performance counters (Intel, AMD), SVM, and the
/// topology, which is written anew.
const DROPPED: [u32; 5] = [0xa, 0x8000_0022, 0x8000_000a, TOPOLOGY, 0x1f];

const TOPOLOGY: u32 = 0xb;

impl Template {
    /// From what KVM supports, for a machine that can have `possible`
    /// processors.
    #[must_use]
    pub fn new(supported: &CpuId, possible: u8) -> Self {
        let mut entries: Vec<_> = supported
            .as_slice()
            .iter()
            .filter(|entry| !DROPPED.contains(&entry.function))
            .copied()
            .collect();
        for (leaf, register, bits) in CLEARED {
            change(&mut entries, leaf, register, |value| value & !bits);
        }
        for (leaf, register, bits) in SET {
            change(&mut entries, leaf, register, |value| value | bits);
        }
        let possible = u32::from(possible.max(1));
        let mut template = Self { entries, possible };
        template.number_cores();
        template
    }

    /// What processor `id` is told.
    ///
    /// # Errors
    /// When there are more leaves than KVM takes.
    pub fn of_processor(&self, id: u8) -> Result<CpuId, vmm_sys_util::fam::Error> {
        let id = u32::from(id);
        let mut entries = self.entries.clone();
        change(&mut entries, 0x1, Ebx, |value| {
            value & 0x00ff_ffff | id << 24
        });
        change(&mut entries, 0x8000_001e, Eax, |_| id);
        change(&mut entries, 0x8000_001e, Ebx, |_| id & 0xff);
        if self.knows(TOPOLOGY) {
            entries.extend(self.topology(id));
        }
        CpuId::from_entries(&entries)
    }

    /// One that no processor can be told.
    #[cfg(test)]
    pub(super) fn too_long(mut self) -> Self {
        let one = self.entries.first().copied().unwrap_or_default();
        self.entries
            .resize(kvm_bindings::KVM_MAX_CPUID_ENTRIES + 1, one);
        self
    }

    fn knows(&self, leaf: u32) -> bool {
        let greatest = self.entries.iter().find(|entry| entry.function == 0);
        greatest.is_some_and(|entry| entry.eax >= leaf)
    }

    /// How many bits of an APIC id number the cores.
    fn core_bits(&self) -> u32 {
        self.possible.next_power_of_two().trailing_zeros()
    }

    /// The number of cores, where each vendor has it.
    fn number_cores(&mut self) {
        let (possible, bits) = (self.possible, self.core_bits());
        let entries = &mut self.entries;
        // Leaf 1: logical processors, and whether the field means anything.
        change(entries, 0x1, Ebx, |v| {
            v & !0x00ff_0000 | possible.min(255) << 16
        });
        change(entries, 0x1, Edx, |v| {
            v & !(1 << 28) | u32::from(possible > 1) << 28
        });
        // Leaf 4: cores of the package; private caches, a shared last one.
        for entry in entries.iter_mut().filter(|e| e.function == 0x4) {
            let shared = if entry.eax >> 5 & 7 >= 3 {
                possible - 1
            } else {
                0
            };
            let cores = (possible - 1).min(63);
            entry.eax = entry.eax & 0x3fff | shared << 14 | cores << 26;
        }
        // AMD: cores of the package, bits of an APIC id that number them; caches.
        change(entries, 0x8000_0008, Ecx, |v| {
            v & !0xf0ff | (possible - 1) | bits << 12
        });
        for entry in entries.iter_mut().filter(|e| e.function == 0x8000_001d) {
            let shared = if entry.eax >> 5 & 7 >= 3 {
                possible - 1
            } else {
                0
            };
            entry.eax = entry.eax & !(0xfff << 14) | shared << 14;
        }
        // AMD: one node.
        change(entries, 0x8000_001e, Ecx, |_| 0);
    }

    /// Leaf 0xb: threads of a core, cores of the package, the end.
    fn topology(&self, id: u32) -> [kvm_cpuid_entry2; 3] {
        const THREADS: u32 = 1;
        const CORES: u32 = 2;
        let level = |index, shift, count, kind: u32| kvm_cpuid_entry2 {
            function: TOPOLOGY,
            index,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax: shift,
            ebx: count,
            ecx: kind << 8 | index,
            edx: id,
            ..kvm_cpuid_entry2::default()
        };
        [
            level(0, 0, 1, THREADS),
            level(1, self.core_bits(), self.possible, CORES),
            level(2, 0, 0, 0),
        ]
    }
}

fn change(
    entries: &mut [kvm_cpuid_entry2],
    leaf: u32,
    register: Register,
    change: impl Fn(u32) -> u32,
) {
    for entry in entries.iter_mut().filter(|e| e.function == leaf) {
        let value = match register {
            Eax => &mut entry.eax,
            Ebx => &mut entry.ebx,
            Ecx => &mut entry.ecx,
            Edx => &mut entry.edx,
        };
        *value = change(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = registers;
        kvm_cpuid_entry2 {
            function,
            eax,
            ebx,
            ecx,
            edx,
            ..kvm_cpuid_entry2::default()
        }
    }

    fn told(possible: u8, id: u8) -> Vec<kvm_cpuid_entry2> {
        let supported = CpuId::from_entries(&[
            entry(0, [0x1f, 0, 0, 0]),
            entry(1, [0, 0xff08_0800, u32::MAX, 0]),
            entry(0x4, [0x1c00_4163, 0, 0, 0]),
            entry(0xa, [4, 0, 0, 0]),
            entry(0xb, [1, 2, 3, 4]),
            entry(0x1f, [1, 2, 3, 4]),
            entry(0x8000_0001, [0, 0, u32::MAX, 0]),
            entry(0x8000_0008, [0, 0, 0x7007, 0]),
            entry(0x8000_001e, [9, 9, 9, 9]),
        ]);
        let template = Template::new(&supported.unwrap(), possible);
        template.of_processor(id).unwrap().as_slice().to_vec()
    }

    fn leaf(entries: &[kvm_cpuid_entry2], function: u32) -> kvm_cpuid_entry2 {
        *entries.iter().find(|e| e.function == function).unwrap()
    }

    #[test]
    fn a_processor_knows_its_number() {
        let entries = told(4, 3);
        assert_eq!(leaf(&entries, 1).ebx, 0x0304_0800);
        assert_eq!(leaf(&entries, 1).edx, 1 << 28);
        assert_eq!(leaf(&entries, 0x8000_001e).eax, 3);
        assert_eq!(leaf(&entries, 0x8000_0008).ecx, 0x2003);
        let levels: Vec<_> = entries.iter().filter(|e| e.function == 0xb).collect();
        assert_eq!(levels.len(), 3);
        assert_eq!((levels[1].eax, levels[1].ebx, levels[1].edx), (2, 4, 3));
    }

    #[test]
    fn numbers_that_are_no_power_of_two_have_bits_enough() {
        let entries = told(5, 4);
        let cores = entries.iter().find(|e| e.function == 0xb && e.index == 1);
        assert_eq!(cores.map(|e| (e.eax, e.ebx)), Some((3, 5)));
        let alone = told(1, 0);
        assert_eq!(leaf(&alone, 1).edx, 0);
        assert_eq!(leaf(&alone, 0x8000_0008).ecx, 0);
    }

    #[test]
    fn what_a_pod_has_no_use_for_is_gone() {
        let entries = told(2, 0);
        let functions: Vec<u32> = entries.iter().map(|e| e.function).collect();
        assert!(!functions.contains(&0xa) && !functions.contains(&0x1f));
        let first = leaf(&entries, 1).ecx;
        assert_eq!(first & 1 << 5, 0, "VMX");
        assert_eq!(
            first & (HYPERVISOR | TIMER_DEADLINE),
            HYPERVISOR | TIMER_DEADLINE
        );
        assert_eq!(leaf(&entries, 0x8000_0001).ecx & 1 << 2, 0, "SVM");
    }

    #[test]
    fn a_processor_without_the_topology_leaf_gets_none() {
        let supported = CpuId::from_entries(&[entry(0, [0x7, 0, 0, 0])]).unwrap();
        let told = Template::new(&supported, 2).of_processor(1).unwrap();
        assert_eq!(told.as_slice().len(), 1);
    }
}
