/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that puts itself into a sandbox once a source is attached. Its list has the calls that it makes itself and those in
 * docs/sources.md; a cache that makes another is its end.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <mrn/mrn.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/test.h"
#include "tests/no_device.h"
#include "os/syscall.h"
#include "source/confined.h"
#include "source/state.h"

#define PAGE 4096L

static struct mrn_source *source;
static struct mrn_regcache *cache;
/* The sandbox comes as nobody sees. */
static bool unseen;

static void open_cache(void)
{
	static char why[512];
	const struct mrn_source_opts opts = {.size = sizeof(opts),
					     .why = why,
					     .why_size = sizeof(why)};
	struct mrn_regcache_opts config = {
		.size = sizeof(config),
		.mm = mrn_mm_self(),
		.ops = &no_device_ops,
	};

	if (test_is_sanitized())
		SKIP("a sanitizer makes calls of its own");
	if (mrn_source_attach(config.mm, MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD, &opts, &source))
		SKIP("%s", why);
	config.source = source;
	CHECK_ERR(mrn_regcache_create(&config, &cache), 0);
}

static void forbidden_call(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	CHECK_EQ(info->si_syscall, -1);
}

/* Calls that a miss makes elsewhere, and that a program which only computes and sends would not have in its list. */
static void forbid(void)
{
	static const int calls[] = {SYS_fcntl,	       SYS_openat,  SYS_newfstatat,   SYS_fstat,
				    SYS_statfs,	       SYS_fstatfs, SYS_memfd_create, SYS_prlimit64,
				    SYS_clock_gettime, SYS_getpid,  SYS_gettid};
	struct sock_filter code[2 * sizeof(calls) / sizeof(calls[0]) + 2];
	struct sock_fprog filter = {.filter = code};
	struct sigaction end = {.sa_sigaction = forbidden_call, .sa_flags = SA_SIGINFO};
	unsigned short n = 0;

	CHECK_EQ(sigaction(SIGSYS, &end, NULL), 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							 (unsigned int)calls[i], 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	filter.len = n;
	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	/* As by an instruction in another library. */
	if (unseen ? mrn_sys3(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&filter) != 0
		   : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		SKIP("no seccomp filters");
}

static char *map(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	*p = 'A';
	return p;
}

/* Again and again: what is written to has no file, and is kept. True if it was. */
static bool miss_and_hit(char *p)
{
	const struct mrn_regcache_entry *entry;
	struct mrn_regcache_stats before, after;

	CHECK_ERR(mrn_regcache_get_stats(cache, &before, sizeof(before)), 0);
	for (int i = 0; i < 2; i++) {
		CHECK_ERR(mrn_regcache_get(cache, p, 1, MRN_ACCESS_WRITE, &entry), 0);
		CHECK_ERR(mrn_regcache_put(entry), 0);
	}
	CHECK_ERR(mrn_regcache_get_stats(cache, &after, sizeof(after)), 0);
	return after.hits == before.hits + 1;
}

static bool is_open(int fd)
{
	int copy = dup(fd);

	if (copy >= 0)
		close(copy);
	return copy >= 0;
}

TEST(misses_in_a_sandbox)
{
	char *never_touched, *p, *q;
	struct mrn_uffd_numbers kept;
	int status;
	pid_t child;

	open_cache();
	kept = source->uffd.kept;
	forbid();
	p = map();
	q = map();
	never_touched = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(miss_and_hit(p));
	CHECK(miss_and_hit(q));
	/* Of these nobody can say what they are. */
	miss_and_hit(never_touched);
	CHECK_EQ(munmap(p, PAGE), 0);
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)q, PAGE), 0);

	/* The numbers are known for ours without a call that there is not. */
	CHECK(is_open(kept.fd));
	child = fork();
	CHECK(child >= 0);
	if (!child)
		_exit(is_open(kept.fd) || (kept.pagemap >= 0 && is_open(kept.pagemap)));
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	p = map();
	CHECK(miss_and_hit(p));
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK(!is_open(kept.fd));
	CHECK(kept.pagemap < 0 || !is_open(kept.pagemap));
}

TWIN(misses_in_a_sandbox, unseen, unseen = true);

/* And through the keeper, when the program has closed them. */
TEST(misses_in_a_sandbox_without_numbers)
{
	char *p, *q;

	open_cache();
	forbid();
	p = map();
	CHECK(miss_and_hit(p));
	CHECK_EQ(close(source->uffd.kept.fd), 0);
	q = map();
	CHECK(miss_and_hit(q));
	CHECK_EQ(munmap(p, PAGE), 0);
	CHECK_EQ(munmap(q, PAGE), 0);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TWIN(misses_in_a_sandbox_without_numbers, unseen, unseen = true);
