/* SPDX-License-Identifier: BSD-3-Clause */
/* A library's memory, which the dynamic linker unmaps. */
#include "coverage/cause/way.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "coverage/beside.h"
#include "coverage/cause/library.h"

/* The environment may name another one. */
static void *open_library(void)
{
	const char *named = getenv("MRN_CAUSE_LIBRARY");
	char path[4096];

	if (!named && !beside_find(path, sizeof(path), CAUSE_LIBRARY))
		named = path;
	return named ? dlopen(named, RTLD_NOW | RTLD_LOCAL) : NULL;
}

static int prepare_library(struct cause_place *p)
{
	const uintptr_t page = (uintptr_t)getpagesize();
	char *memory;

	p->library = open_library();
	if (!p->library)
		return cause_lacks(p, "the library to be closed, " CAUSE_LIBRARY ", is not here");
	memory = dlsym(p->library, "cause_library_memory");
	if (!memory)
		return cause_lacks(p, "the library to be closed is not this one");
	/* With a whole page to each side: the first and the last page may hold other parts of the file. */
	p->addr = memory + page + (-(uintptr_t)memory & (page - 1));
	if (p->length + 4 * page > CAUSE_LIBRARY_MEMORY)
		return cause_lacks(p, "pages are too large here");
	return 0;
}

static int change_dlclose(struct cause_place *p)
{
	if (dlclose(p->library))
		return -EINVAL;
	p->library = NULL;
	if (cause_is_mapped(p->addr))
		return cause_lacks(p, "this dynamic linker keeps libraries");
	cause_gone(p, p->addr, p->length);
	return 0;
}

static void drop_library(struct cause_place *p)
{
	if (p->library)
		dlclose(p->library);
}

const struct cause_way cause_dlclose = {.prepare = prepare_library,
					.change = change_dlclose,
					.drop = drop_library};
