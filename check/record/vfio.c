/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/vfio.h"

#include <linux/vfio.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "check/record/calls.h"
#include "check/record/keys.h"
#include "check/record/registration.h"
#include "check/shared/check.h"

#include "os/event_path.h"

/* iommufd is newer than some machines' headers: what it takes, from its documentation. */
#define IOMMUFD_DESTROY	   _IO(';', 0x80)
#define IOMMUFD_IOAS_MAP   _IO(';', 0x85)
#define IOMMUFD_IOAS_UNMAP _IO(';', 0x86)

#define IOAS_MAP_WRITEABLE (1u << 1)
#define IOAS_MAP_READABLE  (1u << 2)

struct ioas_map {
	uint32_t size, flags, ioas, reserved;
	uint64_t addr, length, iova;
};

struct ioas_unmap {
	uint32_t size, ioas;
	uint64_t iova, length;
};

struct object_destroy {
	uint32_t size, id;
};

/*
 * By descriptor, and for iommufd its address space, which is not 0; and the device's address. The words of each value:
 */
static struct check_keys mappings;
enum { REG, LENGTH };
static uint32_t live; /* about how many: 0 only if there are none */

/*
 * By descriptor, the container that it keeps: a group that is in it, or a device of such a group. Without the last of them
 * the container has no IOMMU, and no mappings.
 */
static struct check_keys keepers;
enum { CONTAINER };
static bool keepers_seen; /* there has been one */
static bool keepers_lost; /* there may be more */

static uintptr_t scope_of(long fd, uint32_t ioas)
{
	return (uintptr_t)ioas << 32 | (uint32_t)fd;
}

static struct check_reg *reg_of(const struct check_value *value)
{
	return (struct check_reg *)(uintptr_t)value->word[REG];
}

static bool failed(long r)
{
	return (unsigned long)r > -4096UL;
}

/* -------------------------------------------------------------------------------------- mapping */

static void enter(uintptr_t scope, uint64_t iova, struct check_reg *reg, uint64_t length)
{
	struct check_key key = {scope, iova};
	struct check_value old, value = {.word = {(uintptr_t)reg, length}};

	/* It has ended without our seeing it. */
	if (check_keys_take(&mappings, key, &old))
		check_reg_end(reg_of(&old));
	else
		__atomic_fetch_add(&live, 1, __ATOMIC_RELAXED);
	check_reg_done(reg, iova);
	if (check_keys_put(&mappings, key, value)) {
		__atomic_fetch_sub(&live, 1, __ATOMIC_RELAXED);
		check_reg_end(reg);
	}
}

static bool map_by_vfio(const long a[6], long *result)
{
	struct vfio_iommu_type1_dma_map map;
	struct check_reg *reg;

	/*
	 * * With the last flag, pages that are pinned already get another address in the program. Without one of the
	 * others this is another call, of another file's: VFIO_DEVICE_PCI_HOT_RESET.
	 */
	if (check_read(&map, (uintptr_t)a[2], sizeof(map)) || !map.size ||
	    map.flags & VFIO_DMA_MAP_FLAG_VADDR ||
	    !(map.flags & (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)))
		return false;
	reg = check_reg_begin(CHECK_VFIO, map.vaddr, map.size, CHECK_UNSEEN_USES);
	*result = check_call_make(SYS_ioctl, a);
	if ((failed(*result) && !MRN_BROKEN(CHECK_VFIO_REFUSED)) || !reg)
		check_reg_end(reg);
	else
		enter(scope_of(a[0], 0), map.iova, reg, map.size);
	return true;
}

static bool map_by_iommufd(const long a[6], long *result)
{
	struct ioas_map map;
	struct check_reg *reg;

	if (check_read(&map, (uintptr_t)a[2], sizeof(map)) || !map.length ||
	    !(map.flags & (IOAS_MAP_WRITEABLE | IOAS_MAP_READABLE)))
		return false;
	reg = check_reg_begin(CHECK_IOMMUFD, map.addr, map.length, CHECK_UNSEEN_USES);
	*result = check_call_make(SYS_ioctl, a);
	/* The kernel may have chosen the device's address. */
	if (failed(*result) || !reg || check_read(&map, (uintptr_t)a[2], sizeof(map)))
		check_reg_end(reg);
	else
		enter(scope_of(a[0], map.ioas), map.iova, reg, map.length);
	return true;
}

