/* SPDX-License-Identifier: BSD-3-Clause */
#include "coverage/beside.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int beside_find(char *path, size_t size, const char *name)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash) {
		*slash = '\0';
		if (snprintf(path, size, "%s/%s", self, name) < (int)size && !access(path, R_OK))
			return 0;
	}
	if (snprintf(path, size, "%s/%s", MRN_LIBEXECDIR, name) < (int)size && !access(path, R_OK))
		return 0;
	return -ENOENT;
}

/* "LD_PRELOAD=..."; NULL if this program has no interposer, or no memory is left. */
static char *preloading_interposer(void)
{
	char *entry = NULL;
#ifdef MRN_INTERPOSE
	void *library = dlopen(MRN_INTERPOSE, RTLD_LAZY | RTLD_NOLOAD);
	struct link_map *map;

	if (!library)
		return NULL;
	if (!dlinfo(library, RTLD_DI_LINKMAP, &map) &&
	    asprintf(&entry, "LD_PRELOAD=%s", map->l_name) < 0)
		entry = NULL;
	dlclose(library);
#endif
	return entry;
}

int beside_environment_make(struct beside_environment *e, bool interposed)
{
	size_t n = 0, kept = 0;

	*e = (struct beside_environment){NULL};
	while (environ[n])
		n++;
	e->env = calloc(n + 2, sizeof(*e->env));
	if (!e->env)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "LD_PRELOAD=", strlen("LD_PRELOAD=")) != 0)
			e->env[kept++] = environ[i];
	if (interposed)
		e->preload = preloading_interposer();
	if (e->preload)
		e->env[kept] = e->preload;
	return 0;
}

void beside_environment_free(struct beside_environment *e)
{
	free(e->preload);
	free(e->env);
}
