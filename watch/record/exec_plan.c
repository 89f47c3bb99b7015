/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/exec_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "os/pages.h"
#include "os/peek.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "source/confined.h"
#include "source/exec.h"
#include "watch/record/lane.h"
#include "watch/record/recorder.h"
#include "watch/shared/target.h"
#include "watch/shared/text.h"
#include "watch/shared/unfollowed.h"

#include "os/event_path.h"

struct scratch {
	struct watch_target target;
	char text[sizeof(((struct watch_reason *)0)->text)];
	char path[4096];
};

/*
 * What this thread, or its vfork's child, is executing; the child cannot free the copy. Recognises an exec that has
 * been here already: libc's function calls the system call.
 */
static MRN_TLS struct {
	long pid; /* 0: none */
	bool told;
	struct watch_environment environment;
} last;

/* ---------------------------------------------------------------------------------------- finding out */

/* Searches as execvpe and posix_spawnp do; false if nothing is found. */
static bool search(const char *file, char *path, size_t size)
{
	const char *dirs = watch_environment_get("PATH="), *end;

	for (dirs = dirs ? dirs : "/bin:/usr/bin"; dirs && *file; dirs = *end ? end + 1 : NULL) {
		struct watch_text w = {path, size, 0};

		end = strchrnul(dirs, ':');
		if ((size_t)(end - dirs) + strlen(file) + 2 > size)
			continue;
		memcpy(path, dirs, (size_t)(end - dirs));
		w.used = (size_t)(end - dirs);
		/* An empty entry is the current folder. */
		if (w.used)
			watch_text_add(&w, "/");
		watch_text_add(&w, file);
		if (!mrn_sys3(SYS_faccessat, AT_FDCWD, (long)path, X_OK))
			return true;
	}
	return false;
}

/* Whether a program that this process executes can open our libraries. */
static int reach_libraries(const struct watch_header *header)
{
	long fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)header->library, O_RDONLY | O_CLOEXEC, 0);

	if (fd >= 0)
		mrn_sys1(SYS_close, fd);
	return fd < 0 ? (int)fd : 0;
}

/* True: the program cannot be watched, and why. False in doubt. */
static bool is_hindered(const struct watch_header *header, const struct watch_exec *exec,
			struct scratch *s)
{
	const struct watch_file known = {header->loader_dev, header->loader_ino};
	const char *path = exec->path;
	int r;

	if (exec->search && path && !strchr(path, '/'))
		path = search(path, s->path, sizeof(s->path)) ? s->path : NULL;
	watch_target_look(&s->target, exec->folder, path, exec->flags, &known);
	if (s->target.what != WATCH_FITS) {
		watch_target_say(&s->target, s->text, sizeof(s->text));
		return true;
	}
	r = watch_log_reach();
	/* With the program's descriptors used up, exec may close some, so the log may yet be opened. */
	if (r && r != -EMFILE && r != -ENFILE) {
		watch_unfollowed_say_log(r, s->text, sizeof(s->text));
		return true;
	}
	r = reach_libraries(header);
	if (r && r != -EMFILE && r != -ENFILE) {
		struct watch_text w = {s->text, sizeof(s->text), 0};

		watch_text_add(&w, r == -EACCES ? "its user may not read "
						: "where it runs there is no ");
		watch_text_add(&w, header->library);
		return true;
	}
	return false;
}

/* ----------------------------------------------------------------------------------------------- the plan */

/* A child has executed it, or has ended. */
static void forget_childs(long pid)
{
	if (!last.pid || last.pid == pid)
		return;
	watch_environment_drop(&last.environment);
	last.pid = 0;
}

/* A handler that executes something during another exec does not replace that one. */
static void remember(struct watch_exec_plan *plan, long pid, bool told)
{
	plan->is_last = !last.pid;
	if (!plan->is_last)
		return;
	last.pid = pid;
	last.told = told;
	last.environment = plan->environment;
}

bool watch_exec_is_told(void)
{
	return last.pid && watch_recorder_is(last.pid) && last.told;
}

/* True: it will not be watched. */
static bool look(struct watch_exec_plan *plan, const struct watch_exec *exec,
		 struct watch_header *header, long pid)
{
	struct scratch *s = mrn_pages_alloc(sizeof(*s));
	bool hindered = s && is_hindered(header, exec, s);

