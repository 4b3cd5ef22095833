/* cgroup v2: controllers, and the files by which runtimes drive them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

static const char *const controllers[] = { "cpu", "cpuset", "hugetlb", "io", "memory", "pids", NULL };

static const char *const files[] = {
	"cgroup.freeze", "cgroup.kill", "cpu.max", "cpu.pressure", "cpu.stat", "cpu.weight",
	"cpuset.cpus", "hugetlb.2MB.max", "io.max", "io.stat", "io.weight", "memory.events",
	"memory.high", "memory.max", "memory.oom.group", "memory.pressure",
	"memory.swap.max", "pids.max", NULL,
};

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int failed = fd < 0 || write(fd, text, strlen(text)) < 0;

	close(fd);
	return failed ? errno : 0;
}

void probe_cgroups(void)
{
	char text[128];

	for (const char *const *name = controllers; *name; name++) {
		snprintf(text, sizeof(text), "+%s", *name);
		errno = write_file("/cgroup/cgroup.subtree_control", text);
		snprintf(text, sizeof(text), "cgroup controller %s", *name);
		report(text, errno == 0);
	}
	mkdir("/cgroup/probe", 0755);
	for (const char *const *name = files; *name; name++) {
		snprintf(text, sizeof(text), "/cgroup/probe/%s", *name);
		report(text, access(text, F_OK) == 0);
	}
}
