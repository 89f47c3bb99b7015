/* SPDX-License-Identifier: BSD-3-Clause */
/* For preloaded libraries: the function of a library that one of ours stands in front of. Not for the event path. */
#ifndef MRN_OS_BEHIND_H
#define MRN_OS_BEHIND_H

#include <stdbool.h>

/* A function that ours stands in front of. */
struct mrn_behind {
	void *next; /* atomic: once it has been found in the program's scope */
	const char *name;
	const char *const *libraries; /* the last is NULL */
};

/*
 * Returns the function that the caller, a return address, would have called without us, or NULL. It is looked for
 *
 *	- in the program's scope behind us, once,
 *	- in that of the caller's module: it may have been opened apart, and have the library linked in,
 *	- in the libraries: the caller may have no module,
 *	- in all that is loaded: a function that ends with the call leaves its own caller's address.
 *
 * What it is found in stays loaded from then on, since callers keep the function's address. Keeps errno.
 */
void *mrn_behind_find(struct mrn_behind *behind, const void *caller);

/*
 * Looks now for all of this library's in the program's scope. Looking takes the loader's lock, and another thread may hold that
 * which waits for the one that calls such a function: without us, it would not have. So call it in a constructor. It clears
 * what dlerror would say, and keeps errno.
 */
void mrn_behind_look(void);

/* True if both are addresses in one program or library. Keeps errno. */
bool mrn_behind_is_one_module(const void *a, const void *b);

/* The same as mrn_behind_find for a function of ours that caller has called; its name; then the libraries' names. */
#define MRN_BEHIND_NAMED(caller, function, as, ...)                                         \
	__extension__({                                                                     \
		static const char *const libraries_[] = {__VA_ARGS__, 0};                   \
		static struct mrn_behind behind_ = {.name = (as), .libraries = libraries_}; \
		static struct mrn_behind *listed_                                           \
			__attribute__((section("mrn_behind"), used)) = &behind_;            \
                                                                                            \
		(__typeof__(&(function)))mrn_behind_find(&behind_, (caller));               \
	})
#define MRN_BEHIND_OF(caller, name, ...) MRN_BEHIND_NAMED(caller, name, #name, __VA_ARGS__)
/* In the exported function itself. */
#define MRN_BEHIND(name, ...) MRN_BEHIND_OF(__builtin_return_address(0), name, __VA_ARGS__)

#endif
