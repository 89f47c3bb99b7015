/* SPDX-License-Identifier: BSD-3-Clause */
/* What mrn check understands of VFIO's and iommufd's calls. There is no IOMMU here: the kernel's answers are the test's. */
#include "check/record/vfio.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/syscall.h>

#include "check/record/calls.h"
#include "check/shared/check.h"
#include "tests/check/stub.h"
#include "tests/harness/test.h"

#define PAGE	UINT64_C(4096)
#define DEVICE	7
#define OTHER	8
#define ADDRESS (16 * PAGE)
#define RW	(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

struct ioas_map {
	uint32_t size, flags, ioas, reserved;
	uint64_t addr, length, iova;
};

struct ioas_unmap {
	uint32_t size, ioas;
	uint64_t iova, length;
};

/* What the kernel says next, and where it maps if it chooses. */
static long answer;
static uint64_t chosen;

long check_call_make(long nr, const long a[6])
{
	CHECK_EQ(nr, SYS_ioctl);
	if (chosen)
		((struct ioas_map *)a[2])->iova = chosen;
	return answer;
}

int check_read(void *into, uintptr_t addr, size_t size)
{
	if (addr < PAGE)
		return -EFAULT;
	memcpy(into, (const void *)addr, size);
	return 0;
}

/* False if it is left to the program to make the call. */
static bool call(long fd, unsigned long request, const void *arg)
{
	long a[6] = {fd, (long)request, (long)arg}, result = 1;
	bool made = check_vfio_ioctl(a, &result);

	CHECK_EQ(result, made ? answer : 1);
	return made;
}

static bool map_with(long fd, uint64_t iova, uint64_t pages, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.vaddr = ADDRESS + iova,
		.iova = iova,
		.size = pages * PAGE,
	};

	return call(fd, VFIO_IOMMU_MAP_DMA, &map);
}

static const struct check_reg *map(long fd, uint64_t iova, uint64_t pages)
{
	CHECK(map_with(fd, iova, pages, RW));
	return stub_newest();
}

static void unmap(long fd, uint64_t iova, uint64_t pages, uint32_t flags)
{
	struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap),
						   .flags = flags,
						   .iova = iova,
						   .size = pages * PAGE};

	CHECK(call(fd, VFIO_IOMMU_UNMAP_DMA, &unmap));
}

static void check_live(const struct check_reg *reg, bool live)
{
	CHECK_EQ(reg->state, live ? STUB_DONE : STUB_ENDED);
}

TEST(a_mapping_is_followed_until_it_is_unmapped)
{
	const struct check_reg *a, *b, *other;

	a = map(DEVICE, 0, 2);
	CHECK_EQ(a->of, CHECK_VFIO);
	CHECK_EQ(a->addr, ADDRESS);
	CHECK_EQ(a->length, 2 * PAGE);
	CHECK_EQ(a->flags, CHECK_UNSEEN_USES);
	CHECK_EQ(a->name, 0);
	b = map(DEVICE, 4 * PAGE, 4);
	CHECK_EQ(b->name, 4 * PAGE);
	other = map(OTHER, 0, 2);
	unmap(DEVICE, 0, 4, 0);
	check_live(a, false);
	check_live(b, true);
	a = map(DEVICE, 0, 2);
	unmap(DEVICE, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL);
	check_live(a, false);
	check_live(b, false);
	check_live(other, true);
	unmap(OTHER, 0, 2, 0);
	CHECK_EQ(stub_count(STUB_ENDED), stub_begun);
}

TEST(what_is_refused_changes_nothing)
{
	const struct check_reg *a = map(DEVICE, 0, 2);

	answer = -ENOTTY;
	CHECK(map_with(DEVICE, 8 * PAGE, 1, RW));
	check_live(stub_newest(), false);
	unmap(DEVICE, 0, 2, 0);
	check_live(a, true);
}

TWIN(what_is_refused_changes_nothing, is_there, MRN_BREAK(CHECK_VFIO_REFUSED));

/* Pages that are mapped already get another address; the same number is another call of another file's; no memory. */
TEST(what_maps_nothing_is_left_alone)
{
	CHECK(!map_with(DEVICE, 0, 1, RW | VFIO_DMA_MAP_FLAG_VADDR));
	CHECK(!map_with(DEVICE, 0, 1, 0));
	CHECK(!map_with(DEVICE, 0, 0, RW));
	CHECK(!call(DEVICE, VFIO_IOMMU_MAP_DMA, NULL));
	CHECK(!call(DEVICE, VFIO_IOMMU_UNMAP_DMA, NULL));
	CHECK(!call(DEVICE, VFIO_IOMMU_GET_INFO, &answer));
	CHECK_EQ(stub_begun, 0);
}

