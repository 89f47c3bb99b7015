/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef MRN_HAVE_ZLIB
#include <zlib.h>
#endif

#include "tools/mrn/watch/pack.h"

/* ------------------------------------------------------------------------------- what is under it */

#ifdef MRN_HAVE_ZLIB

/* On a descriptor of its own, which zlib closes. The lowest level: our text repeats itself in long pieces. */
static void *open_under(FILE *out)
{
	int fd = fflush(out) ? -1 : fcntl(fileno(out), F_DUPFD_CLOEXEC, 0);
	gzFile gz = fd < 0 ? NULL : gzdopen(fd, "wb1");

	if (!gz && fd >= 0) {
		close(fd);
		errno = ENOMEM;
	} else if (gz) {
		gzbuffer(gz, PACK_TEXT);
	}
	return gz;
}

/* zlib tells that a call has failed by Z_ERRNO, and which way it did by errno. */
static int error_of(int err)
{
	return err == Z_ERRNO && errno ? -errno : -EIO;
}

static int write_under(void *to, const char *text, size_t size)
{
	int err;

	errno = 0;
	if (gzwrite(to, text, (unsigned int)size) == (int)size)
		return 0;
	gzerror(to, &err);
	return error_of(err);
}

static int close_under(void *to)
{
	int err;

	errno = 0;
	err = gzclose(to);
	return err == Z_OK ? 0 : error_of(err);
}

#else

static void *open_under(FILE *out)
{
	return out;
}

static int write_under(void *to, const char *text, size_t size)
{
	return fwrite(text, 1, size, to) == size ? 0 : -errno;
}

static int close_under(void *to)
{
	return fflush(to) ? -errno : 0;
}

#endif

/* --------------------------------------------------------------------------------------- the text */

int pack_start(struct pack *p, FILE *out)
{
	int err;

	*p = (struct pack){.text = malloc(PACK_TEXT)};
	if (!p->text)
		return -ENOMEM;
	p->to = open_under(out);
	if (p->to)
		return 0;
	err = errno;
	free(p->text);
	return -err;
}

static void flush(struct pack *p)
{
	if (!p->error && p->nr)
		p->error = write_under(p->to, p->text, p->nr);
	p->nr = 0;
}

char *pack_begin(struct pack *p, size_t size)
{
	if (p->nr + size > PACK_TEXT)
		flush(p);
	return p->text + p->nr;
}

void pack_end(struct pack *p, const char *end)
{
	p->nr = (size_t)(end - p->text);
}

void pack_put(struct pack *p, const char *text, size_t size)
{
	while (size) {
		size_t n = size < PACK_TEXT ? size : PACK_TEXT;
		char *to = pack_begin(p, n);

		memcpy(to, text, n);
		pack_end(p, to + n);
		text += n;
		size -= n;
	}
}

int pack_finish(struct pack *p)
{
	int r;

	flush(p);
	r = close_under(p->to);
	free(p->text);
	return p->error ? p->error : r;
}