/* ------------------------------------------------------------------------------------ unmapping */

/* All mappings of a scope, as far as the mask goes, that are within [first, last]. */
struct range {
	uintptr_t scope, mask;
	uint64_t first, last;
};

static bool is_within(struct check_key key, const struct check_value *value, const void *arg)
{
	const struct range *r = arg;

	return ((key.scope ^ r->scope) & r->mask) == 0 && key.number >= r->first &&
	       key.number <= r->last && value->word[LENGTH] - 1 <= r->last - key.number;
}

static void ended(const struct check_value *value)
{
	__atomic_fetch_sub(&live, 1, __ATOMIC_RELAXED);
	check_reg_end(reg_of(value));
}

static void end(struct range range)
{
	if (__atomic_load_n(&live, __ATOMIC_RELAXED))
		check_keys_sweep(&mappings, is_within, &range, ended);
}

#define ALL_ADDRESSES .first = 0, .last = UINT64_MAX

/* After the call: it may be refused. */
static bool unmap_by_vfio(const long a[6], long *result)
{
	struct vfio_iommu_type1_dma_unmap unmap;
	struct range range = {.scope = scope_of(a[0], 0), .mask = UINTPTR_MAX, ALL_ADDRESSES};

	if (!__atomic_load_n(&live, __ATOMIC_RELAXED) ||
	    check_read(&unmap, (uintptr_t)a[2], sizeof(unmap)))
		return false;
	if (!(unmap.flags & VFIO_DMA_UNMAP_FLAG_ALL)) {
		range.first = unmap.iova;
		range.last = unmap.iova + unmap.size - 1;
	}
	*result = check_call_make(SYS_ioctl, a);
	if (!failed(*result))
		end(range);
	return true;
}

static bool unmap_by_iommufd(const long a[6], long *result)
{
	struct ioas_unmap unmap;
	struct range range = {.mask = UINTPTR_MAX, ALL_ADDRESSES};

	if (!__atomic_load_n(&live, __ATOMIC_RELAXED) ||
	    check_read(&unmap, (uintptr_t)a[2], sizeof(unmap)))
		return false;
	range.scope = scope_of(a[0], unmap.ioas);
	if (unmap.length != UINT64_MAX) {
		range.first = unmap.iova;
		range.last = unmap.iova + unmap.length - 1;
	}
	*result = check_call_make(SYS_ioctl, a);
	if (!failed(*result))
		end(range);
	return true;
}

static bool destroy(const long a[6], long *result)
{
	struct object_destroy object;

	if (!__atomic_load_n(&live, __ATOMIC_RELAXED) ||
	    check_read(&object, (uintptr_t)a[2], sizeof(object)) || !object.id)
		return false;
	*result = check_call_make(SYS_ioctl, a);
	if (!failed(*result))
		end((struct range){.scope = scope_of(a[0], object.id),
				   .mask = UINTPTR_MAX,
				   ALL_ADDRESSES});
	return true;
}

/* --------------------------------------------------------------------------------------- keepers */

static struct check_key keeper(uint32_t fd)
{
	return (struct check_key){.scope = scope_of(fd, 0)};
}

static void keep(uint32_t fd, uint64_t container)
{
	struct check_value old, value = {.word = {[CONTAINER] = container}};

	/* It has been closed without our seeing it. */
	check_keys_take(&keepers, keeper(fd), &old);
	__atomic_store_n(&keepers_seen, true, __ATOMIC_RELAXED);
	if (check_keys_put(&keepers, keeper(fd), value))
		__atomic_store_n(&keepers_lost, true, __ATOMIC_RELAXED);
}

struct others {
	uint64_t container;
	bool *found;
};

static bool is_other(struct check_key key, const struct check_value *value, const void *arg)
{
	const struct others *others = arg;

	*others->found |= value->word[CONTAINER] == others->container;
	return false;
}

