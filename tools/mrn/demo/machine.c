/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the demo needs of the machine, and what to say if that is missing.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/demo/demo.h"

/* sysctl kernel.io_uring_disabled; 0 if it does not exist. */
static int io_uring_disabled(void)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int value = 0;

	if (f) {
		if (fscanf(f, "%d", &value) != 1)
			value = 0;
		fclose(f);
	}
	return value;
}

static int missing_ring(int error)
{
	int disabled = io_uring_disabled();

	if (error == -ENOSYS)
		cli_say("mrn demo",
			"this kernel has no io_uring, or hides it: it takes Linux 5.19 or "
			"later with CONFIG_IO_URING, and in a container a seccomp profile that "
			"allows io_uring_setup");
	else if (error == -EPERM && disabled)
		cli_say("mrn demo",
			"io_uring is switched off here: allow it with "
			"sysctl kernel.io_uring_disabled=0 (it is %d)",
			disabled);
	else if (error == -EPERM || error == -EACCES)
		cli_say("mrn demo",
			"io_uring is forbidden here: in a container, run it with a seccomp "
			"profile that allows io_uring_setup");
	else if (error == -ENOMEM)
		cli_say("mrn demo", "RLIMIT_MEMLOCK is too small for an io_uring: raise it with "
				    "ulimit -l");
	else if (error == -EINVAL)
		cli_say("mrn demo", "this kernel's io_uring has no sparse buffer tables: it takes "
				    "Linux 5.19 or later");
	else
		cli_say("mrn demo", "io_uring cannot be used here: %s", strerror(-error));
	return CLI_MISSING;
}

static int try_ring(void)
{
	struct io_uring ring;
	int r = io_uring_queue_init(4, &ring, 0);

	if (r)
		return missing_ring(r);
	r = io_uring_register_buffers_sparse(&ring, DEMO_SLOTS);
	io_uring_queue_exit(&ring);
	return r ? missing_ring(r) : 0;
}

static int attach(struct mrn_source **source)
{
	char why[512] = "";
	struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.need = MRN_COVER_PAGES,
		.why = why,
		.why_size = sizeof(why),
	};
	struct mrn_mm *mm = mrn_mm_self();
	int r = mm ? mrn_source_attach(mm, MRN_SOURCE_AUTO, &opts, source) : -ENOMEM;

	if (!r)
		return 0;
	cli_say("mrn demo", "changes of memory cannot be watched here: %s",
		*why ? why : strerror(-r));
	return r == -EOPNOTSUPP || r == -EPERM || r == -ENOSYS ? CLI_MISSING : CLI_FAILED;
}

int demo_machine_prepare(struct mrn_source **source)
{
	int r = try_ring();

	return r ? r : attach(source);
}
