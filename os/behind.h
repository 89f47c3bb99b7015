/* SPDX-License-Identifier: BSD-3-Clause */
/* For preloaded libraries: the function of a library that one of ours stands in front of. Not for the event path. */
#ifndef MRN_OS_BEHIND_H
#define MRN_OS_BEHIND_H

#include <stdbool.h>

/*
 * Returns the function that the caller, a return address, would have called without us, or NULL. It is looked for
 *
 *	- in the program's scope behind us; *next, at first NULL, remembers it,
 *	- in that of the caller's module: it may have been opened apart, and have the library linked in,
 *	- in the libraries of these names, the last of which is NULL: the caller may have no module,
 *	- in all that is loaded: a function that ends with the call leaves its own caller's address.
 *
 * What it is found in stays loaded from then on, since callers keep the function's address. Keeps errno.
 */
void *mrn_behind_find(void **next, const char *name, const char *const *libraries,
		      const void *caller);

/* True if both are addresses in one program or library. Keeps errno. */
bool mrn_behind_is_one_module(const void *a, const void *b);

/* The same as mrn_behind_find for a function of ours that caller has called; then the libraries' names. */
#define MRN_BEHIND_OF(caller, name, ...)                                                   \
	__extension__({                                                                    \
		static void *next_;                                                        \
		static const char *const libraries_[] = {__VA_ARGS__, 0};                  \
                                                                                           \
		(__typeof__(&(name)))mrn_behind_find(&next_, #name, libraries_, (caller)); \
	})
/* In the exported function itself. */
#define MRN_BEHIND(name, ...) MRN_BEHIND_OF(__builtin_return_address(0), name, __VA_ARGS__)

#endif
