/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tool's side of the log (watch/shared/log.h): creates it, and reads it in a thread while the program runs.
 *
 * It is a memfd that programs open through this process's /proc/PID/fd. So there is no file to be left over, and
 * nothing to inherit: a program that closes all descriptors has its mapping already, and its children open the log
 * anew.
 */
#ifndef MRN_WATCH_READER_H
#define MRN_WATCH_READER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "watch/shared/log.h"

struct watch_sink {
	/* Called in order for each lane; lane->module says which code is where; or NULL. With the lock held. */
	void (*record)(void *arg, const struct watch_record *record, const struct watch_lane *lane);
	void *arg;
	/* Called once for each program, when it begins; or NULL. With the lock held. */
	void (*begins)(void *arg, uint32_t pid, const struct watch_lane *lane);
	/*
	 * Called for each lane at each look, and once more for the last time, to read what it has besides its ring, and
	 * then to clear that for the next; or NULL. With the lock held.
	 */
	void (*look)(void *arg, uint32_t pid, struct watch_lane *lane, bool last);
};

struct watch_reader {
	struct watch_header *header;
	char *base;
	size_t size;
	int fd;
	uint32_t number; /* this process's, by which programs find the log: see alive.h */
	bool by_proc;
	pthread_t thread;
	bool running;
	uint32_t stop;
	/* Held around the sink's calls; hold it to look at what the sink has collected. */
	pthread_mutex_t lock;
	struct watch_sink sink;
	/* For lanes that have been given back. */
	uint64_t dropped, unpaired;
	uint64_t processes; /* that have had a lane */
	bool counted[WATCH_LANES];
	unsigned int used;		/* lanes, at the last look */
	unsigned int looks;		/* so far */
	uint64_t waits_at[WATCH_LANES]; /* 1 + where the last look ended */
	uint64_t began[WATCH_LANES];	/* head when the lane's owner took it */
};

/* besides: bytes of each lane that are the command's own. 0 or -errno. */
int watch_reader_create(struct watch_reader *reader, uint32_t ring_shift, size_t besides);
/* The value for WATCH_ENVIRONMENT. */
void watch_reader_name(const struct watch_reader *reader, char *text, size_t size);
/* Begins to read. 0 or -errno. */
int watch_reader_start(struct watch_reader *reader, const struct watch_sink *sink);
/* Reads the rest, and stops: the program has ended. */
void watch_reader_finish(struct watch_reader *reader);
void watch_reader_destroy(struct watch_reader *reader);

/* How much has been lost so far. */
uint64_t watch_reader_dropped(const struct watch_reader *reader);
uint64_t watch_reader_unpaired(const struct watch_reader *reader);

#endif
