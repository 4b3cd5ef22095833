/* System calls that programs in pods make. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <linux/landlock.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "report.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

static int try_io_uring(void)
{
	struct io_uring_params params = { 0 };

	return syscall(SYS_io_uring_setup, 4, &params) < 0 ? errno : 0;
}

static int try_aio(void)
{
	aio_context_t context = 0;

	return syscall(SYS_io_setup, 1, &context) < 0 ? errno : 0;
}

/* A filter that turns getppid into an error. */
static int try_seccomp(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return errno;
	errno = 0;
	return syscall(SYS_getppid) == -1 && errno == EXDEV ? 0 : EINVAL;
}

/* A rule set that forbids writing anywhere. */
static int try_landlock(void)
{
	struct landlock_ruleset_attr rules = { .handled_access_fs = LANDLOCK_ACCESS_FS_WRITE_FILE };
	int fd = syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);

	if (fd < 0)
		return errno;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return errno;
	return open("/dev/null", O_WRONLY) < 0 && errno == EACCES ? 0 : EINVAL;
}

static int try_perf(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_TASK_CLOCK,
	};

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0) < 0 ? errno : 0;
}

static int try_vm_readv(void)
{
	char from = 'x', to = 0;
	struct iovec local = { &to, 1 }, remote = { &from, 1 };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1 && to == 'x' ? 0 : errno;
}

/* getpid as a 32-bit program asks for it. */
static int try_ia32(void)
{
	long pid;

	__asm__ volatile("int $0x80" : "=a"(pid) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	return pid == getpid() ? 0 : ENOSYS;
}

static int try_madvise(void)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return madvise(page, 4096, MADV_DONTNEED) < 0 ? errno : 0;
}

static int works(long result) { return result >= 0; }

void probe_calls(void)
{
	sigset_t none;
	unsigned long long mask[4] = { 0 };
	int memory = memfd_create("probe", 0);

	sigemptyset(&none);
	report("io_uring", in_child(try_io_uring));
	report("aio", in_child(try_aio));
	report("seccomp filter", in_child(try_seccomp));
	report("landlock", in_child(try_landlock));
	report("perf events", in_child(try_perf));
	report("process_vm_readv", in_child(try_vm_readv));
	report("32-bit system calls", in_child(try_ia32));
	report("memfd_create", works(memory));
	report("memfd_secret", works(syscall(SYS_memfd_secret, 0)) || errno == ENOMEM);
	report("cachestat", works(syscall(SYS_cachestat, memory, mask, mask, 0)) || errno == EFAULT);
	report("userfaultfd", works(syscall(SYS_userfaultfd, O_CLOEXEC)));
	report("epoll", works(epoll_create1(0)));
	report("eventfd", works(eventfd(0, 0)));
	report("timerfd", works(timerfd_create(CLOCK_MONOTONIC, 0)));
	report("signalfd", works(signalfd(-1, &none, 0)));
	report("kcmp", works(syscall(SYS_kcmp, getpid(), getpid(), KCMP_VM, 0, 0)));
	report("membarrier", works(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0)));
	report("pidfd_open", works(syscall(SYS_pidfd_open, getpid(), 0)));
	report("keyctl", works(syscall(SYS_keyctl, 0, -3, 1)));
	report("protection keys", works(pkey_alloc(0, 0)) || errno == ENOSPC);
	report("madvise", in_child(try_madvise));
}
