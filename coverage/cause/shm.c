/* SPDX-License-Identifier: BSD-3-Clause */
/* SysV segments. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "os/syscall.h"

static int make_segment(struct cause_place *p)
{
	p->shm = shmget(IPC_PRIVATE, p->length, IPC_CREAT | 0600);
	if (p->shm >= 0)
		return 0;
	return errno == ENOSYS ? cause_lacks(p, "this kernel has no SysV segments") : -errno;
}

static int prepare_attached(struct cause_place *p)
{
	int r = cause_prepare_anonymous(p);

	if (!r)
		r = make_segment(p);
	return r ? r : cause_result(mrn_sys3(SYS_shmat, p->shm, (long)p->addr, SHM_REMAP));
}

static int change_shmdt(struct cause_place *p)
{
	int r = (int)CAUSE_CALL(p, SYS_shmdt, (long)p->addr);

	if (!r)
		cause_gone(p, p->addr, p->length);
	return r;
}

const struct cause_way cause_shmdt = {.prepare = prepare_attached, .change = change_shmdt};

static int prepare_segment(struct cause_place *p)
{
	int r = cause_prepare_anonymous(p);

	return r ? r : make_segment(p);
}

static int change_shmat_remap(struct cause_place *p)
{
	return cause_result(CAUSE_CALL(p, SYS_shmat, p->shm, (long)p->addr, SHM_REMAP));
}

const struct cause_way cause_shmat_remap = {.prepare = prepare_segment,
					    .change = change_shmat_remap};
