/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_OS_CONTAINER_OF_H
#define MRN_OS_CONTAINER_OF_H

#include <stddef.h>

/* The structure of this type whose member ptr points to. */
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
