/* BPF programs: a socket filter, XDP, traffic control, and the one that is
 * cgroup v2's device controller. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"

/* Loads "return 0"; the file descriptor, or -1. */
static int load(enum bpf_prog_type type)
{
	struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = type,
		.insn_cnt = 2,
		.insns = (__u64)(unsigned long)program,
		.license = (__u64)(unsigned long)"",
	};

	return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int attach(int cgroup, int program)
{
	union bpf_attr attr = {
		.target_fd = cgroup,
		.attach_bpf_fd = program,
		.attach_type = BPF_CGROUP_DEVICE,
	};

	return syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr));
}

/* In a cgroup whose program forbids every device, /dev/null does not open. */
static int try_devices(void)
{
	int program = load(BPF_PROG_TYPE_CGROUP_DEVICE);
	int cgroup = open("/cgroup/probe", O_RDONLY | O_DIRECTORY);
	int procs = open("/cgroup/probe/cgroup.procs", O_WRONLY);

	if (program < 0 || attach(cgroup, program) < 0 || write(procs, "0", 1) != 1)
		return errno;
	return open("/dev/null", O_RDONLY) < 0 && errno == EPERM ? 0 : EINVAL;
}

static int try_map(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 4, .max_entries = 8,
	};

	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)) < 0 ? errno : 0;
}

void probe_bpf(void)
{
	report("BPF map", in_child(try_map));
	report("BPF socket filter", load(BPF_PROG_TYPE_SOCKET_FILTER) >= 0);
	report("BPF XDP", load(BPF_PROG_TYPE_XDP) >= 0);
	report("BPF traffic control", load(BPF_PROG_TYPE_SCHED_CLS) >= 0);
	report("BPF cgroup device controller", in_child(try_devices));
}
