/* SPDX-License-Identifier: BSD-3-Clause */
/* What is watched stays so until the last finish has returned; and a child that is forked between the passes. */
#include "tests/core/two_pass.h"

#include <sys/wait.h>
#include <unistd.h>

static struct {
	unsigned int told_at, changed_at; /* moments; the last time */
	unsigned int told, changed;
	uintptr_t start, end;
} watcher;

static void note_changes(struct mmu_range_notifier *mrn, struct mrn_mm *mm)
{
	(void)mrn;
	(void)mm;
	watcher.told++;
	watcher.told_at = next_moment();
}

static void note_changed(struct mrn_mm *mm, const struct mmu_notifier_range *range, uintptr_t start,
			 uintptr_t end)
{
	(void)mm;
	(void)range;
	watcher.changed++;
	watcher.changed_at = next_moment();
	watcher.start = start;
	watcher.end = end;
}

static void leaves(struct mmu_range_notifier *mrn, struct mrn_mm *mm)
{
	(void)mrn;
	(void)mm;
}

static struct mrn_mm *watched_mm(void)
{
	static const struct mrn_watcher w = {.changes = note_changes,
					     .changed = note_changed,
					     .leaves = leaves};
	struct mrn_mm *mm = new_mm();

	memset(&watcher, 0, sizeof(watcher));
	mm->watcher = &w;
	return mm;
}

static void insert_watched(struct mmu_range_notifier *mrn, struct mrn_mm *mm, unsigned int from,
			   unsigned int to)
{
	CHECK_ERR(mrn_insert_watched(mrn, PAGE(from), PAGE(to) - PAGE(from), mm, 1), 0);
}

static void start_again(struct device *d)
{
	start_and_end(d->arg, 4, 5);
}

TEST(watcher_is_told_after_the_finish)
{
	struct mrn_mm *mm = watched_mm();
	struct device d;

	device_init(&d);
	insert_watched(&d.mrn, mm, 4, 8);
	start_and_end(mm, 4, 5);
	CHECK_EQ(d.finishes, 1);
	CHECK(watcher.told_at > d.finished_at);
	/* A start that is given no finish, inside the finish of another. */
	d.in_finish = start_again;
	d.arg = mm;
	start_and_end(mm, 4, 5);
	CHECK(watcher.told_at > d.finished_at);
	CHECK(watcher.changed_at > watcher.told_at);
	device_remove(&d);
	destroy_idle(mm);
}
TWIN(watcher_is_told_after_the_finish, told_before, BREAK(A5_FINISH_PIN));

/* Whose device has stopped early has no right to what others' devices still use. */
TEST(nothing_is_disarmed_before_the_last_finish)
{
	struct mrn_mm *mm = watched_mm();
	struct consumer one_pass;
	struct device a, b;

	device_init(&a);
	device_init(&b);
	consumer_init(&one_pass);
	insert_watched(&one_pass.mrn, mm, 3, 7);
	insert_watched(&a.mrn, mm, 4, 8);
	insert_watched(&b.mrn, mm, 6, 10);
	start_and_end(mm, 6, 7);
	CHECK_EQ(a.finishes, 1);
	CHECK_EQ(b.finishes, 1);
	CHECK_EQ(watcher.told, 3);
	CHECK_EQ(watcher.changed, 1);
	CHECK(watcher.changed_at > a.finished_at);
	CHECK(watcher.changed_at > b.finished_at);
	CHECK_EQ(watcher.start, PAGE(3));
	CHECK_EQ(watcher.end, PAGE(10));
	/* Of those that are not concerned, nothing. */
	start_and_end(mm, 9, 10);
	CHECK_EQ(watcher.changed, 2);
	CHECK_EQ(watcher.start, PAGE(6));
	start_and_end(mm, 20, 21);
	CHECK_EQ(watcher.changed, 2);
	device_remove(&a);
	device_remove(&b);
	consumer_remove(&one_pass);
	destroy_idle(mm);
}
TWIN(nothing_is_disarmed_before_the_last_finish, each_by_itself, BREAK(A1_WATCHER));

static pid_t child;

static void fork_once(struct device *d, const struct mmu_notifier_range *range)
{
	(void)range;
	d->in_start = NULL;
	child = fork();
	CHECK(child >= 0);
}

/* As in a signal handler. The device is the parent's. */
TEST(fork_child_calls_no_finish)
{
	struct mrn_mm *mm = watched_mm();
	struct mmu_notifier_range r = pages(mm, 4, 5);
	struct device first, d;
	int status;

	device_init(&first);
	device_init(&d);
	insert_watched(&first.mrn, mm, 3, 8);
	insert_watched(&d.mrn, mm, 4, 8);
	d.in_start = fork_once;
	mmu_notifier_invalidate_range_start(&r);
	if (!child)
		_exit(first.finishes || d.finishes || watcher.told || watcher.changed);
	CHECK_EQ(first.finishes, 1);
	CHECK_EQ(d.finishes, 1);
	CHECK_EQ(watcher.changed, 1);
	mmu_notifier_invalidate_range_end(&r);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	device_remove(&first);
	device_remove(&d);
	destroy_idle(mm);
}
TWIN(fork_child_calls_no_finish, as_the_parent, BREAK(FORK_FINISH));
