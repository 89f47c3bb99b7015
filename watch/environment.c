/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/environment.h"

#include <string.h>
#include <unistd.h>

#include "os/pages.h"

static const char preload_name[] = "LD_PRELOAD=";
static const char watch_name[] = WATCH_ENVIRONMENT "=";

/* What has been taken out; "" when it was too long to be kept. */
static char our_preload[4096], our_watch[128];

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

static void remember(const struct watch_header *header)
{
	const char *preload = find(environ, preload_name), *watch = find(environ, watch_name);
	size_t n = header->preload_bytes;

	if (!preload || !watch || strlen(preload) < n || n >= sizeof(our_preload) ||
	    strlen(watch) >= sizeof(our_watch))
		return;
	memcpy(our_preload, preload, n);
	our_preload[n] = '\0';
	memcpy(our_watch, watch, strlen(watch) + 1);
}

void watch_environment_restore(const struct watch_header *header)
{
	char **to = environ;

	remember(header);
	for (char **from = environ; *from; from++) {
		if (begins(*from, watch_name))
			continue;
		if (begins(*from, preload_name)) {
			char *value = *from + sizeof(preload_name) - 1;

			if (!header->had_preload)
				continue;
			if (strlen(value) >= header->preload_bytes)
				memmove(value, value + header->preload_bytes,
					strlen(value + header->preload_bytes) + 1);
		}
		*to++ = *from;
	}
	*to = NULL;
}

/* ----------------------------------------------------------------------------------- putting it back */

void watch_environment_extend(struct watch_environment *e, char *const env[],
			      struct watch_header *header)
{
	const char *had = find(env, preload_name);
	size_t n = 0, length = sizeof(preload_name) + sizeof(our_preload) + sizeof(watch_name) +
			       sizeof(our_watch) + (had ? strlen(had) : 0);
	char *text, **to;

	*e = (struct watch_environment){.env = (char **)(uintptr_t)env};
	while (env && env[n])
		n++;
	e->size = (n + 3) * sizeof(char *) + length;
	if (*our_preload)
		e->pages = mrn_pages_alloc(e->size);
	if (!e->pages)
		return;
	header->had_preload = had != NULL;
	e->env = to = e->pages;
	text = (char *)(to + n + 3);
	for (size_t i = 0; i < n; i++)
		if (!begins(env[i], preload_name) && !begins(env[i], watch_name))
			*to++ = env[i];
	*to++ = text;
	text = stpcpy(stpcpy(stpcpy(text, preload_name), our_preload), had ? had : "") + 1;
	*to++ = text;
	stpcpy(stpcpy(text, watch_name), our_watch);
	*to = NULL;
}

void watch_environment_drop(struct watch_environment *e)
{
	mrn_pages_free(e->pages, e->size);
}
