/* SPDX-License-Identifier: BSD-3-Clause */
/* Copy-on-write: who writes gets a copy, while a child has the page too. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/syscall.h"

/* The process's forked half, as it is: nothing of it may run but system calls. */
_Noreturn static void stay(void)
{
	mrn_sys2(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		mrn_sys4(SYS_ppoll, 0, 0, 0, 0);
}

static int change_fork_write(struct cause_place *p)
{
	p->child = fork();
	if (p->child < 0)
		return -errno;
	if (!p->child)
		stay();
	memset(p->addr, 'A', p->length);
	return 0;
}

static void drop_child(struct cause_place *p)
{
	if (p->child <= 0)
		return;
	kill(p->child, SIGKILL);
	waitpid(p->child, NULL, 0);
}

const struct cause_way cause_fork_write = {.prepare = cause_prepare_anonymous,
					   .change = change_fork_write,
					   .drop = drop_child};
