/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/environment.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "os/pages.h"
#include "os/peek.h"

static const char preload_name[] = "LD_PRELOAD=";
static const char watch_name[] = WATCH_ENVIRONMENT "=";
static const char asan_name[] = "ASAN_OPTIONS=";

/* WATCH_ENVIRONMENT's value; "" if it was not set. */
static char our_watch[128];

static bool begins(const char *entry, const char *with)
{
	return !strncmp(entry, with, strlen(with));
}

static const char *find(char *const *env, const char *name)
{
	for (; env && *env; env++)
		if (begins(*env, name))
			return *env + strlen(name);
	return NULL;
}

const char *watch_environment_get(const char *name)
{
	return find(environ, name);
}

void watch_environment_start(void)
{
	const char *watch = watch_environment_get(watch_name);

	if (watch && strlen(watch) < sizeof(our_watch))
		strcpy(our_watch, watch);
}

/* ---------------------------------------------------------------------------------- what is the tool's */

/* Where item is in a list with these separators, or NULL. */
static char *find_item(char *list, const char *item, const char *between)
{
	size_t n = strlen(item);

	for (char *at = list; *item && (at = strstr(at, item)); at += n)
		if ((at == list || strchr(between, at[-1])) && strchr(between, at[n]))
			return at;
	return NULL;
}

/* With the separator before it, or else the one behind. False if nothing is left, not even an empty list. */
static bool remove_item(char *list, const char *item, const char *between)
{
	char *at = find_item(list, item, between), *rest = at ? at + strlen(item) : NULL;

	if (!at)
		return true;
	if (at == list && !*rest)
		return false;
	if (at > list)
		at--;
	else
		rest++;
	memmove(at, rest, strlen(rest) + 1);
	return true;
}

static bool has_a_name_of_ours(const char *entry)
{
	return begins(entry, watch_name) || begins(entry, preload_name) || begins(entry, asan_name);
}

/* In place. False if all of the entry was the tool's. */
static bool strip(char *entry, const struct watch_header *header)
{
	if (begins(entry, watch_name))
		return false;
	if (begins(entry, preload_name))
		return remove_item(entry + strlen(preload_name), header->preload, ": ");
	if (begins(entry, asan_name))
		return remove_item(entry + strlen(asan_name), WATCH_ASAN_OPTION, ": ,");
	return true;
}

/*
 * The environment now ends at to; it ended at end. Behind it is the auxiliary vector, where Go's runtime looks for it:
 * an even gap becomes vector entries to be ignored; an odd one becomes an empty vector, and Go then asks /proc.
 */
static void close_gap(char **to, char **end)
{
	const bool even = (end - to) % 2 == 0;

	for (char **p = to; p < end; p++)
		*p = NULL;
	for (char **p = to + 1; even && p < end; p += 2)
		*p = (char *)AT_IGNORE;
}

void watch_environment_restore(const struct watch_header *header)
{
	char **to = environ, **from;

	for (from = environ; *from; from++)
		if (strip(*from, header))
			*to++ = *from;
	close_gap(to, from);
}

/* ------------------------------------------------------------------------------------------- copies */

bool watch_environment_is_readable(char *const env[])
{
	const char *entry = NULL;
	char first;

	for (size_t i = 0; env; i++) {
		int r = mrn_peek(&entry, (uintptr_t)&env[i], sizeof(entry));

		if (r == -EFAULT)
			return false;
		if (r || !entry)
			break;
		if (mrn_peek(&first, (uintptr_t)entry, 1) == -EFAULT)
			return false;
	}
	return true;
}

bool watch_environment_is_ours(const struct watch_header *header, char *const env[])
{
	const char *preload = find(env, preload_name), *watch = find(env, watch_name);

	return preload && watch && !strcmp(watch, our_watch) &&
	       find_item((char *)(uintptr_t)preload, header->preload, ": ");
}

/* What the recorder adds to an entry, or makes a new one of. */
static char *add(char *text, const char *name, const char *first, const char *second)
{
	text = stpcpy(stpcpy(text, name), first ? first : "");
	if (first && second)
		text = stpcpy(text, ":");
	return stpcpy(text, second ? second : "") + 1;
}

/* The bytes of all our entries, and of those that they are added to. */
static size_t room(const struct watch_header *header, char *const env[], size_t *n)
{
	size_t length = sizeof(preload_name) + sizeof(header->preload) + sizeof(watch_name) +
			sizeof(our_watch) + sizeof(asan_name) + sizeof(WATCH_ASAN_OPTION) + 2;

	for (*n = 0; env && env[*n]; (*n)++)
		if (has_a_name_of_ours(env[*n]))
			length += strlen(env[*n]) + 1;
	return (*n + 4) * sizeof(char *) + 2 * length;
}

void watch_environment_copy(struct watch_environment *e, char *const env[],
			    const struct watch_header *header, bool with)
{
	const char *preload = NULL, *asan = NULL;
	char *text, **to;
	size_t n;

	*e = (struct watch_environment){.env = (char **)(uintptr_t)env};
	e->size = room(header, env, &n);
	e->pages = mrn_pages_alloc(e->size);
	if (!e->pages)
		return;
	e->env = to = e->pages;
	text = (char *)(to + n + 4);
	for (size_t i = 0; i < n; i++) {
		char *entry = text;

		if (!has_a_name_of_ours(env[i])) {
			*to++ = env[i];
			continue;
		}
		text = stpcpy(text, env[i]) + 1;
		if (!strip(entry, header))
			continue;
		if (with && begins(entry, preload_name))
			preload = entry + strlen(preload_name);
		else if (with && begins(entry, asan_name))
			asan = entry + strlen(asan_name);
		else
			*to++ = entry;
	}
	if (with) {
		*to++ = text;
		text = add(text, preload_name, header->preload, preload);
		*to++ = text;
		text = add(text, watch_name, our_watch, NULL);
		*to++ = text;
		add(text, asan_name, asan, WATCH_ASAN_OPTION);
	}
	*to = NULL;
}

void watch_environment_drop(struct watch_environment *e)
{
	if (e->pages)
		mrn_pages_free(e->pages, e->size);
	e->pages = NULL;
}
