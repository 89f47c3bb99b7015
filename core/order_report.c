/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The report, on the event path: raw writes from the stack, and addresses as addr2line takes them. Names of functions would
 * take the loader's lock.
 */
#include "core/order_report.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "os/maps.h"
#include "os/return_addresses.h"
#include "os/syscall.h"
#include "os/text.h"

#include "os/event_path.h"

#define TEXT_MAX (MRN_MAPS_PATH_MAX + 256)

/* Whoever reads stderr may be gone. */
static void say(const struct mrn_text *t)
{
	mrn_sys3(SYS_write, STDERR_FILENO, (long)t->to, (long)t->used);
}

/* Where an address lies: in which file, and how far from where that is loaded. */
struct place {
	uintptr_t addr, base, end;
	char path[MRN_MAPS_PATH_MAX + 1];
	struct mrn_text *text;
};

static bool visit(const struct mrn_mapping *m, void *arg)
{
	struct place *p = arg;

	/* The parts of a program or a library follow each other; the last may belong to no file (.bss). */
	if (*m->path ? strcmp(m->path, p->path) != 0 : m->start != p->end) {
		p->base = m->start;
		strncpy(p->path, m->path, MRN_MAPS_PATH_MAX);
	}
	p->end = m->end;
	if (p->addr < m->start || p->addr >= m->end)
		return p->addr >= m->end;
	mrn_text_add(p->text, p->path);
	mrn_text_add(p->text, "(+0x");
	mrn_text_add_number(p->text, p->addr - p->base, 16);
	mrn_text_add(p->text, ") ");
	return false;
}

static void say_place(const char *what, uintptr_t addr)
{
	char buffer[TEXT_MAX];
	struct mrn_text t = MRN_TEXT(buffer, sizeof(buffer));
	struct place p = {.addr = addr, .text = &t};

	mrn_text_add(&t, what);
	mrn_maps_visit(visit, &p);
	mrn_text_add(&t, "[0x");
	mrn_text_add_number(&t, addr, 16);
	mrn_text_add(&t, "]\n");
	say(&t);
}

/* Enough to see who has called what was called, through a wrapper and a bracket of ours. */
#define STACK_MAX 16

static void say_stack(const void *above)
{
	static const char title[] = "mrn:   what looks like return addresses on its stack:\n";
	uintptr_t stack[STACK_MAX];
	unsigned int n = mrn_return_addresses(above, stack, STACK_MAX);

	if (n)
		mrn_sys3(SYS_write, STDERR_FILENO, (long)title, sizeof(title) - 1);
	for (unsigned int i = 0; i < n; i++)
		say_place("mrn:     ", stack[i]);
}

void mrn_order_report(const struct mrn_order_report *r)
{
	char buffer[TEXT_MAX];
	struct mrn_text t = MRN_TEXT(buffer, sizeof(buffer));

	mrn_text_add(&t, "mrn: ");
	mrn_text_add(&t, r->who);
	mrn_text_add(&t, " was called with a driver lock held that a callback takes\n");
	say(&t);
	say_place("mrn:   called from ", r->caller);
	say_place("mrn:   the lock     ", r->lock);
	say_place("mrn:   the callback ", r->callback);
	if (r->taken)
		say_place("mrn:   holds it at  ", r->taken);
	/* It lies in the frame of whoever has found it. */
	say_stack(r);
}
