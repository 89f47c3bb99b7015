/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This process's threads, by the names that /proc has for them: numbers, but of the pid namespace that /proc was mounted
 * in, and so perhaps not those that gettid returns. Raw calls, and small buffers: the caller may be a signal handler.
 * Event path.
 */
#ifndef MRN_OS_TASKS_H
#define MRN_OS_TASKS_H

#include <stdbool.h>
#include <stddef.h>

#include "os/status.h"

/*
 * Calls visit with each thread's name until it returns false. 0, or -errno if not all could be listed. Threads that come
 * or go meanwhile, and then others, too, may be left out.
 */
int mrn_tasks_visit(bool (*visit)(long name, void *arg), void *arg);

/* The first size - 1 bytes of what /proc has in this file of a thread, as a string. name 0: the caller. 0 or -errno. */
int mrn_task_about(long name, const char *file, char *into, size_t size);

/* mrn_status_read, of a thread. */
int mrn_task_status(long name, struct mrn_status *status);

#endif
