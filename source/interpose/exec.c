/* SPDX-License-Identifier: BSD-3-Clause */
/* execve, execvpe, execveat, fexecve. */
#include <unistd.h>

#include "source/bracket/calls.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

MRN_INTERPOSED int execve(const char *path, char *const argv[], char *const env[])
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_exec_by_name(&b);
	r = MRN_REAL(execve)(path, argv, env);
	mrn_bracket_end(&b, true);
	return r;
}

MRN_INTERPOSED int execvpe(const char *file, char *const argv[], char *const env[])
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_exec_by_name(&b);
	r = MRN_REAL(execvpe)(file, argv, env);
	mrn_bracket_end(&b, true);
	return r;
}

/* Only newer C libraries declare it. */
MRN_INTERPOSED int execveat(int folder, const char *path, char *const argv[], char *const env[],
			    int flags);
MRN_INTERPOSED int execveat(int folder, const char *path, char *const argv[], char *const env[],
			    int flags)
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_exec_by_name(&b);
	r = MRN_REAL(execveat)(folder, path, argv, env, flags);
	mrn_bracket_end(&b, true);
	return r;
}

MRN_INTERPOSED int fexecve(int fd, char *const argv[], char *const env[])
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_exec_by_name(&b);
	r = MRN_REAL(fexecve)(fd, argv, env);
	mrn_bracket_end(&b, true);
	return r;
}
