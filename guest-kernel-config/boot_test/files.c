/* Features that show as a file, a file system or a driver. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

static const char *const file_systems[] = {
	"autofs", "binfmt_misc", "bpf", "cgroup2", "devpts", "devtmpfs", "erofs", "ext4",
	"fuse", "hugetlbfs", "mqueue", "overlay", "proc", "sysfs", "tmpfs", "virtiofs", NULL,
};

static const char *const virtio_drivers[] = {
	"virtio_balloon", "virtio_blk", "virtio_console", "virtio_mem", "virtio_net",
	"virtio_pmem", "virtio_rng", "virtiofs", "vmw_vsock_virtio_transport", NULL,
};

static const char *const present[] = {
	"/dev/fuse", "/dev/hwrng", "/dev/kmsg", "/dev/loop-control", "/dev/net/tun",
	"/dev/ptmx", "/dev/ttyS0", "/dev/vsock",
	"/proc/config.gz", "/proc/keys", "/proc/net/nf_conntrack", "/proc/pressure/memory",
	"/proc/self/map_files", "/proc/sysrq-trigger",
	"/proc/sys/fs/inotify", "/proc/sys/fs/fanotify", "/proc/sys/fs/mqueue",
	"/proc/sys/kernel/msgmax", "/proc/sys/kernel/sem", "/proc/sys/kernel/shm_rmid_forced",
	"/proc/sys/kernel/yama/ptrace_scope",
	"/proc/sys/net/bridge/bridge-nf-call-iptables",
	"/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/net/ipv4/ping_group_range",
	"/proc/sys/net/ipv4/tcp_syncookies", "/proc/sys/net/ipv6/conf/all/forwarding",
	"/proc/sys/net/netfilter/nf_conntrack_max",
	"/sys/bus/virtio/devices/virtio0", "/sys/class/net/eth0", "/sys/class/block/vda",
	"/sys/kernel/mm/hugepages", "/sys/kernel/mm/transparent_hugepage",
	"/sys/kernel/security", NULL,
};

/* What must not be there: doors into the kernel, and interfaces that no CNI
 * plugin made. */
static const char *const absent[] = {
	"/dev/mem", "/dev/kmem", "/dev/port", "/dev/cpu/0/msr", "/proc/kcore", "/proc/modules",
	"/sys/class/net/dummy0", "/sys/class/net/ifb0", "/sys/class/net/sit0",
	"/sys/class/net/tunl0", "/sys/class/net/ip6tnl0", NULL,
};

/* Whether the file has `word` between white space or brackets. */
static int file_has(const char *path, const char *word)
{
	char text[65536];
	FILE *file = fopen(path, "r");
	size_t length = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	char *rest = text, *token;

	text[length] = 0;
	if (file)
		fclose(file);
	while ((token = strsep(&rest, " \t\n[]")))
		if (strcmp(token, word) == 0)
			return 1;
	errno = ENOENT;
	return 0;
}

static void probe_names(const char *const *names, const char *format)
{
	char path[128];

	for (; *names; names++) {
		snprintf(path, sizeof(path), format, *names);
		report(path, access(path, F_OK) == 0);
	}
}

void probe_files(void)
{
	char feature[128];

	for (const char *const *name = file_systems; *name; name++) {
		snprintf(feature, sizeof(feature), "file system %s", *name);
		report(feature, file_has("/proc/filesystems", *name));
	}
	probe_names(present, "%s");
	probe_names(virtio_drivers, "/sys/bus/virtio/drivers/%s");
	for (const char *const *path = absent; *path; path++) {
		snprintf(feature, sizeof(feature), "absence of %s", *path);
		errno = EEXIST;
		report(feature, access(*path, F_OK) != 0);
	}
	report("plugged memory goes online, movable",
	       file_has("/sys/devices/system/memory/auto_online_blocks", "online_movable"));
	report("kernel log for CAP_SYSLOG alone", file_has("/proc/sys/kernel/dmesg_restrict", "1"));
	report("vsyscall page", file_has("/proc/self/maps", "vsyscall"));
	report("256 CPUs", file_has("/sys/devices/system/cpu/kernel_max", "255"));
}
