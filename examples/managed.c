/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Managed memory: a device adds up what the CPU has written, through frames, while the frames of its pages change.
 * Prints the sum.
 */
#include <errno.h>
#include <mrn/hmm.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 4

static struct {
	struct mmu_range_notifier mrn;
	pthread_mutex_t lock;
	const uint64_t *frame[PAGES]; /* the device's page table; NULL: no entry */
} device = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	pthread_mutex_lock(&device.lock);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	memset(device.frame, 0, sizeof(device.frame));
	pthread_mutex_unlock(&device.lock);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

/* Fills in the device's page table, and reads through it while nothing can be taken away. */
static int device_sum(struct mrn_hmm *hmm, uintptr_t addr, size_t length, uint64_t *sum)
{
	unsigned long pfns[PAGES] = {0};
	struct hmm_range range = {
		.notifier = &device.mrn,
		.start = addr,
		.end = addr + length,
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT,
	};
	bool again = true;

	while (again) {
		int r = mrn_hmm_range_fault_until(&range, NULL);

		if (r)
			return r;
		pthread_mutex_lock(&device.lock);
		again = mmu_range_read_retry(&device.mrn, range.notifier_seq);
		*sum = 0;
		for (int i = 0; i < PAGES && !again; i++) {
			device.frame[i] = mrn_hmm_frame(hmm, mrn_hmm_pfn_to_frame(pfns[i]));
			*sum += *device.frame[i];
		}
		pthread_mutex_unlock(&device.lock);
	}
	return 0;
}

int main(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), length = PAGES * page;
	char why[256] = "";
	struct mrn_hmm_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct mrn_hmm *hmm;
	uint64_t sum = 0;
	void *addr;
	int r = mrn_hmm_create(&opts, &hmm);

	if (r) {
		fprintf(stderr, "managed: %s\n", why);
		return r == -EPERM || r == -ENOSYS || r == -EOPNOTSUPP ? 77 : 1;
	}
	if (mrn_hmm_alloc(hmm, length, PROT_READ | PROT_WRITE, 0, &addr))
		return 1;
	device.mrn.ops = &ops;
	mmu_range_notifier_insert(&device.mrn, (uintptr_t)addr, length, mrn_hmm_mm(hmm));

	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)((char *)addr + i * page) = i + 1;
	r = device_sum(hmm, (uintptr_t)addr, length, &sum);
	printf("the device sees %d\n", (int)sum);

	mrn_hmm_compact(hmm, addr, length);
	printf("after the move its table is %s\n", device.frame[0] ? "stale" : "empty");
	*(uint64_t *)addr = 90;
	if (!r)
		r = device_sum(hmm, (uintptr_t)addr, length, &sum);
	printf("the device sees %d\n", (int)sum);

	mmu_range_notifier_remove(&device.mrn);
	mrn_hmm_destroy(hmm);
	return r || sum != 99;
}
