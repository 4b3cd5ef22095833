/* How the probes say what they found. */
#ifndef REPORT_H
#define REPORT_H

/* Prints "ok FEATURE", or "MISSING FEATURE: " and the text of errno. */
void report(const char *feature, int works);

/* Runs `try` in a process of its own, whose namespaces, filters and limits
 * vanish with it. True when it returned 0; else errno is what it returned. */
int in_child(int (*try)(void));

/* One subject each. They expect /proc, /sys, /dev and /cgroup mounted. */
void probe_files(void);
void probe_calls(void);
void probe_ipc(void);
void probe_namespaces(void);
void probe_cgroups(void);
void probe_network(void);
void probe_netfilter(void);
void probe_bpf(void);

#endif
