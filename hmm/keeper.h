/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptors of a space, where the program cannot close or replace them: in the descriptor table of a thread of
 * the space, the keeper, and of the handlers, which it starts and which share its table. The program's table has them
 * under the same numbers as long as the program leaves them alone.
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

struct mrn_hmm;

struct mrn_hmm_keeper {
	pthread_t thread;
	long tid; /* 0: not started yet, and the program does not know the numbers */

	/* Held by a thread while the keeper makes a call for it. */
	struct mrn_mutex lock;
	uint32_t turn; /* futex: whose turn it is; guards the fields below */
	long nr, arg[6], result;
};

/*
 * Starts the keeper, and with it the handlers. The descriptors are open and keep their numbers; backing's may be <= 0.
 * 0, or -errno with no thread left: -EPERM if the process may not give a thread its own descriptor table.
 */
int mrn_hmm_keeper_start(struct mrn_hmm *hmm, unsigned int handlers);
/* Call last: no thread and no descriptor is left. */
void mrn_hmm_keeper_stop(struct mrn_hmm *hmm);

/* Called by a handler, which the keeper started: notes that the handler shares the keeper's table. */
void mrn_hmm_keeper_share_table(void);

/* Makes a system call that takes the descriptor fd. Blocks no longer than the call. */
long mrn_hmm_keeper_call(struct mrn_hmm_keeper *k, int fd, long nr, long a, long b, long c, long d,
			 long e, long f);
/* Closes fd in the keeper's table, and in the caller's if it names our file there. */
void mrn_hmm_keeper_close(struct mrn_hmm_keeper *k, int fd);
/* In a forked child, which has no keeper: closes fd if it is a copy of our descriptor. */
void mrn_hmm_keeper_forget(const struct mrn_hmm_keeper *k, int fd);

#endif
