/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/json.h"
#include "tools/mrn/watch/trace.h"

static const char *event_name(unsigned int event)
{
	static const char *const name[] = {
		[MMU_NOTIFY_UNMAP] = "unmap",
		[MMU_NOTIFY_CLEAR] = "clear",
		[MMU_NOTIFY_PROTECTION_VMA] = "protection_vma",
		[MMU_NOTIFY_PROTECTION_PAGE] = "protection_page",
		[MMU_NOTIFY_SOFT_DIRTY] = "soft_dirty",
		[MMU_NOTIFY_RELEASE] = "release",
		[MMU_NOTIFY_MIGRATE] = "migrate",
		[MMU_NOTIFY_EXCLUSIVE] = "exclusive",
	};

	return event < sizeof(name) / sizeof(name[0]) ? name[event] : "unknown";
}

/* Microseconds, which the format counts in. */
static void put_us(struct json *j, const char *key, uint64_t ns)
{
	json_real3(j, key, (double)ns / 1e3);
}

static int put_event(FILE *out, const struct tally *t, const struct event *e)
{
	const struct site *site = &t->sites.site[e->site];
	char range[64];
	struct json j;

	snprintf(range, sizeof(range), "0x%" PRIx64 "-0x%" PRIx64, e->start, e->stop);
	json_start(&j);
	json_string(&j, "name", mrn_cause_name((enum mrn_cause)e->cause));
	json_string(&j, "cat", event_name(e->event));
	json_string(&j, "ph", "X");
	put_us(&j, "ts", e->begin);
	put_us(&j, "dur", e->end - e->begin);
	json_u64(&j, "pid", e->pid);
	json_u64(&j, "tid", e->tid);
	json_begin_object(&j, "args");
	json_string(&j, "range", range);
	json_u64(&j, "bytes", tally_bytes(e->start, e->stop));
	json_string(&j, "cause", mrn_cause_name((enum mrn_cause)e->cause));
	json_string(&j, "site", site->label);
	if (*site->line)
		json_string(&j, "line", site->line);
	if (e->flags & MRN_RANGE_AFTER)
		json_string(&j, "when", "announced after the change");
	return json_finish_short(&j, out);
}

static int put_process(FILE *out, const struct watch_run *run, uint32_t pid)
{
	struct json j;

	json_start(&j);
	json_string(&j, "name", "process_name");
	json_string(&j, "ph", "M");
	json_u64(&j, "pid", pid);
	json_begin_object(&j, "args");
	json_string(&j, "name", run->program);
	return json_finish_short(&j, out);
}

/* Has the name of this event's process been written? The last few are remembered; twice does no harm. */
static bool is_known(uint32_t pid)
{
	static uint32_t known[16];
	static unsigned int next;

	for (unsigned int i = 0; i < 16; i++)
		if (known[i] == pid)
			return true;
	known[next++ % 16] = pid;
	return false;
}

int trace_write(FILE *out, const struct tally *t, const struct watch_run *run)
{
	const char *between = "";
	int r = 0;

	errno = 0;
	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", out);
	for (size_t i = 0; i < t->nr && !r; i++) {
		if (!is_known(t->event[i].pid)) {
			fputs(between, out);
			r = put_process(out, run, t->event[i].pid);
			between = ",\n";
		}
		fputs(between, out);
		between = ",\n";
		if (!r)
			r = put_event(out, t, &t->event[i]);
	}
	fputs("\n]}\n", out);
	return r ? r : cli_flush(out);
}
