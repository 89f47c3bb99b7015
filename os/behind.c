/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/behind.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "os/check.h"

/* --------------------------------------------------------------------------------- call sites */

/*
 * What callers have been given that is not in the program's scope: each its own, as modules that were opened apart may
 * have different libraries. When this is full, it is looked up each time.
 */
#define SITES 256
static struct site {
	const void *caller; /* atomic: NULL until the others are set */
	const struct mrn_behind *behind;
	void *found;
} sites[SITES];
static uint32_t nr_sites; /* atomic: more than SITES if it has been full */

static void *known_at(const struct mrn_behind *behind, const void *caller)
{
	const uint32_t n = __atomic_load_n(&nr_sites, __ATOMIC_RELAXED);

	for (uint32_t i = 0; i < n && i < SITES; i++)
		if (__atomic_load_n(&sites[i].caller, __ATOMIC_ACQUIRE) == caller &&
		    sites[i].behind == behind)
			return sites[i].found;
	return NULL;
}

static void know_at(const struct mrn_behind *behind, const void *caller, void *found)
{
	uint32_t i;

	if (__atomic_load_n(&nr_sites, __ATOMIC_RELAXED) >= SITES)
		return;
	i = __atomic_fetch_add(&nr_sites, 1, __ATOMIC_RELAXED);
	if (i >= SITES)
		return;
	sites[i].behind = behind;
	sites[i].found = found;
	__atomic_store_n(&sites[i].caller, caller, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------------------------ modules */

static bool is_in(const struct dl_phdr_info *module, const void *addr)
{
	const uintptr_t at = (uintptr_t)addr - module->dlpi_addr;

	for (unsigned int i = 0; i < module->dlpi_phnum; i++)
		if (module->dlpi_phdr[i].p_type == PT_LOAD &&
		    at - module->dlpi_phdr[i].p_vaddr < module->dlpi_phdr[i].p_memsz)
			return true;
	return false;
}

struct two {
	const void *a, *b;
	bool are_in_one;
};

static int look_for_one(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct two *two = arg;

	if (!is_in(info, two->a))
		return 0;
	two->are_in_one = is_in(info, two->b);
	return 1;
}

bool mrn_behind_is_one_module(const void *a, const void *b)
{
	struct two two = {.a = a, .b = b};
	int error = errno;

	dl_iterate_phdr(look_for_one, &two);
	errno = error;
	return two.are_in_one;
}

struct order {
	const void *addr;
	bool is_past_us, is_behind;
};

static int look_for(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct order *o = arg;

	if (is_in(info, sites)) {
		o->is_past_us = true;
		return 0;
	}
	if (!is_in(info, o->addr))
		return 0;
	o->is_behind = o->is_past_us;
	return 1;
}

/* The loader's list has the program's scope in order, and then what was opened later. */
static bool is_behind(const void *addr)
{
	struct order o = {.addr = addr};

	dl_iterate_phdr(look_for, &o);
	return o.is_behind;
}

/* In that module and those that it needs; not what is in front of us, which may be what has called us. */
static void *find_in(const char *module, const char *name)
{
	void *handle = dlopen(module, RTLD_LAZY | RTLD_NOLOAD);
	void *found = handle ? dlsym(handle, name) : NULL;

	if (found && !is_behind(found))
		found = NULL;
	if (handle && !found)
		dlclose(handle);
	return found;
}

static void *find_at(const char *name, const void *caller)
{
	Dl_info its;

	return dladdr(caller, &its) && its.dli_fname ? find_in(its.dli_fname, name) : NULL;
}

struct module {
	unsigned int number;
	char path[PATH_MAX];
};

static int take_path(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct module *m = arg;

	if (m->number--)
		return 0;
	*m->path = '\0';
	if (strlen(info->dlpi_name) < sizeof(m->path))
		strcpy(m->path, info->dlpi_name);
	return 1;
}

/* One after the other: a module cannot be opened while the loader holds the lock of its list. */
static __attribute__((noinline)) void *find_anywhere(const char *name)
{
	struct module m;
	void *found = NULL;

	for (unsigned int i = 0; !found; i++) {
		m.number = i;
		if (!dl_iterate_phdr(take_path, &m))
			break;
		if (*m.path)
			found = find_in(m.path, name);
	}
	return found;
}

/* -------------------------------------------------------------------------------- what is found */

static void *find_next(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);
	Dl_info its;

	/* It may have been opened for all, and be closed again. */
	if (found && dladdr(found, &its) && its.dli_fname)
		dlopen(its.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	return found;
}

static void *look_up(struct mrn_behind *behind, const void *caller)
{
	void *found = find_next(behind->name);

	MRN_HOOK(behind_looks, behind->name);
	if (found) {
		__atomic_store_n(&behind->next, found, __ATOMIC_RELAXED);
		return found;
	}
	found = find_at(behind->name, caller);
	for (size_t i = 0; behind->libraries[i] && !found; i++)
		found = find_in(behind->libraries[i], behind->name);
	if (!found)
		found = find_anywhere(behind->name);
	if (found)
		know_at(behind, caller, found);
	return found;
}

void *mrn_behind_find(struct mrn_behind *behind, const void *caller)
{
	void *found = __atomic_load_n(&behind->next, __ATOMIC_RELAXED);
	int err = errno;

	if (!found)
		found = known_at(behind, caller);
	if (!found)
		found = look_up(behind, caller);
	errno = err;
	return found;
}

/* All of this library's, which the linker puts side by side; it may have none. */
extern struct mrn_behind *first[] __asm__("__start_mrn_behind")
	__attribute__((weak, visibility("hidden")));
extern struct mrn_behind *end[] __asm__("__stop_mrn_behind")
	__attribute__((weak, visibility("hidden")));

void mrn_behind_look(void)
{
	int err = errno;

	if (MRN_BROKEN(BEHIND_EARLY))
		return;
	for (struct mrn_behind **b = first; b != end; b++)
		if (!__atomic_load_n(&(*b)->next, __ATOMIC_RELAXED))
			__atomic_store_n(&(*b)->next, find_next((*b)->name), __ATOMIC_RELAXED);
	dlerror();
	errno = err;
}
