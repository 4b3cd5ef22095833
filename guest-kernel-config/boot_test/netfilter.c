/* nf_tables, connection tracking, and the tables of legacy iptables. */
#include <errno.h>
#include <netinet/in.h> /* before linux/netfilter.h, which would bring its own */

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "report.h"

struct message {
	struct nlmsghdr header;
	struct nfgenmsg body;
};

/* A batch that creates a table named t. */
struct batch {
	struct message begin, table;
	struct nlattr name;
	char text[4];
	struct message end;
};

static struct message message(int type, int flags, int family, int resource, size_t size)
{
	return (struct message){
		{ size, type, NLM_F_REQUEST | flags, 0, 0 }, { family, NFNETLINK_V0, htons(resource) },
	};
}

/* The error in the kernel's answer, 0 for none. */
static int exchange(const void *data, size_t size)
{
	char reply[4096];
	struct nlmsghdr *header = (void *)reply;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	int got;

	send(fd, data, size, 0);
	got = recv(fd, reply, sizeof(reply), 0);
	close(fd);
	if (got < 0)
		return errno;
	return header->nlmsg_type == NLMSG_ERROR ? -((struct nlmsgerr *)NLMSG_DATA(header))->error : 0;
}

static int try_table(int family)
{
	size_t one = sizeof(struct message);
	struct batch batch = {
		.begin = message(NFNL_MSG_BATCH_BEGIN, 0, 0, NFNL_SUBSYS_NFTABLES, one),
		.table = message(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_ACK | NLM_F_CREATE,
				 family, 0, one + sizeof(struct nlattr) + 4),
		.name = { sizeof(struct nlattr) + 2, NFTA_TABLE_NAME },
		.text = "t",
		.end = message(NFNL_MSG_BATCH_END, 0, 0, NFNL_SUBSYS_NFTABLES, one),
	};

	return exchange(&batch, sizeof(batch));
}

static int try_conntrack(void)
{
	struct message dump = message(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP,
				      AF_UNSPEC, 0, sizeof(dump));

	return exchange(&dump, sizeof(dump));
}

/* IPT_SO_GET_INFO and IP6T_SO_GET_INFO have one number and one answer. */
static int has_legacy_table(int family, int level, const char *name)
{
	char info[128] = "";
	socklen_t size = 84;
	int fd = socket(family, SOCK_RAW, IPPROTO_RAW);
	int result;

	strcpy(info, name);
	result = getsockopt(fd, level, 64, info, &size);
	close(fd);
	return result == 0;
}

static const struct { const char *name; int family; } families[] = {
	{ "inet", NFPROTO_INET }, { "ip", NFPROTO_IPV4 }, { "ip6", NFPROTO_IPV6 },
	{ "bridge", NFPROTO_BRIDGE }, { "netdev", NFPROTO_NETDEV },
};

static const char *const tables[] = { "filter", "mangle", "nat", "raw", NULL };

void probe_netfilter(void)
{
	char feature[64];

	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++) {
		snprintf(feature, sizeof(feature), "nf_tables family %s", families[i].name);
		errno = try_table(families[i].family);
		report(feature, errno == 0);
	}
	errno = try_conntrack();
	report("connection tracking by netlink", errno == 0);
	for (const char *const *table = tables; *table; table++) {
		snprintf(feature, sizeof(feature), "iptables legacy table %s", *table);
		report(feature, has_legacy_table(AF_INET, IPPROTO_IP, *table));
		snprintf(feature, sizeof(feature), "ip6tables legacy table %s", *table);
		report(feature, has_legacy_table(AF_INET6, IPPROTO_IPV6, *table));
	}
}
