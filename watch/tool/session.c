/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "os/clock.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/progress.h"
#include "watch/shared/kinds.h"
#include "watch/tool/program.h"
#include "watch/tool/session.h"

#define SAY(...) cli_say(s->command, __VA_ARGS__)

/* If standard input, output or error is closed, our own files must not get its number. Closed again for the program. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int session_open(struct session *s)
{
	int r;

	s->reader.fd = -1;
	fill_standard_descriptors();
	r = watch_find_program(s->command, s->program[0], s->path);
	return r ? r : watch_check_program(s->command, s->path);
}

/* The remedy if there can be no log. */
static const char *remedy(int error)
{
	switch (error) {
	case ENOMEM:
		return "raise the limit on addresses (ulimit -v)";
	case EFBIG:
		return "raise the limit on the size of files (ulimit -f)";
	case ENOENT:
		return "programs find it by /proc, which has to be mounted";
	case EMFILE:
		return "raise the limit on descriptors (ulimit -n)";
	default:
		return "its memory is a file of memfd_create's";
	}
}

static uint32_t shift_of(uint64_t records)
{
	return 63 - (uint32_t)__builtin_clzll(records);
}

int session_prepare(struct session *s)
{
	int r = watch_reader_create(&s->reader, shift_of(s->records), s->besides);
	bool too_large = r == -ENOMEM || r == -EFBIG;

	if (r) {
		SAY("cannot make the log: %s; %s%s%s", strerror(-r), remedy(-r),
		    s->smaller && too_large ? ", or " : "",
		    s->smaller && too_large ? s->smaller : "");
		return WATCH_CANNOT;
	}
	s->reader.header->children = s->children;
	s->reader.header->kinds = s->kinds;
	return 0;
}

int session_run(struct session *s, void (*tick)(void *arg), void *arg)
{
	const struct watch_header *h = s->reader.header;
	char name[64];
	int r;

	watch_reader_name(&s->reader, name, sizeof(name));
	launch_prepare(&s->launch);
	s->launch.command = s->command;
	s->launch.recorder = s->recorder;
	s->launch.output_to_error = s->output_to_error;
	s->began = mrn_now_ns();
	r = launch_start(&s->launch, s->path, s->program, s->reader.header, name);
	if (r)
		return r;
	/*
	 * The reader of our tables may have closed its end, or a file may grow too large (ulimit -f); still return the
	 * program's status.
	 */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	r = watch_reader_start(&s->reader, &s->sink);
	if (r)
		SAY("cannot read what the program does: %s", strerror(-r));
	launch_wait(&s->launch, tick, arg);
	s->ended = mrn_now_ns();
	progress_remove();
	watch_reader_finish(&s->reader);
	if (h->failed)
		SAY("the program was not run: %s", h->why);
	else if (!h->attached)
		SAY("the loader did not load the recorder into %s, so nothing was seen",
		    s->program[0]);
	return r || h->failed ? WATCH_CANNOT : 0;
}

void session_close(struct session *s)
{
	watch_reader_destroy(&s->reader);
}

const char *session_sources(const struct session *s)
{
	static char names[128];

	return watch_kinds_put_names(names, sizeof(names), s->reader.header->sources, " and ")
		       ? names
		       : "nothing";
}
