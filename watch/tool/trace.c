/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Formats a million events in a fraction of a second: what is the same for all events of one call site is made once;
 * the rest are numbers, written in place. Neither printf nor a JSON library is as fast.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mrn/json.h"
#include "watch/tool/pack.h"
#include "watch/tool/trace.h"

/* The longest text of an event, without its site's part. */
#define EVENT_TEXT 512

#define AFTER "\"when\":\"announced after the change\","

/* The end of an event's object: its call site, quoted as JSON. */
struct tail {
	char *text;
	size_t size;
};

struct trace {
	struct pack pack;
	const struct tally *tally;
	struct tail *tail; /* one for each site */
	/* The last few processes whose names have been written; writing a name twice does no harm. */
	uint32_t known[16];
	unsigned int next;
};

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

/* ------------------------------------------------------------------------------- pieces of a line */

static char *put(char *to, const char *text)
{
	return stpcpy(to, text);
}

/* At least this many digits. */
static char *put_decimal(char *to, uint64_t value, unsigned int digits)
{
	char text[32], *at = text + sizeof(text);
	size_t n;

	for (; value || digits; value /= 10, digits -= !!digits)
		*--at = (char)('0' + value % 10);
	n = (size_t)(text + sizeof(text) - at);
	memcpy(to, at, n);
	return to + n;
}

static char *put_hex(char *to, uint64_t value)
{
	unsigned int digits = value ? (67 - (unsigned int)__builtin_clzll(value)) / 4 : 1;

	for (unsigned int i = digits; i-- > 0; value >>= 4)
		to[i] = "0123456789abcdef"[value & 15];
	return to + digits;
}

/* Microseconds, the format's unit. */
static char *put_us(char *to, uint64_t ns)
{
	to = put_decimal(to, ns / 1000, 1);
	*to++ = '.';
	return put_decimal(to, ns % 1000, 3);
}

static char *put_event(char *to, const struct event *e)
{
	to = put(to, "{\"name\":\"");
	to = put(to, mrn_cause_name((enum mrn_cause)e->cause));
	to = put(to, "\",\"cat\":\"");
	to = put(to, event_name(e->event));
	to = put(to, "\",\"ph\":\"X\",\"pid\":");
	to = put_decimal(to, e->pid, 1);
	to = put(to, ",\"tid\":");
	to = put_decimal(to, e->tid, 1);
	to = put(to, ",\"ts\":");
	to = put_us(to, e->begin);
	to = put(to, ",\"dur\":");
	to = put_us(to, e->end - e->begin);
	to = put(to, ",\"args\":{\"range\":\"0x");
	to = put_hex(to, e->start);
	to = put(to, "-0x");
	to = put_hex(to, e->stop);
	to = put(to, "\",\"bytes\":");
	to = put_decimal(to, tally_bytes(e->start, e->stop), 1);
	to = put(to, ",\"cause\":\"");
	to = put(to, mrn_cause_name((enum mrn_cause)e->cause));
	to = put(to, "\",");
	return e->flags & MRN_RANGE_AFTER ? put(to, AFTER) : to;
}

/* ----------------------------------------------------------------------------------------- sites */

static int make_tail(struct tail *tail, const struct site *site)
{
	FILE *f = open_memstream(&tail->text, &tail->size);
	struct json j;
	int r;

	if (!f)
		return -errno;
	json_start(&j);
	json_string(&j, "site", site->label);
	if (*site->line)
		json_string(&j, "line", site->line);
	r = json_finish_short(&j, f);
	if (fputs("}", f) < 0 && !r)
		r = -ENOMEM;
	return fclose(f) && !r ? -ENOMEM : r;
}

static int make_tails(struct trace *w)
{
	const struct sites *s = &w->tally->sites;
	int r = 0;

	w->tail = calloc(s->nr, sizeof(*w->tail));
	if (!w->tail)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->nr && !r; i++)
		r = make_tail(&w->tail[i], &s->site[i]);
	return r;
}

static void free_tails(struct trace *w)
{
	for (uint32_t i = 0; w->tail && i < w->tally->sites.nr; i++)
		free(w->tail[i].text);
	free(w->tail);
}

/* -------------------------------------------------------------------------------------- processes */

static bool is_known(struct trace *w, uint32_t pid)
{
	for (unsigned int i = 0; i < 16; i++)
		if (w->known[i] == pid)
			return true;
	w->known[w->next++ % 16] = pid;
	return false;
}

static int put_process(struct trace *w, const char *program, uint32_t pid)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	struct json j;
	int r;

	if (!f)
		return -errno;
	json_start(&j);
	json_string(&j, "name", "process_name");
	json_string(&j, "ph", "M");
	json_u64(&j, "pid", pid);
	json_begin_object(&j, "args");
	json_string(&j, "name", program);
	r = json_finish_short(&j, f);
	if (fputs(",\n", f) < 0 && !r)
		r = -ENOMEM;
	if (fclose(f) && !r)
		r = -ENOMEM;
	if (!r)
		pack_put(&w->pack, text, size);
	free(text);
	return r;
}

/* ----------------------------------------------------------------------------------------- all */

static int put_events(struct trace *w, const char *program)
{
	const struct tally *t = w->tally;
	int r = 0;

	for (size_t i = 0; i < t->nr && !r; i++) {
		const struct event *e = &t->event[i];
		const struct tail *tail = &w->tail[e->site];

		if (!is_known(w, e->pid))
			r = put_process(w, program, e->pid);
		pack_end(&w->pack, put_event(pack_begin(&w->pack, EVENT_TEXT), e));
		/* Without its opening brace: the object has been begun. */
		pack_put(&w->pack, tail->text + 1, tail->size - 1);
		pack_put(&w->pack, ",\n", i + 1 < t->nr ? 2 : 0);
	}
	return r;
}

int trace_write(FILE *out, const struct tally *t, const struct watch_run *run)
{
	static const char head[] = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n",
			  end[] = "\n]}\n";
	struct trace w = {.tally = t};
	int r = make_tails(&w), err;

	if (!r)
		r = pack_start(&w.pack, out);
	if (!r) {
		pack_put(&w.pack, head, sizeof(head) - 1);
		r = put_events(&w, run->program);
		pack_put(&w.pack, end, sizeof(end) - 1);
		err = pack_finish(&w.pack);
		r = r ? r : err;
	}
	free_tails(&w);
	return r;
}
