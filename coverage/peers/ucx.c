/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn-peer-ucx: UCX's cache with UCX's own hooks. */
#include "coverage/peers/peer.h"
#include "coverage/peers/ucx_cache.h"

int main(int argc, char **argv)
{
	static const struct peer peer = {
		.name = "ucx",
		.open = ucx_cache_open,
		.get = ucx_cache_get,
		.put = ucx_cache_put,
	};

	return peer_main(&peer, argc, argv);
}
