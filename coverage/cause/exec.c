/* SPDX-License-Identifier: BSD-3-Clause */
/* Executing another program in this process. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <unistd.h>

#include "os/syscall.h"

static int change_exec(struct cause_place *p)
{
	const char *self = "/proc/self/exe";

	if (!p->next)
		return cause_lacks(p, "nobody is left to look afterwards");
	if (p->cause->raw)
		return (int)mrn_sys3(SYS_execve, (long)self, (long)p->next, (long)environ);
	execve(self, p->next, environ);
	return -errno;
}

const struct cause_way cause_exec = {.prepare = cause_prepare_anonymous, .change = change_exec};