	if (hindered) {
		plan->without = s->target.what == WATCH_FITS || watch_target_minds(&s->target);
		plan->in_doubt = s->target.what == WATCH_STATIC;
		plan->reason = watch_recorder_unfollowed(exec->in_child ? -1 : pid, s->text);
		if (plan->reason && plan->in_doubt && !exec->in_child)
			watch_unfollowed_doubt(header, watch_lane_number(), plan->reason);
	}
	if (s)
		mrn_pages_free(s, sizeof(*s));
	return hindered;
}

static void copy(struct watch_exec_plan *plan, const struct watch_exec *exec,
		 struct watch_header *header, long pid)
{
	watch_environment_copy(&plan->environment, exec->env, header, !plan->without);
	if (!plan->environment.pages && !plan->without && !plan->reason)
		plan->reason = watch_recorder_unfollowed(
			exec->in_child ? -1 : pid,
			"there was no memory for what it needs: raise the limit (ulimit -v)");
}

/* Nothing of ours may read what the kernel would refuse. If the kernel may not be asked, the addresses are trusted. */
static bool is_readable(const struct watch_exec *exec)
{
	char first;

	return mrn_peek(&first, (uintptr_t)exec->path, 1) != -EFAULT &&
	       watch_environment_is_readable(exec->env);
}

void watch_exec_begin(struct watch_exec_plan *plan, const struct watch_exec *exec)
{
	struct watch_header *header = watch_recorder_header();
	bool hindered = false, confined = mrn_is_confined();
	int saved = errno;
	long pid;

	*plan = (struct watch_exec_plan){.environment = {.env = (char **)(uintptr_t)exec->env}};
	if (!header || (!header->children && exec->in_child) || (header->children && confined))
		return;
	pid = mrn_sys0(SYS_getpid);
	if (!header->children && !watch_recorder_is(pid))
		return;
	forget_childs(pid);
	if (last.pid && last.environment.env == exec->env)
		return;
	if (!confined && !is_readable(exec))
		return;
	if (!confined)
		hindered = look(plan, exec, header, pid);
	if (plan->without || !watch_environment_is_ours(header, exec->env))
		copy(plan, exec, header, pid);
	remember(plan, pid, hindered || plan->reason);
	errno = saved;
}

/* For a process that may already be running. */
static void doubt(struct watch_reason *reason, uint32_t pid)
{
	struct watch_header *header = watch_recorder_header();

	watch_unfollowed_doubt(header, pid, reason);
	if (watch_lane_is_taken(pid))
		watch_unfollowed_arrives(header, pid);
}

void watch_exec_end(struct watch_exec_plan *plan, pid_t child)
{
	int saved = errno;

	if (plan->reason && plan->in_doubt && !child)
		watch_unfollowed_arrives(watch_recorder_header(), watch_lane_number());
	else if (plan->reason && !child)
		watch_unfollowed_take_back(plan->reason);
	/* Only if the tool uses the same pid numbers as this process. */
	else if (plan->reason && plan->in_doubt &&
		 watch_lane_number() == (uint32_t)mrn_sys0(SYS_getpid))
		doubt(plan->reason, (uint32_t)child);
	if (plan->is_last)
		last.pid = 0;
	watch_environment_drop(&plan->environment);
	errno = saved;
}

struct watch_reason *watch_exec_by_libc(void)
{
	struct watch_header *header = watch_recorder_header();

	if (!header || !header->children || watch_environment_is_ours(header, environ))
		return NULL;
	return watch_recorder_unfollowed(-1,
					 "the program had emptied its environment before it was "
					 "started by system or popen");
}

/* ---------------------------------------------------------------------------------- by the system call itself */

static MRN_TLS struct watch_exec_plan by_number;

static void before(long nr, long a[6])
{
	const bool at = nr == SYS_execveat;
	const struct watch_exec exec = {
		.folder = at ? (int)a[0] : AT_FDCWD,
		.path = (const char *)(at ? a[1] : a[0]),
		.flags = at ? (int)a[4] : 0,
		.env = (char *const *)(at ? a[3] : a[2]),
	};

	watch_exec_begin(&by_number, &exec);
	a[at ? 3 : 2] = (long)by_number.environment.env;
}

static void failed(void)
{
	watch_exec_end(&by_number, 0);
	by_number = (struct watch_exec_plan){.reason = NULL};
}

void watch_exec_plan_start(void)
{
	static const struct mrn_exec_ask ask = {before, failed};

	mrn_exec_ask(&ask);
}
