/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text on its way into a file: through gzip where this was built with zlib, else as it is.
 */
#ifndef MRN_TOOL_WATCH_PACK_H
#define MRN_TOOL_WATCH_PACK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PACK_TEXT (UINT32_C(1) << 17)

struct pack {
	void *to; /* zlib's file, or the FILE */
	char *text;
	size_t nr;
	int error; /* the first; what is put after it is dropped */
};

/* Into out, which the caller closes after pack_finish. 0 or -errno. */
int pack_start(struct pack *p, FILE *out);

void pack_put(struct pack *p, const char *text, size_t size);

/*
 * Room for size bytes, PACK_TEXT at most, to be written in place; pack_end says where they end. For very
 * many short pieces.
 */
char *pack_begin(struct pack *p, size_t size);
void pack_end(struct pack *p, const char *end);

/* Writes what is left. 0, or the first error as -errno. */
int pack_finish(struct pack *p);

#endif
