/* SPDX-License-Identifier: BSD-3-Clause */
/* UCX's ucs_rcache, set up as UCX's InfiniBand part does it, over the device that pins. One per process. */
#ifndef COVERAGE_PEERS_UCX_CACHE_H
#define COVERAGE_PEERS_UCX_CACHE_H

#include "coverage/pin.h"

/* As in struct peer: peer.h. */
int ucx_cache_open(void);
int ucx_cache_get(char *addr, size_t length, void **entry, const struct pin **pin);
void ucx_cache_put(void *entry);

#endif
