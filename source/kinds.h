/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The list of the kinds of source, for all that goes over them: the library (kind.h has their operations), the tool and
 * its programs. A new kind is a row here, a file kind_NAME.c, and its bit in <mrn/source.h>.
 */
#ifndef MRN_SOURCE_KINDS_H
#define MRN_SOURCE_KINDS_H

#include <mrn/source.h>
#include <stdio.h>
#include <string.h>

/* MRN_SOURCE_..., the name that users write, what it covers alone, and its traits. In the order of the bits. */
#define MRN_KINDS(ROW)                                                   \
	ROW(INTERPOSE, interpose, MRN_COVER_INTERPOSE, MRN_KIND_BY_NAME) \
	ROW(UFFD, uffd, MRN_COVER_UFFD, MRN_KIND_BY_ARMING)              \
	ROW(DISPATCH, dispatch, MRN_COVER_EVERYTHING, MRN_KIND_COSTLY)

/*
 * Interposes libc's functions: needs libmrn-interpose, works in a forked child without an attach, misses calls past
 * libc.
 */
#define MRN_KIND_BY_NAME 1u
/* Sees only ranges that somebody has armed. */
#define MRN_KIND_BY_ARMING 2u
/* Slows the whole process: AUTO takes it only for what the others do not cover. */
#define MRN_KIND_COSTLY 4u

#define MRN_KIND_ENUMERATOR(NAME, ...) MRN_KIND_##NAME,
enum mrn_kind { MRN_KINDS(MRN_KIND_ENUMERATOR) MRN_NR_KINDS };
#define MRN_ALL_KINDS ((1u << MRN_NR_KINDS) - 1)

#define MRN_KIND_FACTS(NAME, word, ...) {#word, __VA_ARGS__},
static const struct {
	const char *name;
	uint64_t covers;
	unsigned int traits;
} mrn_kind_facts[] = {MRN_KINDS(MRN_KIND_FACTS)};

#define MRN_KIND_IS_ITS_BIT(NAME, ...) &&MRN_SOURCE_##NAME == 1u << MRN_KIND_##NAME
_Static_assert(1 MRN_KINDS(MRN_KIND_IS_ITS_BIT), "rows are in the order of the bits");

/* "interpose, uffd, ": a comma after each. */
#define MRN_KIND_WORD(NAME, word, ...) #word ", "
#define MRN_KIND_WORDS		       MRN_KINDS(MRN_KIND_WORD)
/* What users write for MRN_SOURCE_AUTO. */
#define MRN_AUTO "auto"

/* Goes over the kinds in a mask of MRN_SOURCE_... */
#define MRN_FOR_EACH_KIND(k, kinds)                                     \
	for (enum mrn_kind k = (enum mrn_kind)0; k < MRN_NR_KINDS; k++) \
		if (!((kinds)&1u << k)) {                               \
		} else

/* The kinds that have a trait, as a mask. */
static inline unsigned int mrn_kinds_that(unsigned int trait)
{
	unsigned int kinds = 0;

	MRN_FOR_EACH_KIND(k, MRN_ALL_KINDS)
		kinds |= (mrn_kind_facts[k].traits & trait ? 1u : 0) << k;
	return kinds;
}

/* What they cover together. */
static inline uint64_t mrn_kinds_cover(unsigned int kinds)
{
	uint64_t covers = 0;

	MRN_FOR_EACH_KIND(k, kinds)
		covers |= mrn_kind_facts[k].covers;
	return covers;
}

/* "interpose+uffd"; into sizeof(MRN_KIND_WORDS) bytes. */
static inline void mrn_kinds_put_names(char *text, unsigned int kinds)
{
	*text = '\0';
	MRN_FOR_EACH_KIND(k, kinds)
		text += sprintf(text, "%s%s", kinds & ((1u << k) - 1) ? "+" : "",
				mrn_kind_facts[k].name);
}

/* Names with + between them, as a mask; MRN_SOURCE_AUTO for "auto"; -1 if one is no kind's. */
static inline int mrn_kinds_listed(const char *names)
{
	unsigned int kinds = 0, before;
	size_t length;

	if (!strcmp(names, MRN_AUTO))
		return MRN_SOURCE_AUTO;
	for (;; names += length + 1) {
		length = strcspn(names, "+");
		before = kinds;
		MRN_FOR_EACH_KIND(k, MRN_ALL_KINDS & ~before)
			if (strlen(mrn_kind_facts[k].name) == length &&
			    !memcmp(names, mrn_kind_facts[k].name, length))
				kinds |= 1u << k;
		if (kinds == before)
			return -1;
		if (!names[length])
			return (int)kinds;
	}
}

/* The same for one name. */
static inline int mrn_kinds_named(const char *name)
{
	return strchr(name, '+') ? -1 : mrn_kinds_listed(name);
}

#endif
