/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests/tools/watch_sites.c has watched:
 *
 *	watched-sites net			a library that is named like ours
 *	watched-sites replaced LIBRARY FUNCTION	code made at run time, and a library where it was
 *	watched-sites hole BYTES		whether children find memory where their parent has unmapped it
 *	watched-sites exec N			as often an exec that fails
 *	watched-sites vfork N
 *	watched-sites NAME			one call, from a function that is named so where this is compiled
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

#ifndef NAME
#define NAME watched_by_name
#endif

void NAME(void *p);
__attribute__((noinline)) void NAME(void *p)
{
	if (madvise(p, PAGE, MADV_DONTNEED))
		_exit(98);
}

#ifndef ONLY_NAME
static char *map(void *at, size_t size, int prot)
{
	char *p = mmap(at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED_NOREPLACE : 0),
		       -1, 0);

	if (p == MAP_FAILED)
		_exit(99);
	return p;
}

void net_change(void *p, uintptr_t instead_of_frame);

static void *on_own_stack(void *p)
{
	char here;

	/* Where a frame would be, nothing can be read: above this stack. */
	net_change(p, ((uintptr_t)&here & ~(uintptr_t)7) + 400000);
	return NULL;
}

static void be_net(void)
{
	char *stack = map(NULL, 1 << 20, PROT_NONE) + 65536, *p = map(NULL, PAGE, PROT_READ);
	pthread_attr_t attr;
	pthread_t t;

	if (mprotect(stack, 131072, PROT_READ | PROT_WRITE) || pthread_attr_init(&attr) ||
	    pthread_attr_setstack(&attr, stack, 131072) ||
	    pthread_create(&t, &attr, on_own_stack, p) || pthread_join(t, NULL))
		_exit(97);
}

static uintptr_t place_of(void *handle)
{
	struct link_map *m;

	if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &m))
		_exit(96);
	return m->l_addr;
}

static void be_replaced(const char *library, const char *function)
{
#ifdef __x86_64__
	/* sub $8, %rsp; call *%rcx; add $8, %rsp; ret */
	static const unsigned char code[] = {0x48, 0x83, 0xec, 8, 0xff, 0xd1,
					     0x48, 0x83, 0xc4, 8, 0xc3};
	typedef int advise(void *p, size_t n, int advice, int (*f)(void *p, size_t n, int advice));
	void *handle = dlopen(library, RTLD_NOW);
	uintptr_t where = place_of(handle);
	char *p = map(NULL, PAGE, PROT_READ | PROT_WRITE), *made;

	if (dlclose(handle))
		_exit(95);
	made = map((void *)where, 5 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	memcpy(made + PAGE, code, sizeof(code));
	if (((advise *)(uintptr_t)(made + PAGE))(p, PAGE, MADV_DONTNEED, madvise) ||
	    munmap(made, 5 * PAGE))
		_exit(94);
	handle = dlopen(library, RTLD_NOW);
	if (place_of(handle) != where)
		_exit(77);
	((void (*)(void *))dlsym(handle, function))(p);
#endif
}

/* In a child, and in a child's child. */
static int in_descendants(char *p, size_t size, int generations)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int fd[2];

		if (pipe(fd))
			_exit(2);
		for (size_t at = 0; at < size; at += PAGE)
			if (write(fd[1], p + at, 1) > 0)
				_exit(1);
		close(fd[0]);
		close(fd[1]);
		/* It may have it back. */
		if (map(p, size, PROT_READ) != p || munmap(p, size))
			_exit(3);
		_exit(generations > 1 ? in_descendants(p, size, generations - 1) : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 4;
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	const char *way = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(way, "net")) {
		be_net();
	} else if (!strcmp(way, "replaced") && argc > 3) {
		be_replaced(argv[2], argv[3]);
	} else if (!strcmp(way, "hole")) {
		char *p = map(NULL, (size_t)n, PROT_READ);

		if (munmap(p, (size_t)n))
			_exit(93);
		return in_descendants(p, (size_t)n, 3);
	} else if (!strcmp(way, "exec")) {
		for (int i = 0; i < n; i++)
			execve("/nonexistent/x", argv, environ);
	} else if (!strcmp(way, "vfork")) {
		for (int i = 0; i < n; i++) {
			pid_t pid = vfork();

			if (!pid)
				_exit(0);
			waitpid(pid, NULL, 0);
		}
	} else {
		NAME(map(NULL, PAGE, PROT_READ));
	}
	return 0;
}
#else
int main(void)
{
	NAME(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	return 0;
}
#endif
