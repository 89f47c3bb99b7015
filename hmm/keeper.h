/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptors of a space, where nobody can close or exchange them: in the table of a thread of the space's own, the
 * keeper, and of the handlers, which it starts and which share its table. The program's table has them by the same
 * numbers as long as the program leaves them alone.
 *
 * Nothing can look at a number and use it in one step: a program may put another file there in between. So the keeper
 * makes every call that would read, write, cut or map that file: all of the backing file's among them. The two that do
 * another file no harm, and are many, go by the caller's own table while the number there has our mark (os/fd.h): ioctl, whose
 * requests only a userfaultfd knows, and fallocate for room, which changes neither a file's contents nor its size.
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
	long tid; /* 0: it has not been started, and all numbers are fresh */

	/* Held by whoever has the keeper make a call, as long as that takes. */
	struct mrn_mutex lock;
	uint32_t turn; /* futex: whose turn it is; guards what follows */
	long nr, arg[6], result;
};

/*
 * Starts the keeper, and with it n handlers. The descriptors are open and stay under these numbers; backing may be <= 0.
 * 0 or -errno, with no thread left: -EPERM where the process may have no table of a thread's own.
 */
int mrn_hmm_keeper_start(struct mrn_hmm *hmm, unsigned int handlers);
/* After all else: no thread is left, and no descriptor. */
void mrn_hmm_keeper_stop(struct mrn_hmm *hmm);

/* By a handler, which the keeper has started: it has the keeper's table. */
void mrn_hmm_keeper_share_table(void);

/* A system call that takes the descriptor fd. Does not block for longer than that. */
long mrn_hmm_keeper_call(struct mrn_hmm_keeper *k, int fd, long nr, long a, long b, long c, long d,
			 long e, long f);
/* Closes fd in the keeper's table, and in the caller's if it is ours there. */
void mrn_hmm_keeper_close(struct mrn_hmm_keeper *k, int fd);
/* In a forked child, where no keeper is: closes the child's copy, if it is one. */
void mrn_hmm_keeper_forget(const struct mrn_hmm_keeper *k, int fd);

#endif
