/* SPDX-License-Identifier: BSD-3-Clause */
#include "coverage/cause/way.h"

#include <fcntl.h>
#include <sys/mman.h>

/* C libraries' headers are older than kernels. */
#define ADVICE_COLLAPSE	     25
#define ADVICE_GUARD_INSTALL 102

#define ONE(NAME, ABOUT, WAY, ...) \
	{.name = NAME, .about = ABOUT, .way = &cause_##WAY, ##__VA_ARGS__},
#define BOTH(NAME, ABOUT, WAY, ...)          \
	ONE(NAME, ABOUT, WAY, ##__VA_ARGS__) \
	ONE(NAME "_raw", ABOUT ", by a raw system call", WAY, .raw = true, ##__VA_ARGS__)

const struct cause cause_table[] = {
#include "coverage/cause/catalog.def"
};

const size_t cause_count = sizeof(cause_table) / sizeof(cause_table[0]);
