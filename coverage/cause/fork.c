/* SPDX-License-Identifier: BSD-3-Clause */
/* Copy-on-write: while a child shares the page, a writer gets a copy. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/syscall.h"

/* The forked child: only system calls may run in it. */
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
