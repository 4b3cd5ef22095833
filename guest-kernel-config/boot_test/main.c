/* PID 1 of a test guest: tries every feature that the kernel promises to
 * pods, reports on the console and powers off. The host's side is run.sh. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

void report(const char *feature, int works)
{
	if (works)
		printf("ok %s\n", feature);
	else
		printf("MISSING %s: %s\n", feature, strerror(errno));
}

int in_child(int (*try)(void))
{
	int status = 0;
	pid_t child = fork();

	if (child == 0)
		_exit(try());
	waitpid(child, &status, 0);
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
	return errno == 0;
}

static void mount_all(void)
{
	mkdir("/cgroup", 0755);
	mkdir("/mnt", 0755);
	report("mount proc", mount("proc", "/proc", "proc", 0, NULL) == 0);
	report("mount sysfs", mount("sysfs", "/sys", "sysfs", 0, NULL) == 0);
	report("mount cgroup2", mount("cgroup2", "/cgroup", "cgroup2", 0, NULL) == 0);
}

/* Before devtmpfs hides it: what the initramfs itself brought. */
static void probe_initramfs(void)
{
	struct stat console, null;

	report("initramfs /dev/console", stat("/dev/console", &console) == 0 && S_ISCHR(console.st_mode));
	report("initramfs /dev/null", stat("/dev/null", &null) == 0 && S_ISCHR(null.st_mode));
	report("initramfs /run", access("/run", W_OK) == 0);
	report("mount devtmpfs", mount("dev", "/dev", "devtmpfs", 0, NULL) == 0);
}

static void say_release_and_time(void)
{
	struct utsname name;
	struct timespec up;

	uname(&name);
	clock_gettime(CLOCK_BOOTTIME, &up);
	printf("release %s\n", name.release);
	printf("booted in %ld ms\n", up.tv_sec * 1000 + up.tv_nsec / 1000000);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	say_release_and_time();
	probe_initramfs();
	mount_all();
	probe_files();
	probe_calls();
	probe_ipc();
	probe_namespaces();
	probe_cgroups();
	probe_network();
	probe_netfilter();
	probe_bpf();
	puts("done");
	sync();
	reboot(RB_AUTOBOOT);
	return EXIT_FAILURE;
}
