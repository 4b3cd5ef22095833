//! Devices of the VMM's own with a real guest's drivers: Linux, started by
//! `kata-mshv-vmm`, with this program as its init.
//!
//! | module | runs |
//! |---|---|
//! | [`machine`], [`network`], [`memory`], [`disks`], [`growth`] | beside the VMM |
//! | [`guest`], [`slots`] | in its guest |
//! | [`interface`], [`pattern`] | in both |

#[path = "../../../fs/tests/device/archive.rs"]
mod archive; // One way to write an initramfs is enough.
mod disks;
mod growth;
mod guest;
mod interface;
mod machine;
mod memory;
mod network;
mod pattern;
mod slots;

use std::process::ExitCode;

use disks::Engine;
use lab::case;
use network::Mover;

fn main() -> ExitCode {
    if let Some(case) = guest::case() {
        guest::run(&case);
    }
    machine::suite()
        .case(case("packets_go_both_ways", || {
            network::packets_go_both_ways(Mover::Vmm)
        }))
        .case(case("packets_go_both_ways_by_the_hosts_kernel", || {
            network::packets_go_both_ways(Mover::Kernel)
        }))
        .case(case("an_interface_comes_and_goes", || {
            network::an_interface_comes_and_goes(Mover::Vmm)
        }))
        .case(case(
            "an_interface_of_the_hosts_kernel_comes_and_goes",
            || network::an_interface_comes_and_goes(Mover::Kernel),
        ))
        .case(case("a_driver_begins_anew", || {
            network::a_driver_begins_anew(Mover::Vmm)
        }))
        .case(case("a_driver_begins_anew_with_the_hosts_kernel", || {
            network::a_driver_begins_anew(Mover::Kernel)
        }))
        .case(case("each_processor_has_its_queues", || {
            network::each_processor_has_its_queues(Mover::Vmm)
        }))
        .case(case(
            "each_processor_has_its_queues_in_the_hosts_kernel",
            || network::each_processor_has_its_queues(Mover::Kernel),
        ))
        .case(case("packets_reach_memory_that_came_late", || {
            network::packets_reach_late_memory(Mover::Vmm)
        }))
        .case(case(
            "packets_of_the_hosts_kernel_reach_memory_that_came_late",
            || network::packets_reach_late_memory(Mover::Kernel),
        ))
        .case(case("disks_are_there_at_the_start", || {
            disks::there_at_the_start(Engine::Ring)
        }))
        .case(case("disks_work_where_io_uring_is_forbidden", || {
            disks::there_at_the_start(Engine::Forbidden)
        }))
        .case(case(
            "a_block_device_is_a_disk",
            disks::a_block_device_is_a_disk,
        ))
        .case(case(
            "a_disk_comes_and_goes_while_the_machine_runs",
            disks::comes_and_goes,
        ))
        .case(case(
            "disks_come_until_there_is_no_slot_left",
            disks::come_until_there_is_no_slot_left,
        ))
        .case(case(
            "a_driver_lets_go_of_a_busy_disk",
            disks::a_driver_lets_go_of_a_busy_disk,
        ))
        .case(case(
            "a_file_that_is_cut_off_is_an_error_in_the_guest",
            disks::a_file_that_is_cut_off,
        ))
        .case(case(
            "freed_memory_goes_back_to_the_host",
            memory::freed_memory_goes_back_to_the_host,
        ))
        .case(case(
            "a_balloon_takes_memory_and_gives_it_back",
            memory::a_balloon_takes_memory,
        ))
        .case(case(
            "memory_comes_to_a_running_guest_and_goes",
            growth::memory_comes_and_goes,
        ))
        .main()
}