TEST(iommufd_has_address_spaces)
{
	struct ioas_map m = {
		.size = sizeof(m), .flags = 6, .ioas = 3, .addr = ADDRESS, .length = PAGE};
	struct ioas_unmap unmap = {.size = sizeof(unmap),
				   .ioas = 3,
				   .iova = 5 * PAGE,
				   .length = PAGE};
	uint32_t object[2] = {sizeof(object), 4};
	const struct check_reg *a, *b;

	chosen = 5 * PAGE;
	CHECK(call(DEVICE, _IO(';', 0x85), &m));
	a = stub_newest();
	CHECK_EQ(a->of, CHECK_IOMMUFD);
	CHECK_EQ(a->name, 5 * PAGE);
	m.ioas = 4;
	CHECK(call(DEVICE, _IO(';', 0x85), &m));
	b = stub_newest();
	chosen = 0;
	CHECK(call(DEVICE, _IO(';', 0x86), &unmap));
	check_live(a, false);
	check_live(b, true);
	CHECK(call(DEVICE, _IO(';', 0x80), object));
	check_live(b, false);
	CHECK_EQ(stub_begun, 2);
}

TEST(mappings_end_with_the_descriptor)
{
	long close[6] = {DEVICE}, range[6] = {DEVICE, 100, 0}, later[6] = {0, 100, 4}, result;
	const struct check_reg *other = map(OTHER, 0, 1), *a = map(DEVICE, 0, 1);

	CHECK(!check_vfio_close(close, &result));
	check_live(a, false);
	a = map(DEVICE, 0, 1);
	CHECK(!check_vfio_close_range(later, &result));
	check_live(a, true);
	check_live(other, true);
	CHECK(!check_vfio_close_range(range, &result));
	check_live(a, false);
	check_live(other, false);
}

/* Groups, and a device of the first. */
enum { GROUP = 20, GROUP2, DEVICE_OF_GROUP };

static void group_in(long group, int container)
{
	CHECK(call(group, VFIO_GROUP_SET_CONTAINER, &container));
}

static void device_of(long group, long fd)
{
	answer = fd;
	CHECK(call(group, VFIO_GROUP_GET_DEVICE_FD, "0000:00:03.0"));
	answer = 0;
}

static void shut(long fd)
{
	long close[6] = {fd}, result;

	CHECK(!check_vfio_close(close, &result));
}

TEST(mappings_end_with_the_last_group_of_their_container)
{
	const struct check_reg *a, *other = map(OTHER, 0, 1);

	group_in(GROUP, DEVICE);
	group_in(GROUP2, DEVICE);
	group_in(GROUP2 + 10, OTHER);
	a = map(DEVICE, 0, 1);
	shut(GROUP);
	check_live(a, true);
	answer = -EBUSY;
	CHECK(call(GROUP2, VFIO_GROUP_UNSET_CONTAINER, NULL));
	check_live(a, true);
	answer = 0;
	CHECK(call(GROUP2, VFIO_GROUP_UNSET_CONTAINER, NULL));
	check_live(a, false);
	check_live(other, true);
	/* The group is not in it any more. */
	a = map(DEVICE, 0, 1);
	shut(GROUP2);
	check_live(a, true);
}

TEST(a_group_that_is_refused_is_not_in_the_container)
{
	const struct check_reg *a = map(DEVICE, 0, 1);
	int container = DEVICE;

	answer = -EINVAL;
	CHECK(call(GROUP, VFIO_GROUP_SET_CONTAINER, &container));
	CHECK(!call(GROUP, VFIO_GROUP_SET_CONTAINER, NULL));
	shut(GROUP);
	check_live(a, true);
}

/* The kernel leaves a group in its container, though the group is closed, while a device of it is open. */
TEST(a_device_keeps_its_containers_mappings)
{
	const struct check_reg *a;

	group_in(GROUP, DEVICE);
	device_of(GROUP, DEVICE_OF_GROUP);
	a = map(DEVICE, 0, 1);
	shut(GROUP);
	check_live(a, true);
	shut(DEVICE_OF_GROUP);
	check_live(a, false);
}

TWIN(a_device_keeps_its_containers_mappings, is_there, MRN_BREAK(CHECK_VFIO_DEVICE));

TEST(groups_are_closed_by_range)
{
	long later[6] = {GROUP, GROUP2, 4}, range[6] = {GROUP, GROUP2, 0}, result;
	const struct check_reg *a;

	CHECK(!call(GROUP, VFIO_GROUP_GET_DEVICE_FD, "0000:00:03.0"));
	group_in(GROUP, DEVICE);
	group_in(GROUP2, DEVICE);
	a = map(DEVICE, 0, 1);
	CHECK(!check_vfio_close_range(later, &result));
	check_live(a, true);
	CHECK(!check_vfio_close_range(range, &result));
	check_live(a, false);
}

TEST(a_forked_child_has_nothing)
{
	long close[6] = {DEVICE}, result;
	const struct check_reg *a = map(DEVICE, 0, 1);

	check_vfio_restart();
	CHECK(!check_vfio_close(close, &result));
	check_live(a, true);
}
