/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A rival that lives in a process of its own, with nothing of ours in it. UCX rewrites libc's text to
 * hear of munmap, and ours stands in front of libc: in one process each would meet the other's.
 *
 * The rival's program serves requests on its standard input, a socket.
 */
#ifndef BENCH_REGCACHE_PEER_H
#define BENCH_REGCACHE_PEER_H

#include <stddef.h>
#include <sys/types.h>

#include "bench/regcache/work.h"

struct peer {
	pid_t pid;
	int socket;
};

/*
 * Starts a program that lies beside this process's or in folder. 0, -ENOENT when it is in neither, or
 * another -errno.
 */
int peer_start(struct peer *peer, const char *program, const char *folder);
void peer_stop(struct peer *peer);

/* work_begin, work_round, work_end over there. 0 or -errno; -EPIPE when it has died. */
int peer_begin(struct peer *peer, const struct work *w);
int peer_round(struct peer *peer, double *ns);
int peer_end(struct peer *peer);

/* In the rival's program: serves until the other side hangs up. Its exit status. */
int peer_serve(struct work_side *side);

#endif
