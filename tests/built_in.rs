//! Cases on containerd 2.x with VMs run by the built-in VMM, which the shim
//! chooses by itself.

use std::process::ExitCode;

/// What runs where there is a lab only: the VMM's side of each subject, and what not
/// every host's kernel has. Some six seconds a pod is the lab's price.
const IN_LAB: &[&str] = &[
    "ctr::runs_and_removes",
    "ctr::terminal_has_the_size_of_ours",
    "ctr_exec::exit_codes",
    "lifecycle::states",
    "exec::stream_large_input_comes_back",
    "exec::many_at_once",
    "logs::all_of_a_large_output",
    "stop::term_is_handled",
    "stop::term_is_ignored",
    "containers::two_share_the_network_only",
    "containers::replaced_in_a_living_pod",
    "network::addresses_of_both_families",
    "network::node_reaches_pod",
    "network::pod_reaches_pod",
    "network::packets_are_moved_as_configured",
    "cards::ipvlan",
    "cards::vlan_in_the_namespace",
    "clock::after_the_hosts_was_set",
    "restart::pod_goes_on",
    "operator::ps_tells_of_the_vm",
    "operator::check_tells_what_will_be_used",
    "kernel::two_pods_have_two",
    "jail::",
    "host_cgroup::every_process_is_in_it",
    "sizing::cpu_and_memory",
    "sizing::fractions_of_two_containers_are_summed_first",
    "resize::limits_go_up_and_down",
    "volumes::goes_with_the_last_container",
    "driver::",
    "deaths::",
    "errors::kernel_is_damaged_inside",
    "errors::agent_of_another_version",
    "errors::vm_dies_while_booting",
    "many::eight_at_once",
];

fn main() -> ExitCode {
    e2e::harness::main_built_in(IN_LAB)
}
