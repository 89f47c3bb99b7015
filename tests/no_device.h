/* SPDX-License-Identifier: BSD-3-Clause */
/* The functions of a cache whose registrations are nothing: for tests of what else a get does. */
#ifndef TESTS_NO_DEVICE_H
#define TESTS_NO_DEVICE_H

#include <mrn/regcache.h>

static int register_nothing(void *ctx, struct mrn_regcache_entry *entry)
{
	(void)ctx, (void)entry;
	return 0;
}

static void deregister_nothing(void *ctx, struct mrn_regcache_entry *entry)
{
	(void)ctx, (void)entry;
}

static const struct mrn_regcache_ops no_device_ops = {register_nothing, deregister_nothing};

#endif
