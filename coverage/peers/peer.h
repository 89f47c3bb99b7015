/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tries what another project's registration cache catches of the catalog of causes. A peer is a program that passes its
 * cache to peer_main; its registrations are pins (coverage/pin.h).
 */
#ifndef COVERAGE_PEERS_PEER_H
#define COVERAGE_PEERS_PEER_H

#include <stddef.h>

#include "coverage/pin.h"

struct peer {
	const char *name;
	/* In the process that is to be watched. 0 or -errno; says what is missing on standard error. */
	int (*open)(void);
	/* From any thread. The pin belongs to the cache's entry: valid until put. */
	int (*get)(char *addr, size_t length, void **entry, const struct pin **pin);
	void (*put)(void *entry);
};

/*
 * Call for each registration: pin_take, and counts it. PEER_DELAY_MS in the environment makes the device slow: a
 * registration takes so long after the pin. Then a race's change comes in that time, and the peer's name ends with
 * "-slow". With PEER_ALONE there is no race: each cause is tried without a second thread.
 */
int peer_register(struct pin *pin, char *addr, size_t length);

/*
 * Tries the causes that the arguments name, or all, and prints a line of JSON for each. Returns the program's exit
 * status: 77 if the peer cannot be opened here.
 */
int peer_main(const struct peer *peer, int argc, char **argv);

#endif
