/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/device.h"

#include <errno.h>

#include "hmm/change.h"
#include "hmm/space.h"

/* Flags begin at bit 56. */
#define MAX_PFN (UINT64_C(1) << 52)

struct mrn_hmm_device *mrn_hmm_device_of(struct mrn_hmm *hmm, uint64_t pfn)
{
	struct mrn_hmm_device *d;
	uint64_t page;

	mrn_mutex_lock(&hmm->devices_lock);
	for (d = hmm->devices; d && !mrn_hmm_device_page(d, (unsigned long)pfn, &page); d = d->next)
		;
	mrn_mutex_unlock(&hmm->devices_lock);
	return d;
}

bool mrn_hmm_device_page(const struct mrn_hmm_device *dev, unsigned long pfn, uint64_t *page)
{
	uint64_t number = mrn_hmm_pfn_to_frame(pfn);

	if (!dev->hmm || number < dev->first || number - dev->first >= dev->pages)
		return false;
	*page = number - dev->first;
	return true;
}

int mrn_hmm_device_add(struct mrn_hmm *hmm, struct mrn_hmm_device *dev)
{
	int err = mrn_hmm_check(hmm);

	if (err)
		return err;
	if (!dev || !dev->pages || !dev->ops || !dev->ops->alloc || !dev->ops->free ||
	    !dev->ops->copy_to_device || !dev->ops->copy_to_ram)
		return -EINVAL;
	mrn_mutex_lock(&hmm->devices_lock);
	if (dev->hmm) {
		err = -EBUSY;
	} else if (dev->pages > MAX_PFN - hmm->next_pfn) {
		err = -ENOSPC;
	} else {
		dev->hmm = hmm;
		dev->first = hmm->next_pfn;
		hmm->next_pfn += dev->pages;
		dev->next = hmm->devices;
		hmm->devices = dev;
	}
	mrn_mutex_unlock(&hmm->devices_lock);
	return err;
}

void mrn_hmm_device_forget(struct mrn_hmm *hmm, struct mrn_hmm_device *dev)
{
	struct mrn_hmm_device **at;

	mrn_mutex_lock(&hmm->devices_lock);
	for (at = &hmm->devices; *at != dev; at = &(*at)->next)
		;
	*at = dev->next;
	dev->hmm = NULL;
	mrn_mutex_unlock(&hmm->devices_lock);
}
