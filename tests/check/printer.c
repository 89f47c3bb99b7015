/* SPDX-License-Identifier: BSD-3-Clause */
/* When the reports of mrn check are written. What they say is stood in for. */
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/tool/printer.h"
#include "check/tool/report.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "watch/tool/symbols.h"

enum { ITEMS = 3 };

static struct collected item[ITEMS];
static struct collection c = {.item = item};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct printer p = {.collection = &c, .lock = &lock, .max = 100};
static sem_t writes;
static int saved_error, end[2];

int symbols_name(struct sites *sites)
{
	CHECK(sites == &c.sites);
	return 0;
}

bool suppressions_name(const struct suppressions *s, const struct sites *sites,
		       const struct collected *about)
{
	(void)s;
	(void)sites;
	return about->finding.grade == CHECK_CHANGE;
}

int report_print(FILE *out, const struct collection *of, const struct collected *about)
{
	CHECK(of == &c);
	return fprintf(out, "%c", 'a' + (char)about->finding.pid) < 0 ? -1 : 0;
}

static void note(void)
{
	CHECK(!sem_post(&writes));
}

/* Standard error is a pipe; full: nobody reads what is there. */
static void begin(bool full)
{
	char some[4096] = "";

	CHECK(!sem_init(&writes, 0, 0));
	CHECK(!pipe(end));
	CHECK(fcntl(end[1], F_SETPIPE_SZ, (int)sizeof(some)) == (int)sizeof(some));
	CHECK(!full || write(end[1], some, sizeof(some)) == (ssize_t)sizeof(some));
	saved_error = dup(STDERR_FILENO);
	CHECK(saved_error >= 0 && dup2(end[1], STDERR_FILENO) == STDERR_FILENO);
	CHECK(!close(end[1]));
	mrn_check_prints_hook = note;
	printer_create(&p);
}

static void add(enum check_grade grade)
{
	CHECK(!pthread_mutex_lock(&lock));
	item[c.nr].finding = (struct check_finding){.grade = (uint8_t)grade, .pid = c.nr};
	c.nr++;
	printer_more(&p);
	CHECK(!pthread_mutex_unlock(&lock));
}

static void finish(void)
{
	printer_finish(&p);
	CHECK(dup2(saved_error, STDERR_FILENO) == STDERR_FILENO);
}

static void read_all(char *text, size_t size)
{
	size_t n = 0;
	ssize_t more;

	while ((more = read(end[0], text + n, size - 1 - n)) > 0)
		n += (size_t)more;
	text[n] = '\0';
}

TEST(each_report_is_written_once)
{
	char text[16];

	begin(false);
	add(CHECK_USE);
	CHECK(!sem_wait(&writes));
	add(CHECK_CHANGE);
	add(CHECK_FLIGHT);
	finish();
	read_all(text, sizeof(text));
	CHECK_MSG(!strcmp(text, "ac"), "%s", text);
	CHECK_EQ(p.printed, 2);
	CHECK_EQ(p.suppressed, 1);
	CHECK(item[0].printed && !item[1].printed && item[1].suppressed);
}

static void *read_in_time(void *text)
{
	/* What filled it. */
	CHECK(read(end[0], (char[4096]){0}, 4096) == 4096);
	read_all(text, 16);
	return NULL;
}

/* The program's children take it before they go on: by the reader's thread, that is. */
TEST(nobody_waits_for_a_report_to_be_read)
{
	char text[16];
	pthread_t t;

	begin(true);
	add(CHECK_USE);
	CHECK(!sem_wait(&writes));
	/* It is written, or about to be. */
	add(CHECK_USE);
	CHECK(!pthread_mutex_lock(&lock));
	CHECK_EQ(p.printed, 1);
	CHECK(!pthread_mutex_unlock(&lock));
	CHECK(!pthread_create(&t, NULL, read_in_time, text));
	finish();
	CHECK(!pthread_join(t, NULL));
	CHECK_MSG(!strcmp(text, "ab"), "%s", text);
}
TWIN(nobody_waits_for_a_report_to_be_read, locked, BREAK(CHECK_PRINTS_LOCKED),
     .accept_timeout = true, .timeout_s = 5);
