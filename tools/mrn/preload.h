/* SPDX-License-Identifier: BSD-3-Clause */
/* Libraries of ours in the LD_PRELOAD of a program that a command runs. */
#ifndef MRN_TOOL_PRELOAD_H
#define MRN_TOOL_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Writes the paths of these libraries, which are installed with libmrn, to list, separated by colons; and the last one's to last.
 * names ends with NULL. True, or false after a sentence on stderr that begins with the command's name.
 */
bool preload_list(const char *command, const char *const *names, char *list, size_t size,
		  char *last, size_t last_size);

/* True if a library of this name is installed with libmrn. */
bool preload_has(const char *name);

/* Puts a value in front of a variable's, or behind it, with a colon between. False if there is no memory. */
bool preload_extend(const char *variable, const char *value, bool in_front);

#endif
