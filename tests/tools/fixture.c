/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/tools/fixture.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t read_all(FILE *f, char *to, size_t size)
{
	size_t n;

	rewind(f);
	n = fread(to, 1, size - 1, f);
	to[n] = '\0';
	return n;
}

void run_tool(struct outcome *o, const char *const *args)
{
	FILE *out = tmpfile(), *err = tmpfile();
	const char *argv[16] = {getenv("MRN_TOOL")};
	pid_t pid;

	if (!argv[0])
		SKIP("MRN_TOOL does not say where the mrn command is");
	for (int i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	CHECK(out && err);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(err), STDERR_FILENO);
		execv(argv[0], (char **)(uintptr_t)argv);
		_exit(126);
	}
	CHECK_EQ(waitpid(pid, &o->status, 0), pid);
	CHECK(WIFEXITED(o->status));
	o->status = WEXITSTATUS(o->status);
	read_all(out, o->out, sizeof(o->out));
	read_all(err, o->err, sizeof(o->err));
	fclose(out);
	fclose(err);
	if (o->status == 77)
		SKIP("%s", o->err);
}

struct json_object *member(struct json_object *in, const char *key, enum json_type type)
{
	struct json_object *value;

	CHECK_MSG(json_object_object_get_ex(in, key, &value), "no \"%s\"", key);
	CHECK_MSG(json_object_get_type(value) == type, "\"%s\" has another type", key);
	return value;
}

int64_t figure(struct json_object *way, const char *key)
{
	return json_object_get_int64(member(way, key, json_type_int));
}

unsigned int lines(const char *text)
{
	unsigned int n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

size_t longest_line(const char *text)
{
	size_t longest = 0;

	while (*text) {
		size_t n = strcspn(text, "\n");

		longest = n > longest ? n : longest;
		text += n + (text[n] == '\n');
	}
	return longest;
}

const char *watched(void)
{
	const char *path = getenv("MRN_WATCHED");

	if (!path)
		SKIP("MRN_WATCHED does not say where the program is");
	return path;
}

const char *number(int n)
{
	static char text[4][16];
	static int next;
	char *t = text[next++ % 4];

	snprintf(t, sizeof(text[0]), "%d", n);
	return t;
}
