/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory regions of libibverbs: its functions that make and end them, in front of libibverbs (verbs_regions.c), and the
 * functions of a device's by which work is posted, which the program calls through pointers in structures of
 * libibverbs' (verbs_post.c, verbs_builder.c).
 *
 * Not seen: work that a program hands to the device itself, past libibverbs (mlx5dv and the like), or by ibv_post_wq_recv
 * and ibv_post_srq_ops; and memory regions of a device that were made by another process (ibv_import_mr).
 *
 * Without a version name, like all that is preloaded: a program for libibverbs 1.0 of 2006 cannot be checked.
 */
#ifndef MRN_CHECK_VERBS_H
#define MRN_CHECK_VERBS_H

#include <infiniband/verbs.h>

#define CHECK_EXPORTED		 __attribute__((visibility("default")))
#define CHECK_VERBS_BEHIND(name) MRN_BEHIND(name, "libibverbs.so.1")

/* From now on uses of the device's memory regions are seen. */
void check_verbs_see_posts(struct ibv_context *context);

/* The device is told to use what these name. */
void check_verbs_use(const struct ibv_context *context, const struct ibv_sge *list, size_t nr,
		     const char *op);

/* In a forked child. */
void check_verbs_restart(void);

#endif
