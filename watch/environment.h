/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tool has put into the environment: LD_PRELOAD's first entries, and WATCH_ENVIRONMENT.
 */
#ifndef MRN_WATCH_ENVIRONMENT_H
#define MRN_WATCH_ENVIRONMENT_H

#include <stdbool.h>

#include "watch/log.h"

/* The value of name, which ends in "="; NULL when there is none. */
const char *watch_environment_get(const char *name);

/*
 * Makes the environment what it was before the tool came, so that what this program starts runs without us;
 * and remembers what it has taken out. In place: main's third argument is the same array. Before main.
 */
void watch_environment_restore(const struct watch_header *header);

/*
 * A copy of env with all of it in again, for this process to execute another program with; env itself when
 * that cannot be done. Not on the event path, but without malloc: exec may be called where
 * that must not be.
 */
struct watch_environment {
	char **env;
	void *pages;
	size_t size;
};
void watch_environment_extend(struct watch_environment *e, char *const env[],
			      struct watch_header *header);
/* When exec has failed. */
void watch_environment_drop(struct watch_environment *e);

#endif
