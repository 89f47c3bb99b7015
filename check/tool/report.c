/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/tool/report.h"

#include <inttypes.h>
#include <mrn/mmu_notifier.h>
#include <string.h>

#include "check/tool/options.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/json.h"
#include "tools/mrn/print.h"

static const char *interface_name(unsigned int of)
{
	static const char *const names[] = {
#define NAME(name, text, what) text,
		CHECK_INTERFACES(NAME)};
#undef NAME

	return names[of];
}

/* What a registration's name is there: "buffer", "lkey". */
static const char *name_is(unsigned int of)
{
	static const char *const names[] = {
#define NAME(name, text, what) what,
		CHECK_INTERFACES(NAME)};
#undef NAME

	return names[of];
}

/* ------------------------------------------------------------------------------------- for people */

static void print_stack(FILE *out, const struct collection *c, const struct collected_stack *s)
{
	for (uint32_t i = 0; i < s->nr; i++) {
		const struct site *t = &c->sites.site[s->frame[i]];
		char label[512];

		snprintf(label, sizeof(label), "%s", t->label);
		print_plain(label);
		fprintf(out, "    #%-2" PRIu32 " %s%s%s%s\n", i, label, t->line[0] ? " (" : "",
			t->line, t->line[0] ? ")" : "");
	}
	if (!s->nr)
		fputs("    (the stack is not known)\n", out);
}

static void print_range(FILE *out, uint64_t start, uint64_t length)
{
	fprintf(out, "[%#" PRIx64 ", +%" PRIu64 ")", start, length);
}

static const char *now_there(unsigned int now)
{
	switch (now) {
	case CHECK_NOW_OTHER:
		return ", where other pages are now";
	case CHECK_NOW_NOTHING:
		return ", where no page is now";
	default:
		return "";
	}
}

static void print_headline(FILE *out, const struct check_finding *f)
{
	static const char *const said[CHECK_NR_GRADES] = {
		[CHECK_USE] = "a registration was used after its memory had changed",
		[CHECK_CHANGE] = "registered memory was changed, and its uses cannot be seen",
		[CHECK_FLIGHT] = "memory was changed while it was being transferred",
	};

	fprintf(out, "==%" PRIu32 "== mrn check: %s: %s\n", f->pid, check_grade_name(f->grade),
		said[f->grade]);
}

static void print_used(FILE *out, const struct collection *c, const struct collected *item)
{
	const struct check_finding *f = &item->finding;

	fprintf(out, "  used here, by %s", f->op[0] ? f->op : interface_name(f->of));
	fputs(" of ", out);
	print_range(out, f->used_start, f->used_length);
	if (f->grade == CHECK_USE)
		fprintf(out, ", by thread %" PRIu32, f->tid);
	fputs(":\n", out);
	print_stack(out, c, &item->used);
}

static void print_changed(FILE *out, const struct collection *c, const struct collected *item)
{
	const struct check_finding *f = &item->finding;

	fprintf(out, "  changed here, by %s of ", mrn_cause_name(f->cause));
	print_range(out, f->changed_start, f->changed_end - f->changed_start);
	fputs(now_there(f->now), out);
	if (f->unsure)
		fputs(", by a call that has not returned", out);
	if (f->grade != CHECK_USE)
		fprintf(out, ", by thread %" PRIu32, f->tid);
	fputs(":\n", out);
	print_stack(out, c, &item->changed);
}

static void print_registered(FILE *out, const struct collection *c, const struct collected *item)
{
	const struct check_finding *f = &item->finding;

	fprintf(out, "  registered here, with %s as %s %#" PRIx64 ", ", interface_name(f->of),
		name_is(f->of), f->name);
	print_range(out, f->start, f->length);
	fputs(":\n", out);
	print_stack(out, c, &item->registered);
}

static void print_ended(FILE *out, const struct collection *c, const struct collected *item)
{
	const struct check_finding *f = &item->finding;

	if (!f->ended_at) {
		fputs("  not ended within a second, or before the program\n", out);
		return;
	}
	fprintf(out, "  ended here, %.1f ms later:\n",
		(double)(int64_t)(f->ended_at - f->changed_at) / 1e6);
	print_stack(out, c, &item->ended);
}

int report_print(FILE *out, const struct collection *c, const struct collected *item)
{
	errno = 0;
	print_headline(out, &item->finding);
	if (item->finding.grade != CHECK_CHANGE)
		print_used(out, c, item);
	print_changed(out, c, item);
	if (item->finding.grade != CHECK_FLIGHT)
		print_registered(out, c, item);
	if (item->finding.grade == CHECK_CHANGE)
		print_ended(out, c, item);
	return cli_flush(out);
}

/* ----------------------------------------------------------------------------------------- JSON */

static void put_stack(struct json *j, const char *key, const struct collection *c,
		      const struct collected_stack *s)
{
	json_begin_array(j, key);
	for (uint32_t i = 0; i < s->nr; i++) {
		const struct site *t = &c->sites.site[s->frame[i]];

		json_begin_object(j, NULL);
		json_string(j, "at", t->label);
		json_string(j, "line", t->line);
		json_end(j);
	}
	json_end(j);
}

static void put_range(struct json *j, const char *key, uint64_t start, uint64_t length)
{
	json_begin_object(j, key);
	json_u64(j, "start", start);
	json_u64(j, "length", length);
	json_end(j);
}

static int print_one_json(FILE *out, const struct collection *c, const struct collected *item)
{
	const struct check_finding *f = &item->finding;
	struct json j;
	int r;

	json_start(&j);
	json_string(&j, "grade", check_grade_name(f->grade));
	json_string(&j, "interface", interface_name(f->of));
	json_string(&j, "cause", mrn_cause_name(f->cause));
	json_string(&j, "op", f->op);
	json_u64(&j, "count", f->count);
	json_u64(&j, "unsure", f->unsure);
	json_u64(&j, "suppressed", item->suppressed);
	json_u64(&j, "pid", f->pid);
	json_u64(&j, "tid", f->tid);
	json_u64(&j, "name", f->name);
	put_range(&j, "registered", f->start, f->length);
	put_range(&j, "changed", f->changed_start, f->changed_end - f->changed_start);
	put_range(&j, "used", f->used_start, f->used_length);
	put_stack(&j, "registered_at", c, &item->registered);
	put_stack(&j, "changed_at", c, &item->changed);
	put_stack(&j, "used_at", c, &item->used);
	if (f->ended_at) {
		json_u64(&j, "ended_after_ns", f->ended_at - f->changed_at);
		put_stack(&j, "ended_at", c, &item->ended);
	}
	r = json_finish_short(&j, out);
	if (!r && fputc('\n', out) < 0)
		r = -errno;
	return r;
}

int report_print_json(FILE *out, const struct collection *c)
{
	int r = 0;

	errno = 0;
	for (uint32_t i = 0; i < c->nr && !r; i++)
		r = print_one_json(out, c, &c->item[i]);
	return r ? r : cli_flush(out);
}
