/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tool has put into the environment: LD_PRELOAD's first entries, WATCH_ENVIRONMENT, and an option for
 * AddressSanitizer, whose runtime otherwise refuses to be loaded behind another library.
 */
#ifndef MRN_WATCH_ENVIRONMENT_H
#define MRN_WATCH_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "watch/shared/log.h"

/* The value of name, which ends in "="; NULL if it is not set. */
const char *watch_environment_get(const char *name);

/*
 * Makes the environment what it was before the tool came, so that programs which this one starts run unwatched. In
 * place: main's third argument is the same array. Keeps what is not the tool's. Call before main.
 */
void watch_environment_restore(const struct watch_header *header);

/* Remembers what this program was given. Call before main, and before the above. */
void watch_environment_start(void);

/* An environment to execute another program with: a copy, or the original. */
struct watch_environment {
	char **env;
	void *pages;
	size_t size;
};

/* True if its strings can be read. */
bool watch_environment_is_readable(char *const env[]);

/* True if env has what the recorder needs. */
bool watch_environment_is_ours(const struct watch_header *header, char *const env[]);

/*
 * A copy of env, without all that is the tool's, or with it. env itself if there is no memory. Not on the event path,
 * but without malloc: exec may be called where malloc must not be.
 */
void watch_environment_copy(struct watch_environment *e, char *const env[],
			    const struct watch_header *header, bool with);
void watch_environment_drop(struct watch_environment *e);

#endif
