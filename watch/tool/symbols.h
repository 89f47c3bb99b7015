/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names for call sites, from the files that the code came from: by elfutils' libdw, which reads symbol tables, separate
 * debug files and lines. Without it, names are module and offset.
 */
#ifndef MRN_WATCH_SYMBOLS_H
#define MRN_WATCH_SYMBOLS_H

#include <stdbool.h>

#include "watch/tool/sites.h"

/* Gives every site its label and line that has none yet. 0 or -ENOMEM. */
int symbols_name(struct sites *sites);
/* Frees what symbols_name has made. */
void symbols_forget(struct sites *sites);

/* True if this was built with libdw. */
bool symbols_are_there(void);

#endif
