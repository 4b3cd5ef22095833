/* Sockets, kinds of virtual interfaces, queueing disciplines. */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "report.h"

static const struct { const char *name; int family, type, protocol; } sockets[] = {
	{ "AF_UNIX", AF_UNIX, SOCK_SEQPACKET, 0 },
	{ "AF_INET", AF_INET, SOCK_STREAM, 0 },
	{ "AF_INET6", AF_INET6, SOCK_STREAM, 0 },
	{ "SCTP", AF_INET, SOCK_STREAM, IPPROTO_SCTP },
	{ "AF_PACKET", AF_PACKET, SOCK_RAW, 0 },
	{ "AF_VSOCK", AF_VSOCK, SOCK_STREAM, 0 },
	{ "AF_XDP", 44, SOCK_RAW, 0 },
	{ "netlink diag", AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG },
	{ "netlink netfilter", AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER },
};

static const char *const links[] = {
	"bridge", "dummy", "geneve", "ifb", "ip6tnl", "ipip", "ipvlan", "macvlan",
	"veth", "vlan", "vxlan", "wireguard", NULL,
};

static const char *const qdiscs[] = {
	"clsact", "fq", "fq_codel", "htb", "ingress", "netem", "prio", "tbf", NULL,
};

struct request {
	struct nlmsghdr header;
	union { struct ifinfomsg link; struct tcmsg qdisc; } body;
	char attributes[128];
};

/* Appends an attribute; returns it, so that a nest can be closed. */
static struct rtattr *append(struct request *r, unsigned short type, const void *data, size_t size)
{
	struct rtattr *attr = (void *)((char *)r + NLMSG_ALIGN(r->header.nlmsg_len));

	attr->rta_type = type;
	attr->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(attr), data, size);
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(attr->rta_len);
	return attr;
}

/* Sends the request; returns the kernel's errno, 0 for success. */
static int ask(struct request *r)
{
	struct { struct nlmsghdr header; struct nlmsgerr error; char rest[512]; } reply;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	int got;

	r->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
	send(fd, r, r->header.nlmsg_len, 0);
	got = recv(fd, &reply, sizeof(reply), 0);
	close(fd);
	return got < 0 ? errno : -reply.error.error;
}

/* A kind that the kernel knows is created or refused for its parameters; an
 * unknown one is EOPNOTSUPP. */
static void probe_link(const char *kind)
{
	struct request r = { .header = { NLMSG_LENGTH(sizeof(r.body.link)), RTM_NEWLINK, 0, 0, 0 } };
	struct rtattr *info = append(&r, IFLA_LINKINFO, "", 0);
	char feature[64];

	append(&r, IFLA_INFO_KIND, kind, strlen(kind) + 1);
	info->rta_len = (char *)&r + r.header.nlmsg_len - (char *)info;
	errno = ask(&r);
	snprintf(feature, sizeof(feature), "interface kind %s", kind);
	report(feature, errno != EOPNOTSUPP);
}

/* An unknown discipline is ENOENT. */
static void probe_qdisc(const char *kind)
{
	struct request r = { .header = { NLMSG_LENGTH(sizeof(r.body.qdisc)), RTM_NEWQDISC, 0, 0, 0 } };
	char feature[64];

	r.body.qdisc.tcm_ifindex = 1;
	r.body.qdisc.tcm_handle = 0x10000;
	r.body.qdisc.tcm_parent = TC_H_ROOT;
	append(&r, TCA_KIND, kind, strlen(kind) + 1);
	errno = ask(&r);
	snprintf(feature, sizeof(feature), "queueing discipline %s", kind);
	report(feature, errno != ENOENT);
}

void probe_network(void)
{
	char feature[64];

	for (size_t i = 0; i < sizeof(sockets) / sizeof(*sockets); i++) {
		snprintf(feature, sizeof(feature), "socket %s", sockets[i].name);
		report(feature, socket(sockets[i].family, sockets[i].type, sockets[i].protocol) >= 0);
	}
	for (const char *const *kind = links; *kind; kind++)
		probe_link(*kind);
	for (const char *const *kind = qdiscs; *kind; kind++)
		probe_qdisc(*kind);
}
