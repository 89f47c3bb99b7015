/* SPDX-License-Identifier: BSD-3-Clause */
/* What a finding is about. */
#ifndef MRN_CHECK_KINDS_H
#define MRN_CHECK_KINDS_H

/* What the memory was registered with: its name in reports, and what a registration's name is there. */
#define CHECK_INTERFACES(X)               \
	X(IO_URING, "io_uring", "buffer") \
	X(VERBS, "verbs", "lkey")         \
	X(FABRIC, "libfabric", "key")     \
	X(UCX, "UCX", "memh")             \
	X(VFIO, "VFIO", "iova")           \
	X(IOMMUFD, "iommufd", "iova")     \
	X(CUDA, "CUDA", "address")        \
	X(HIP, "HIP", "address")

enum check_interface {
#define ENUM(name, text, what) CHECK_##name,
	CHECK_INTERFACES(ENUM)
#undef ENUM
		CHECK_NR_INTERFACES
};

enum check_grade {
	CHECK_USE,    /* registered memory was used that has other pages by now */
	CHECK_CHANGE, /* registered memory was changed whose uses cannot be seen */
	CHECK_FLIGHT, /* memory was changed while the kernel or a device used it */
	CHECK_NR_GRADES
};

/* What is at the changed pages when they are used. */
enum check_now {
	CHECK_NOW_UNKNOWN,
	CHECK_NOW_OTHER,  /* other pages, by their numbers */
	CHECK_NOW_NOTHING /* no page */
};

#endif
