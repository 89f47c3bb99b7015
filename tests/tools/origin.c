/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn watch: whether the file at a path is the one that a program has run. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "os/maps.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "watch/tool/origin.h"

#define PAGE 4096

static char path[64];

static void write_file(char what, int flags)
{
	char text[PAGE];
	int fd = open(path, O_WRONLY | O_CREAT | flags, 0700);

	memset(text, what, sizeof(text));
	CHECK(fd >= 0 && write(fd, text, sizeof(text)) == PAGE && !close(fd));
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* A file of a minute ago, mapped as code, and its entry in the recorder's list. */
static struct watch_module run_it(void)
{
	const struct timespec old[2] = {{time(NULL) - 60, 0}, {time(NULL) - 60, 0}};
	struct watch_module m = {.since = now()};
	struct mrn_mapping mapping;
	void *p;
	int fd;

	test_path(path, sizeof(path), "origin");
	write_file('a', O_TRUNC);
	CHECK_EQ(utimensat(AT_FDCWD, path, old, 0), 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED && !close(fd));
	CHECK_EQ(mrn_maps_from((uintptr_t)p, &mapping, 1), 1);
	m.start = mapping.start;
	m.end = mapping.end;
	m.inode = mapping.inode;
	m.dev_major = mapping.dev_major;
	m.dev_minor = mapping.dev_minor;
	strcpy(m.path, path);
	return m;
}

static char first_byte(struct origin *o)
{
	char c = '-';
	int fd = origin_open(o);

	if (fd >= 0)
		CHECK(read(fd, &c, 1) == 1 && !close(fd));
	return c;
}

static void check(bool keep, void (*meanwhile)(void), char want, bool replaced)
{
	struct watch_module m = run_it();
	struct origin o;
	char found;

	CHECK_ERR(origin_init(&o, (uint32_t)getpid(), &m, keep), 0);
	CHECK(!o.replaced);
	meanwhile();
	found = first_byte(&o);
	unlink(path);
	CHECK_EQ(found, want);
	CHECK_EQ(o.replaced, replaced);
	origin_destroy(&o);
}

static void nothing(void)
{
}

static void another(void)
{
	CHECK_EQ(unlink(path), 0);
	write_file('b', O_EXCL);
}

static void written(void)
{
	write_file('b', 0);
}

TEST(a_file_that_stays)
{
	check(false, nothing, 'a', false);
}

TEST(a_file_that_is_kept_open)
{
	check(true, another, 'a', false);
}

TEST(another_file_by_that_path)
{
	check(false, another, '-', true);
}
TWIN(another_file_by_that_path, by_its_path, BREAK(WATCH_ORIGIN));

TEST(a_file_that_is_written_to)
{
	check(true, written, '-', true);
}
TWIN(a_file_that_is_written_to, by_its_path, BREAK(WATCH_ORIGIN));
