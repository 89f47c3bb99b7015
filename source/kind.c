/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/kind.h"

#include <stdio.h>
#include <string.h>

#define OPS(NAME, word, ...) &mrn_kind_##word,
const struct mrn_kind_ops *const mrn_kind_ops[MRN_NR_KINDS] = {MRN_KINDS(OPS)};

void mrn_source_add_why(struct mrn_source *s, const char *sentence)
{
	size_t used = strlen(s->why);

	if (!strstr(s->why, sentence))
		snprintf(s->why + used, sizeof(s->why) - used, "%s%s.", used ? " " : "", sentence);
}

static const struct mrn_remedy common[] = {
	{-EMFILE, "this process has too few descriptors left: raise RLIMIT_NOFILE (ulimit -n) by "
		  "three, or close some"},
	{-ENFILE, "this machine has no descriptors left: raise fs.file-max"},
	{-EAGAIN, "no thread can be made: raise RLIMIT_NPROC (ulimit -u), or the container's limit "
		  "of processes"},
	{-ENOMEM, "no memory, or more mappings than vm.max_map_count allows"},
	{0},
};

const char *mrn_kind_remedy(const struct mrn_remedy *own, int error)
{
	for (int i = 0; i < 2; i++)
		for (const struct mrn_remedy *r = i ? common : own; r && r->error; r++)
			if (r->error == error)
				return r->sentence;
	return strerror(-error);
}
