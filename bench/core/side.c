/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/core/side.h"

#include <errno.h>

#include "bench/memory.h"

int side_open(struct side *s, const struct side_ops *ops, size_t n)
{
	int err;

	*s = (struct side){.ops = ops, .n = n};
	s->notifier = bench_alloc(n * ops->size);
	if (!s->notifier) {
		*s = (struct side){0};
		return -ENOMEM;
	}
	err = ops->open(s);
	if (err) {
		bench_free(s->notifier, n * ops->size);
		*s = (struct side){0};
	}
	return err;
}

void side_close(struct side *s)
{
	s->ops->close(s);
	bench_free(s->notifier, s->n * s->ops->size);
	*s = (struct side){0};
}
