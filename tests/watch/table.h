/* SPDX-License-Identifier: BSD-3-Clause */
/* A loaded module's unwind table, asked of the loader. */
#ifndef TESTS_WATCH_TABLE_H
#define TESTS_WATCH_TABLE_H

#include <link.h>

#include "tests/harness/test.h"
#include "watch/record/cfi.h"

struct table {
	uintptr_t of;	      /* an address in the module */
	uintptr_t start, end; /* the segment that holds it */
	struct watch_cfi cfi;
};

static int table_visit(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct table *t = arg;
	uintptr_t table = 0;

	t->start = 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_GNU_EH_FRAME)
			table = at;
		if (ph->p_type == PT_LOAD && t->of - at < ph->p_memsz) {
			t->start = at;
			t->end = at + ph->p_memsz;
		}
	}
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		const uint8_t *at = (const uint8_t *)(info->dlpi_addr + ph->p_vaddr);

		if (ph->p_type == PT_LOAD && table - (uintptr_t)at < ph->p_filesz)
			t->cfi = (struct watch_cfi){.table = (const uint8_t *)table,
						    .low = at,
						    .high = at + ph->p_filesz};
	}
	return t->start != 0;
}

/* The table of the module that holds the address. */
static inline struct table table_of(uintptr_t address)
{
	struct table t = {.of = address};

	CHECK(dl_iterate_phdr(table_visit, &t) && t.cfi.table);
	return t;
}

#ifdef __x86_64__
#define NEEDS_A_TABLE()                                                   \
	do {                                                              \
		if (test_is_sanitized())                                  \
			SKIP("a sanitizer's runtime stands before libc"); \
	} while (0)
#else
#define NEEDS_A_TABLE() SKIP("read on x86-64 only")
#endif

#endif
