/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packed file that mrn watch -o writes: what gzip makes of it is what was put into it, whoever has packed it and
 * however it was cut.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "watch/tool/pack.h"

enum { MOST = 12 << 20 };

static char *text;

/* A twin changes a byte of what it was. */
static bool changed;

/* Words that come again, as in a trace; and some that do not. */
static void make_text(struct test_rand *rand)
{
	text = malloc(MOST);
	CHECK(text);
	for (size_t i = 0; i < MOST; i++)
		text[i] = (char)(i & 4096 ? 'a' + i % 23 : ' ' + test_rand_below(rand, 90));
}

/* In pieces of all sizes, by both ways, into f. What pack_finish says. */
static int put_pieces(FILE *f, size_t size, struct test_rand *rand)
{
	struct pack p;

	CHECK_EQ(pack_start(&p, f), 0);
	for (size_t at = 0, n; at < size; at += n) {
		n = test_rand_below(rand, 9) ? test_rand_below(rand, 300)
					     : test_rand_below(rand, 3 * PACK_TEXT);
		n = n < size - at ? n : size - at;
		if (n < 300 && n % 2) {
			char *to = pack_begin(&p, 300);

			memcpy(to, text + at, n);
			pack_end(&p, to + n);
		} else {
			pack_put(&p, text + at, n);
		}
	}
	return pack_finish(&p);
}

static void check_file(const char *path, size_t size)
{
	char command[128], *back = malloc(MOST + 1);
	FILE *f;

	snprintf(command, sizeof(command), "gzip -cdf %s", path);
	f = popen(command, "r");
	CHECK(f && back);
	CHECK_EQ(fread(back, 1, MOST + 1, f), size);
	/* Its checksum and length were right, too. */
	CHECK_EQ(pclose(f), 0);
	CHECK(!memcmp(back, text, size));
	free(back);
}

static void check_size(size_t size, struct test_rand *rand)
{
	char path[64];
	FILE *f = fopen(test_path(path, sizeof(path), "pack"), "we");

	CHECK(f);
	CHECK_EQ(put_pieces(f, size, rand), 0);
	CHECK_EQ(fclose(f), 0);
	if (changed && size)
		text[size / 2] ^= 1;
	check_file(path, size);
	unlink(path);
}

static void check_sizes(void)
{
	static const size_t sizes[] = {0, 1, PACK_TEXT - 1, PACK_TEXT, PACK_TEXT + 1, MOST};
	struct test_rand rand;

	test_rand_init(&rand, 0);
	make_text(&rand);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		check_size(sizes[i], &rand);
}

TEST(what_comes_out_is_what_went_in, .timeout_s = 60)
{
	check_sizes();
}
TWIN(what_comes_out_is_what_went_in, a_byte_changed, changed = true);

/* Where no thread can be had, whoever writes packs. */
TEST(without_threads, .timeout_s = 60)
{
	pthread_attr_t attr;

	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attr, (size_t)1 << 50), 0);
	CHECK_EQ(pthread_setattr_default_np(&attr), 0);
	check_sizes();
}

TEST(a_disk_that_is_full)
{
	struct test_rand rand;
	FILE *f = fopen("/dev/full", "w");

	if (!f)
		SKIP("no /dev/full");
	test_rand_init(&rand, 0);
	make_text(&rand);
	CHECK_EQ(put_pieces(f, MOST, &rand), -ENOSPC);
	fclose(f);
	f = fopen("/dev/full", "w");
	CHECK_EQ(put_pieces(f, 1, &rand), -ENOSPC);
	fclose(f);
}
