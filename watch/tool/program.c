/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/mrn/cli.h"
#include "watch/tool/program.h"
#include "watch/shared/target.h"

#define SAY(...) cli_say(command, __VA_ARGS__)

/* ------------------------------------------------------------------------------------- finding it */

static bool is_executable(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

static int refuse(const char *command, const char *name, const char *path)
{
	struct stat st;

	if (stat(path, &st)) {
		SAY("%s: %s", name, strerror(errno));
		return errno == ENOENT || errno == ENOTDIR ? WATCH_NO_FILE : WATCH_NO_EXEC;
	}
	SAY("%s: %s", name, S_ISREG(st.st_mode) ? strerror(EACCES) : "not a program");
	return WATCH_NO_EXEC;
}

int watch_find_program(const char *command, const char *name, char path[PATH_MAX])
{
	const char *dir = getenv("PATH"), *end;
	bool found = false;

	if (strchr(name, '/')) {
		snprintf(path, PATH_MAX, "%s", name);
		return is_executable(path) ? 0 : refuse(command, name, path);
	}
	for (dir = dir ? dir : "/bin:/usr/bin"; dir && *name; dir = *end ? end + 1 : NULL) {
		char one[PATH_MAX];

		end = strchrnul(dir, ':');
		/* An empty entry is the current folder. */
		snprintf(one, PATH_MAX, "%.*s%s%s", (int)(end - dir), dir, end == dir ? "./" : "/",
			 name);
		if (is_executable(one)) {
			snprintf(path, PATH_MAX, "%s", one);
			return 0;
		}
		if (!found && !access(one, F_OK)) {
			found = true;
			snprintf(path, PATH_MAX, "%s", one);
		}
	}
	if (found)
		return refuse(command, name, path);
	SAY("there is no program \"%s\"", name);
	return WATCH_NO_FILE;
}

/* ----------------------------------------------------------------------------------- looking at it */

int watch_check_program(const char *command, const char *path)
{
	const struct watch_file known = watch_target_loader("/proc/self/exe");
	struct watch_target target;
	char text[1024];

	watch_target_look(&target, AT_FDCWD, path, 0, &known);
	if (target.what == WATCH_FITS)
		return 0;
	watch_target_say(&target, text, sizeof(text));
	SAY("%s", text);
	return WATCH_CANNOT;
}
