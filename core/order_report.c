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

#include "os/event_path.h"

struct text {
	char at[MRN_MAPS_PATH_MAX + 256];
	size_t length;
};

static void put(struct text *t, const char *s)
{
	size_t n = strlen(s), room = sizeof(t->at) - t->length;

	n = n < room ? n : room;
	memcpy(t->at + t->length, s, n);
	t->length += n;
}

static void put_hex(struct text *t, uintptr_t number)
{
	char digits[2 * sizeof(number) + 1], *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do
		*--p = "0123456789abcdef"[number & 15];
	while (number >>= 4);
	put(t, "0x");
	put(t, p);
}

/* Whoever reads stderr may be gone. */
static void say(const struct text *t)
{
	mrn_sys3(SYS_write, STDERR_FILENO, (long)t->at, (long)t->length);
}

/* Where an address lies: in which file, and how far from where that is loaded. */
struct place {
	uintptr_t addr, base, end;
	char path[MRN_MAPS_PATH_MAX + 1];
	struct text *text;
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
	put(p->text, p->path);
	put(p->text, "(+");
	put_hex(p->text, p->addr - p->base);
	put(p->text, ") ");
	return false;
}

static void say_place(const char *what, uintptr_t addr)
{
	struct text t = {.length = 0};
	struct place p = {.addr = addr, .text = &t};

	put(&t, what);
	mrn_maps_visit(visit, &p);
	put(&t, "[");
	put_hex(&t, addr);
	put(&t, "]\n");
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
	struct text t = {.length = 0};

	put(&t, "mrn: ");
	put(&t, r->who);
	put(&t, " was called with a driver lock held that a callback takes\n");
	say(&t);
	say_place("mrn:   called from ", r->caller);
	say_place("mrn:   the lock     ", r->lock);
	say_place("mrn:   the callback ", r->callback);
	if (r->taken)
		say_place("mrn:   holds it at  ", r->taken);
	/* It lies in the frame of whoever has found it. */
	say_stack(r);
}
