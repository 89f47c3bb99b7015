/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors where the program cannot close or replace them: in the descriptor table of a thread, the keeper, and of
 * the threads that it starts, which share its table. The program's table has them under the same numbers as long as the
 * program leaves them alone.
 *
 * A number cannot be checked and used in one step: the program may put another file there in between. So the keeper
 * makes every call that would read, write, truncate or map that file, including all on the backing file. Two frequent
 * calls cannot harm another file, and use the caller's own table while the number there has our mark (os/fd.h): ioctl,
 * whose requests only a userfaultfd knows, and fallocate for room, which changes neither a file's contents nor its
 * size.
 */
#ifndef MRN_HMM_KEEPER_H
#define MRN_HMM_KEEPER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/mutex.h"

struct mrn_hmm_keeper {
	pthread_t thread;
	long tid; /* 0: not started yet, and the program does not know the numbers */

	/* Held by a thread while the keeper makes a call for it. */
	struct mrn_mutex lock;
	uint32_t turn; /* futex: whose turn it is; guards the fields below */
	long nr, arg[6], result;
};

/*
 * Starts the keeper of n descriptors, which keep their numbers; negative ones are skipped. The first `ours` of them are
 * no file of the program's, and get our mark. Then calls begin(arg) in the keeper: threads that it creates share the
 * table. 0, or -errno with no thread left, begin's too: -EPERM if the process may not give a thread its own table.
 */
int mrn_hmm_keeper_start(struct mrn_hmm_keeper *k, const int *fds, size_t n, size_t ours,
			 int (*begin)(void *arg), void *arg);
/* Call last: no thread and no descriptor is left. */
void mrn_hmm_keeper_stop(struct mrn_hmm_keeper *k);

/* Called by a thread that begin has created: notes that it shares the keeper's table. */
void mrn_hmm_keeper_share_table(void);

/* Makes a system call that takes the descriptor fd. Blocks no longer than the call. */
long mrn_hmm_keeper_call(struct mrn_hmm_keeper *k, int fd, long nr, long a, long b, long c, long d,
			 long e, long f);
/* Closes fd in the keeper's table, and in the caller's if it names our file there. */
void mrn_hmm_keeper_close(struct mrn_hmm_keeper *k, int fd);
/* In a forked child, which has no keeper: closes fd if it is a copy of our descriptor. */
void mrn_hmm_keeper_forget(const struct mrn_hmm_keeper *k, int fd);

#endif
