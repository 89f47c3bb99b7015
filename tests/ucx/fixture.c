/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/ucx/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/child.h"

/* Set for the program that is started with hooks: where it is to write what happens. */
#define OVER_HOOKS "MRN_TEST_OVER_HOOKS"

static void install_over_hooks(int fd)
{
	char why[256] = "";
	const struct mrn_ucx_opts opts = {
		.size = sizeof(opts),
		.kinds = MRN_SOURCE_INTERPOSE,
		.why = why,
		.why_size = sizeof(why),
	};
	int r = mrn_ucx_install(&opts);

	dprintf(fd, "%d %s", r, why);
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	const char *mode = getenv(HOOK_MODE), *fd = getenv(OVER_HOOKS);

	if (fd) {
		install_over_hooks(atoi(fd));
		_exit(0);
	}
	if (!mode || strcmp(mode, "none")) {
		setenv(HOOK_MODE, "none", 1);
		execv("/proc/self/exe", argv);
		abort();
	}
}

void fixture_install(unsigned int kinds, uint64_t need)
{
	char why[512] = "";
	const struct mrn_ucx_opts opts = {
		.size = sizeof(opts),
		.kinds = kinds,
		.need = need,
		.why = why,
		.why_size = sizeof(why),
	};
	int r = mrn_ucx_install(&opts);

	if (r && kinds == MRN_SOURCE_DISPATCH)
		SKIP("no dispatch here: %s", why);
	CHECK_MSG(r == 0, "%d: %s", r, why);
}

int fixture_install_over_hooks(char *why, size_t size)
{
	char text[512] = "", number[16];
	int fds[2], found, r = 1, at = 0;
	ssize_t n;
	pid_t pid;

	CHECK_EQ(pipe(fds), 0);
	snprintf(number, sizeof(number), "%d", fds[1]);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		setenv(HOOK_MODE, "bistro", 1);
		setenv(OVER_HOOKS, number, 1);
		execl("/proc/self/exe", "over-hooks", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	CHECK_EQ(end_of(pid), 0);
	n = read(fds[0], text, sizeof(text) - 1);
	close(fds[0]);
	CHECK(n > 0);
	found = sscanf(text, "%d %n", &r, &at);
	CHECK_EQ(found, 1);
	snprintf(why, size, "%s", text + at);
	return r;
}
