/* SPDX-License-Identifier: BSD-3-Clause */
/* Consumers in C++, built against the installed headers and library by test.sh. */
#include <mrn/linux/mmu_notifier.h>
#include <mrn/mrn.h>

#include <cstdio>
#include <mutex>

namespace {

struct Shadow {
	mmu_range_notifier mrn{};
	std::mutex lock;
	bool valid = false;
};

bool invalidate(mmu_range_notifier *mrn, const mmu_notifier_range *, uint64_t cur_seq)
{
	/* mrn is its first member. */
	auto *shadow = reinterpret_cast<Shadow *>(mrn);
	std::lock_guard<std::mutex> hold(shadow->lock);

	mmu_range_notifier_update_seq(mrn, cur_seq);
	shadow->valid = false;
	return true;
}

bool publish(Shadow &shadow, uint64_t seq)
{
	std::lock_guard<std::mutex> hold(shadow.lock);

	if (mmu_range_read_retry(&shadow.mrn, seq))
		return false;
	shadow.valid = true;
	return true;
}

/* The same under the names that Linux has. */
struct Mirror {
	mmu_interval_notifier notifier; /* insert initialises it */
	std::mutex lock;
};

bool mirror_invalidate(mmu_interval_notifier *sub, const mmu_notifier_range *,
		       unsigned long cur_seq)
{
	std::lock_guard<std::mutex> hold(reinterpret_cast<Mirror *>(sub)->lock);

	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

bool mirror_collides(mm_struct *mm)
{
	mmu_interval_notifier_ops ops{};
	mmu_notifier_range range;
	Mirror mirror;

	ops.invalidate = mirror_invalidate;
	if (mmu_interval_notifier_insert(&mirror.notifier, mm, 0x10000, 0x1000, &ops))
		return false;

	const unsigned long seq = mmu_interval_read_begin(&mirror.notifier);
	mmu_notifier_range_init_owner(&range, MMU_NOTIFY_CLEAR, 0, mm, 0x10000, 0x11000, nullptr);
	if (mmu_notifier_invalidate_range_start(&range))
		return false;
	mmu_notifier_invalidate_range_end(&range);

	std::unique_lock<std::mutex> hold(mirror.lock);
	const bool collided = mmu_interval_read_retry(&mirror.notifier, seq);
	hold.unlock();
	mmu_interval_notifier_remove(&mirror.notifier);
	return collided;
}

} // namespace

int main()
{
	mmu_range_notifier_ops ops{};
	mmu_notifier_range range;
	Shadow shadow;
	mrn_mm *mm;

	ops.invalidate = invalidate;
	shadow.mrn.ops = &ops;
	if (mrn_mm_create(&mm) || mmu_range_notifier_insert(&shadow.mrn, 0x10000, 0x1000, mm))
		return 1;
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 0x10000, 0x11000);

	const uint64_t before = mmu_range_read_begin(&shadow.mrn);
	if (mmu_notifier_invalidate_range_start(&range))
		return 1;
	const bool collided = !publish(shadow, before);
	mmu_notifier_invalidate_range_end(&range);

	const bool published = publish(shadow, mmu_range_read_begin(&shadow.mrn));
	mmu_range_notifier_remove(&shadow.mrn);
	const bool linux_collided = mirror_collides(mm);
	mrn_mm_destroy(mm);
	std::printf("C++: collided %d %d, published %d\n", collided, linux_collided, published);
	return collided && linux_collided && published ? 0 : 1;
}