/* It has been taken out. */
static void has_left(const struct check_value *value)
{
	uint64_t container = value->word[CONTAINER];
	bool found = false;

	/* Orders the taking before the look at the others: of two threads that take the last two, one finds none. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	check_keys_sweep(&keepers, is_other, &(struct others){container, &found}, NULL);
	if (!found && !__atomic_load_n(&keepers_lost, __ATOMIC_RELAXED))
		end((struct range){.scope = scope_of((long)container, 0),
				   .mask = UINTPTR_MAX,
				   ALL_ADDRESSES});
}

static void leave(uint32_t fd)
{
	struct check_value value;

	if (check_keys_take(&keepers, keeper(fd), &value))
		has_left(&value);
}

static bool set_container(const long a[6], long *result)
{
	int32_t container;

	if (check_read(&container, (uintptr_t)a[2], sizeof(container)))
		return false;
	*result = check_call_make(SYS_ioctl, a);
	if (!failed(*result))
		keep((uint32_t)a[0], (uint32_t)container);
	return true;
}

/* The kernel refuses it while there are devices. */
static bool unset_container(const long a[6], long *result)
{
	*result = check_call_make(SYS_ioctl, a);
	if (!failed(*result))
		leave((uint32_t)a[0]);
	return true;
}

static bool get_device(const long a[6], long *result)
{
	struct check_value group;

	if (!check_keys_find(&keepers, keeper((uint32_t)a[0]), &group))
		return false;
	*result = check_call_make(SYS_ioctl, a);
	if (!failed(*result) && !MRN_BROKEN(CHECK_VFIO_DEVICE))
		keep((uint32_t)*result, group.word[CONTAINER]);
	return true;
}

/* ---------------------------------------------------------------------------------------- calls */

bool check_vfio_ioctl(long a[6], long *result)
{
	/* Other devices have other calls of these numbers: they fail, or unmap nothing that is known. */
	switch ((uint32_t)a[1]) {
	case VFIO_IOMMU_MAP_DMA:
		return map_by_vfio(a, result);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_by_vfio(a, result);
	case IOMMUFD_IOAS_MAP:
		return map_by_iommufd(a, result);
	case IOMMUFD_IOAS_UNMAP:
		return unmap_by_iommufd(a, result);
	case IOMMUFD_DESTROY:
		return destroy(a, result);
	case VFIO_GROUP_SET_CONTAINER:
		return set_container(a, result);
	case VFIO_GROUP_UNSET_CONTAINER:
		return unset_container(a, result);
	case VFIO_GROUP_GET_DEVICE_FD:
		return get_device(a, result);
	default:
		return false;
	}
}

void check_vfio_end_descriptor(uint32_t fd)
{
	leave(fd);
	end((struct range){.scope = fd, .mask = UINT32_MAX, ALL_ADDRESSES});
}

bool check_vfio_close(long a[6], long *result)
{
	check_vfio_end_descriptor((uint32_t)a[0]);
	return false;
}

bool check_vfio_has_any(void)
{
	return __atomic_load_n(&live, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&keepers_seen, __ATOMIC_RELAXED);
}

static bool is_closed(struct check_key key, const struct check_value *value, const void *arg)
{
	const long *a = arg;
	uint32_t fd = (uint32_t)key.scope;

	return fd >= (uint32_t)a[0] && fd <= (uint32_t)a[1];
}

bool check_vfio_close_range(long a[6], long *result)
{
	const unsigned int later = 1u << 2; /* CLOSE_RANGE_CLOEXEC: not now */

	if ((unsigned int)a[2] & later)
		return false;
	if (__atomic_load_n(&keepers_seen, __ATOMIC_RELAXED))
		check_keys_sweep(&keepers, is_closed, a, has_left);
	if (__atomic_load_n(&live, __ATOMIC_RELAXED))
		check_keys_sweep(&mappings, is_closed, a, ended);
	return false;
}

void check_vfio_restart(void)
{
	check_keys_clear(&mappings);
	check_keys_clear(&keepers);
	live = 0;
	keepers_seen = keepers_lost = false;
}
