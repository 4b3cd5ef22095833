/* System V IPC, POSIX message queues, and events about files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

static void touch(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0600)); }

static int try_inotify(void)
{
	char event[512];
	int fd = inotify_init1(IN_NONBLOCK);

	if (fd < 0 || inotify_add_watch(fd, "/run", IN_CREATE) < 0)
		return errno;
	touch("/run/inotify");
	return read(fd, event, sizeof(event)) > 0 ? 0 : errno;
}

/* Permission events included. */
static int try_fanotify(void)
{
	struct fanotify_event_metadata event;
	int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_NONBLOCK, O_RDONLY);

	if (fd < 0)
		return errno;
	if (fanotify_mark(fd, FAN_MARK_ADD, FAN_CLOSE_WRITE | FAN_OPEN_PERM, AT_FDCWD, "/dev/full") < 0 ||
	    fanotify_mark(fd, FAN_MARK_ADD, FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, AT_FDCWD, "/run") < 0)
		return errno;
	touch("/run/fanotify");
	return read(fd, &event, sizeof(event)) > 0 ? 0 : errno;
}

static int try_mqueue(void)
{
	mqd_t queue = mq_open("/probe", O_CREAT | O_RDWR, 0600, NULL);
	char text[8192] = "";

	if (queue < 0 || mq_send(queue, "x", 1, 0) < 0)
		return errno;
	return mq_receive(queue, text, sizeof(text), NULL) == 1 && text[0] == 'x' ? 0 : EINVAL;
}

void probe_ipc(void)
{
	report("inotify", in_child(try_inotify));
	report("fanotify", in_child(try_fanotify));
	report("POSIX message queues", in_child(try_mqueue));
	report("System V shared memory", shmget(IPC_PRIVATE, 4096, 0600) >= 0);
	report("System V semaphores", semget(IPC_PRIVATE, 1, 0600) >= 0);
	report("System V messages", msgget(IPC_PRIVATE, 0600) >= 0);
}
