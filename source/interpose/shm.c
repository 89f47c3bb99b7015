/* SPDX-License-Identifier: BSD-3-Clause */
/* shmat over a mapping, shmdt. */
#include <sys/shm.h>

#include "source/bracket/calls.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

MRN_INTERPOSED void *shmat(int id, const void *addr, int flags)
{
	struct mrn_bracket b;
	void *r;

	mrn_bracket_shmat(&b, id, addr, flags);
	r = MRN_REAL(shmat)(id, addr, flags);
	mrn_bracket_end(&b, r == (void *)-1);
	return r;
}

MRN_INTERPOSED int shmdt(const void *addr)
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_shmdt(&b, addr);
	r = MRN_REAL(shmdt)(addr);
	mrn_bracket_end(&b, r < 0);
	return r;
}
