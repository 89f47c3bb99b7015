/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nouveau's device memory (nouveau_dmem): copies to VRAM and back. The list notifier skips these, and leaves the
 * entries to this file.
 */
#include <string.h>

#include "lab/models/nouveau.h"
#include "os/container_of.h"

static struct nouveau_svmm *svmm_of(struct mrn_hmm_device *dmem)
{
	return container_of(dmem, struct nouveau_svmm, gpu.vram.dev);
}

void nouveau_svmm_invalidate(struct nouveau_svmm *svmm, size_t first, size_t limit)
{
	if (first >= limit)
		return;
	if (!lab_is_broken(svmm->lab, NO_DIRTY))
		lab_mmu_set_dirty(&svmm->gpu.vmm, first, limit - first, svmm->lab, first);
	lab_mmu_clear(&svmm->gpu.vmm, first, limit - first);
	if (!lab_is_broken(svmm->lab, NO_FLUSH))
		lab_mmu_flush(&svmm->gpu.vmm, first, limit - first);
}

/* Under mutex. True if the entry of page i maps this page of VRAM. */
static bool shows(struct nouveau_svmm *svmm, size_t i, uint64_t page)
{
	return lab_mmu_is_mapped(&svmm->gpu.vmm, i) &&
	       (lab_mmu_pfn(&svmm->gpu.vmm, i) & ~PFN_ATOMIC) == (page | PFN_VRAM);
}

static long dmem_alloc(struct mrn_hmm_device *dmem, size_t n, uint64_t *pages)
{
	return lab_devmem_ops.alloc(dmem, n, pages);
}

static void dmem_free(struct mrn_hmm_device *dmem, size_t n, const uint64_t *pages)
{
	struct nouveau_svmm *svmm = svmm_of(dmem);

	lab_spin_lock(&svmm->mutex);
	for (size_t k = 0; k < n; k++)
		LAB_ASSERT(svmm->lab, !shows(svmm, svmm->where[pages[k]], pages[k]),
			   "a page of VRAM is freed that the GPU can reach");
	lab_unlock(&svmm->mutex);
	lab_devmem_ops.free(dmem, n, pages);
}

/*
 * Clears the entries, which the list notifier skipped, and with them exclusive access: a migrating page is no longer
 * lent. The real driver does not clear them here but writes new ones after the copy; what the GPU writes in between is
 * lost (--break no_clear_to_vram).
 */
static int dmem_copy_to_device(struct mrn_hmm_device *dmem, size_t n, const uint64_t *pages,
			       void *const *frames)
{
	struct nouveau_svmm *svmm = svmm_of(dmem);
	bool late = lab_is_broken(svmm->lab, CLEAR_AFTER_COPY);
	size_t first = svmm->migrate_first, limit = first + svmm->migrate_n;

	if (lab_is_broken(svmm->lab, NO_CLEAR_TO_VRAM))
		limit = first;
	lab_spin_lock(&svmm->mutex);
	if (!late)
		nouveau_svmm_invalidate(svmm, first, limit);
	for (size_t k = 0; k < n; k++)
		memcpy(lab_devmem_at(&svmm->gpu.vram, pages[k]), frames[k], lab_bytes(1));
	if (late)
		nouveau_svmm_invalidate(svmm, first, limit);
	lab_unlock(&svmm->mutex);
	return 0;
}

static int dmem_copy_to_ram(struct mrn_hmm_device *dmem, size_t n, void *const *frames,
			    const uint64_t *pages)
{
	struct nouveau_svmm *svmm = svmm_of(dmem);
	bool late = lab_is_broken(svmm->lab, CLEAR_AFTER_COPY);

	lab_spin_lock(&svmm->mutex);
	for (size_t k = 0; k < n; k++) {
		size_t i = svmm->where[pages[k]], clear = shows(svmm, i, pages[k]);

		if (lab_is_broken(svmm->lab, NO_CLEAR_TO_RAM))
			clear = 0;
		if (!late)
			nouveau_svmm_invalidate(svmm, i, i + clear);
		memcpy(frames[k], lab_devmem_at(&svmm->gpu.vram, pages[k]), lab_bytes(1));
		if (late)
			nouveau_svmm_invalidate(svmm, i, i + clear);
	}
	lab_unlock(&svmm->mutex);
	return 0;
}

static const struct mrn_hmm_device_ops dmem_ops = {
	.alloc = dmem_alloc,
	.free = dmem_free,
	.copy_to_device = dmem_copy_to_device,
	.copy_to_ram = dmem_copy_to_ram,
};

int nouveau_dmem_init(struct nouveau_svmm *svmm)
{
	svmm->gpu.vram.dev.ops = &dmem_ops;
	return lab_devmem_open(&svmm->gpu.vram, svmm->lab, VRAM_PAGES);
}

void nouveau_dmem_fini(struct nouveau_svmm *svmm)
{
	lab_devmem_close(&svmm->gpu.vram);
}

void nouveau_dmem_migrate(struct nouveau_svmm *svmm, size_t first, size_t n)
{
	lab_spin_lock(&svmm->migrate_mutex);
	svmm->migrate_first = first;
	svmm->migrate_n = n;
	mrn_hmm_migrate_to_device(lab_hmm(svmm->lab), nouveau_owner(svmm),
				  (void *)lab_addr(svmm->lab, first), lab_bytes(n), NULL);
	lab_unlock(&svmm->migrate_mutex);
}
