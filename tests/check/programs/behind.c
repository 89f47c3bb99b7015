/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-behind CASE: functions of a library that is not in the program's scope. local, tail: a plugin, MRN_CHECK_PLUGIN,
 * has it, and calls it in the middle or at the end of a function, or again, when nothing is looked for; weak: nobody has
 * it, and the program asks whether it is there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct io_uring;

int io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags)
	__attribute__((weak));
int io_uring_submit(struct io_uring *ring) __attribute__((weak));
int io_uring_unregister_buffers(struct io_uring *ring) __attribute__((weak));
void io_uring_queue_exit(struct io_uring *ring) __attribute__((weak));
int cudaHostRegister(void *addr, unsigned long length, unsigned int flags) __attribute__((weak));

static _Alignas(8) char memory[4096];
static struct io_uring *const ring = (void *)memory;

static int weak(void)
{
	if (io_uring_queue_init && io_uring_queue_init(8, ring, 0) != -ENOSYS)
		return 2;
	if (io_uring_unregister_buffers && io_uring_unregister_buffers(ring) != -ENOSYS)
		return 3;
	if (io_uring_submit && io_uring_submit(ring) != -ENOSYS)
		return 4;
	if (io_uring_queue_exit)
		io_uring_queue_exit(ring);
	if (cudaHostRegister && cudaHostRegister(memory, sizeof(memory), 0) != 999)
		return 5;
	return 0;
}

static int call(void *plugin, const char *name)
{
	int (*function)(void *) = (int (*)(void *))dlsym(plugin, name);

	if (!function) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	return function(memory);
}

/* Looking for something loses what dlerror would say, and waits for whoever loads something. */
static int again(void *plugin)
{
	int (*function)(void *) = (int (*)(void *))dlsym(plugin, "plugin_register_pages");
	const char *error;

	if (!function || function(memory) || dlopen("/dev/null/none", RTLD_NOW) || function(memory))
		return 8;
	error = dlerror();
	return error && strstr(error, "/dev/null/none") ? 0 : 9;
}

int main(int argc, char **argv)
{
	const char *path = getenv("MRN_CHECK_PLUGIN");
	void *plugin;

	if (argc == 2 && !strcmp(argv[1], "weak"))
		return weak();
	plugin = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	if (argc != 2 || !plugin) {
		fprintf(stderr, "check-behind CASE, with MRN_CHECK_PLUGIN\n");
		return 1;
	}
	if (!strcmp(argv[1], "again"))
		return again(plugin);
	/* The second time it is known. */
	for (int i = 0; i < 2; i++) {
		if (!strcmp(argv[1], "tail") && call(plugin, "plugin_register_at_end") != 7)
			return 6;
		if (!strcmp(argv[1], "local") &&
		    (call(plugin, "plugin_queue") != -8 || call(plugin, "plugin_register") != 8))
			return 7;
	}
	return 0;
}
