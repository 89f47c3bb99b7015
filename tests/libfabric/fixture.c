/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/libfabric/fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "adapters/libfabric/preload/preload.h"
#include "tests/libfabric/domain.h"
#include "tests/verbs/device/device.h"

bool fixture_begins = true;
struct break_later fixture_break;

/*
 * LeakSanitizer asks for it. Tests leave domains open, and libfabric 1.17 loses some memory of its own. libmrn allocates
 * nothing inside libfabric's calls.
 */
const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"), used)) const char *__lsan_default_suppressions(void)
{
	return "leak:libfabric.so.1\n";
}

/* What libmrn-libfabric-preload.so has in front of ibv_reg_mr is linked to this program, and calls this. */
void mrn_fabric_preload_begin(const void *addr, size_t length)
{
	if (fixture_begins)
		mrn_libfabric_begin(addr, length);
}

void fixture_install(unsigned int kinds, unsigned int max_ranges)
{
	char why[512] = "";
	struct mrn_libfabric_opts opts = {
		.size = sizeof(opts),
		.kinds = kinds,
		.need = kinds == MRN_SOURCE_UFFD ? MRN_COVER_UFFD : 0,
		.max_ranges = max_ranges,
		.why = why,
		.why_size = sizeof(why),
	};
	int r = mrn_libfabric_install(&opts);

	if (r == -EOPNOTSUPP || r == -EPERM || r == -ENOSYS)
		SKIP("%s (%s)", why, strerror(-r));
	CHECK_MSG(!r, "%d: %s", r, why);
	break_now(&fixture_break);
}

struct fid_domain *fixture_domain(void)
{
	struct fid_domain *domain;
	struct fid_mr *mr;
	char *p;
	int r = domain_open(&domain);

	CHECK_MSG(!r, "no domain: %s", fi_strerror(-r));
	p = fixture_map(NULL, 0);
	r = fi_mr_reg(domain, p, LENGTH, FI_SEND | FI_RECV, 0, 0, 0, &mr, NULL);
	if (r == -EPERM || r == -ENOSYS || r == -ENOMEM)
		SKIP("nothing can be pinned here: %s", fi_strerror(-r));
	CHECK_ERR(r, 0);
	/* It stays mapped: a test's memory has never been registered before. */
	fixture_close(mr);
	return domain;
}

char *fixture_map(char *at, char fill)
{
	char *p = mmap(at, LENGTH, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	CHECK(p != MAP_FAILED);
	memset(p, fill, LENGTH);
	return p;
}

struct fid_mr *fixture_reg(struct fid_domain *domain, char *addr, size_t length)
{
	struct fid_mr *mr;

	CHECK_ERR(fi_mr_reg(domain, addr, length, FI_SEND | FI_RECV, 0, 0, 0, &mr, NULL), 0);
	return mr;
}

void fixture_close(struct fid_mr *mr)
{
	CHECK_ERR(fi_close(&mr->fid), 0);
}

char fixture_peek(struct fid_mr *mr, const char *at)
{
	char byte;

	/* The device's one key of a registration. */
	CHECK_ERR(verbs_device_read((uint32_t)fi_mr_key(mr), at, 1, &byte), 0);
	return byte;
}

char fixture_look(struct fid_domain *domain, char *addr)
{
	struct fid_mr *mr = fixture_reg(domain, addr, LENGTH);
	char byte = fixture_peek(mr, addr);

	fixture_close(mr);
	return byte;
}

bool fixture_is_kept(struct fid_domain *domain, char *addr)
{
	struct fid_mr *mr = fixture_reg(domain, addr, LENGTH);
	uint64_t key = fi_mr_key(mr);
	bool kept;

	fixture_close(mr);
	mr = fixture_reg(domain, addr, LENGTH);
	/* No key is used twice. */
	kept = fi_mr_key(mr) == key;
	fixture_close(mr);
	return kept;
}

struct mrn_libfabric_stats fixture_stats(void)
{
	struct mrn_libfabric_stats stats;

	CHECK_ERR(mrn_libfabric_get_stats(&stats, sizeof(stats)), 0);
	return stats;
}
