/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/adapters/fixture.h"

struct break_later fixture_break;

struct mrn_source *fixture_source(void)
{
	char why[512] = "";
	struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.need = MRN_COVER_PAGES,
		.why = why,
		.why_size = sizeof(why),
	};
	struct mrn_source *source;
	int r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source);

	if (r)
		SKIP("no source: %s (%s)", why, strerror(-r));
	return source;
}

char *fixture_map(size_t length, char fill)
{
	char *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	madvise(p, length, MADV_NOHUGEPAGE);
	memset(p, fill, length);
	return p;
}
