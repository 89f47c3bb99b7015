/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The adapters' functions that create something, in a callback: a callback may be inside somebody's free, so they refuse
 * before they allocate. tests/malloc_guard.h aborts whoever does.
 */
#include <errno.h>
#include <mrn/fabric.h>
#include <mrn/io_uring.h>
#include <mrn/mrn.h>
#include <mrn/verbs.h>
#include <string.h>

#include "adapters/check.h"
#include "adapters/fabric/domain.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "tests/malloc_guard.h"

static struct mrn_source *source;
static char why[256];
static int r;

/* Each is refused before it looks at any of these. */
static struct fi_domain_attr attr;
static struct fi_info info = {.domain_attr = &attr};
static struct fid_domain domain;
static struct io_uring ring = {.ring_fd = -1};
static struct ibv_pd pd;

#define OPTS .size = sizeof(opts), .source = source, .why = why, .why_size = sizeof(why)

static void create_fabric(void)
{
	struct mrn_fabric_opts opts = {OPTS};
	struct mrn_fabric *f;

	r = mrn_fabric_create(&domain, &info, &opts, &f);
}

static void create_uring(void)
{
	struct mrn_uring_opts opts = {OPTS};
	struct mrn_uring *u;

	r = mrn_uring_create(&ring, &opts, &u);
}

static void create_verbs(void)
{
	struct mrn_verbs_opts opts = {OPTS};
	struct mrn_verbs *v;

	r = mrn_verbs_create(&pd, &opts, &v);
}

static void share(void)
{
	struct mrn_fabric f = {.source = source, .access = FI_REMOTE_READ};
	struct mrn_fabric_share *s;

	r = mrn_fabric_mr_share(&f, why, sizeof(why), MRN_ACCESS_READ, NULL, &s);
}

static void (*call)(void);

static bool invalidate(struct mmu_range_notifier *notifier, const struct mmu_notifier_range *range,
		       uint64_t seq)
{
	mmu_range_notifier_update_seq(notifier, seq);
	call();
	return true;
}

static void refuses(void (*fn)(void))
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};
	struct mmu_range_notifier notifier = {.ops = &ops};
	struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.need = MRN_COVER_UFFD,
		.why = why,
		.why_size = sizeof(why),
	};
	struct mmu_notifier_range range;
	struct mrn_mm *mm;

	if (!malloc_guard_works())
		SKIP("a sanitizer has its own malloc");
	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &opts, &source))
		SKIP("no source: %s", why);
	*why = '\0';
	call = fn;
	CHECK_ERR(mrn_mm_create(&mm), 0);
	CHECK_ERR(mmu_range_notifier_insert(&notifier, 4096, 4096, mm), 0);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
	CHECK_ERR(r, -EDEADLK);
}

#define REFUSES(name)              \
	TEST(name##_in_a_callback) \
	{                          \
		refuses(name);     \
	}                          \
	TWIN(name##_in_a_callback, no_look, BREAK(ADAPTER_CALLBACK), .accept_abort = true)

REFUSES(create_fabric);
REFUSES(create_uring);
REFUSES(create_verbs);
REFUSES(share);
