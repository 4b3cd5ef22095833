/* Every kind of namespace, and the mounts that containers make in them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const struct { const char *name; int flag; } kinds[] = {
	{ "cgroup", CLONE_NEWCGROUP }, { "ipc", CLONE_NEWIPC }, { "mount", CLONE_NEWNS },
	{ "network", CLONE_NEWNET }, { "pid", CLONE_NEWPID }, { "time", CLONE_NEWTIME },
	{ "user", CLONE_NEWUSER }, { "uts", CLONE_NEWUTS },
};

static int flag;

static int try_unshare(void) { return unshare(flag) < 0 ? errno : 0; }

/* lo is all that a new network namespace has. */
static int try_only_lo(void)
{
	char line[256];
	int lines = 0;
	FILE *file;

	if (unshare(CLONE_NEWNET) < 0)
		return errno;
	file = fopen("/proc/self/net/dev", "r");
	while (file && fgets(line, sizeof(line), file))
		lines++;
	return lines == 3 ? 0 : EEXIST;
}

static int try_overlay(void)
{
	const char *layers = "lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w";

	if (mount("tmpfs", "/mnt", "tmpfs", 0, NULL) < 0)
		return errno;
	mkdir("/mnt/l", 0755);
	mkdir("/mnt/u", 0755);
	mkdir("/mnt/w", 0755);
	mkdir("/mnt/m", 0755);
	close(open("/mnt/l/file", O_CREAT | O_WRONLY, 0644));
	if (mount("overlay", "/mnt/m", "overlay", 0, layers) < 0)
		return errno;
	if (unlink("/mnt/m/file") < 0)
		return errno;
	return access("/mnt/l/file", F_OK) == 0 ? 0 : errno;
}

static int try_type(const char *type)
{
	unshare(CLONE_NEWNS);
	return mount(type, "/mnt", type, 0, NULL) < 0 ? errno : 0;
}

static int try_mqueue(void) { return try_type("mqueue"); }
static int try_hugetlbfs(void) { return try_type("hugetlbfs"); }
static int try_binfmt_misc(void) { return try_type("binfmt_misc"); }
static int try_bpffs(void) { return try_type("bpf"); }

void probe_namespaces(void)
{
	char feature[64];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		snprintf(feature, sizeof(feature), "%s namespace", kinds[i].name);
		flag = kinds[i].flag;
		report(feature, in_child(try_unshare));
	}
	report("nothing but lo in a new network namespace", in_child(try_only_lo));
	report("overlay mount", in_child(try_overlay));
	report("mqueue mount", in_child(try_mqueue));
	report("hugetlbfs mount", in_child(try_hugetlbfs));
	report("binfmt_misc mount", in_child(try_binfmt_misc));
	report("bpf mount", in_child(try_bpffs));
}
