/* SPDX-License-Identifier: BSD-3-Clause */
/* The addresses of our functions. Without libc's headers, which declare the same names. */
#include "source/interpose/wrappers.h"

#include "source/interposer.h"

/* Weak: a function that is not built, as free with a sanitizer, is another library's, or missing. */
#define FUNCTION(name, call)                             \
	extern const char mrn_at_##name[] __asm__(#name) \
		__attribute__((weak, visibility("default")));
#include "source/interpose/functions.def"

#define FUNCTION(name, call) mrn_at_##name,
const void *const mrn_wrappers[] = {
#include "source/interpose/functions.def"
};

_Static_assert(sizeof(mrn_wrappers) / sizeof(mrn_wrappers[0]) == MRN_WRAPPERS, "functions.def");
_Static_assert(MRN_WRAPPERS <= MRN_WRAPPERS_MAX, "source/interposer.c has no room for so many");
