/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/kind.h"

#include <stdio.h>
#include <string.h>

const struct mrn_kind *const mrn_kinds[] = {
	&mrn_kind_interpose,
	&mrn_kind_uffd,
	&mrn_kind_dispatch,
	NULL,
};

void mrn_source_add_why(struct mrn_source *s, const char *sentence)
{
	size_t used = strlen(s->why);

	if (!strstr(s->why, sentence))
		snprintf(s->why + used, sizeof(s->why) - used, "%s%s.", used ? " " : "", sentence);
}

const char *mrn_kind_remedy(int error)
{
	switch (error) {
	case -EMFILE:
		return "this process has too few descriptors left: raise RLIMIT_NOFILE (ulimit -n) by "
		       "three, or close some";
	case -ENFILE:
		return "this machine has no descriptors left: raise fs.file-max";
	case -EAGAIN:
		return "no thread can be made: raise RLIMIT_NPROC (ulimit -u), or the container's limit "
		       "of processes";
	case -ENOMEM:
		return "no memory, or more mappings than vm.max_map_count allows";
	default:
		return strerror(-error);
	}
}
