/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * docs/sources.md lists the calls that each source makes on its own. A program that may make those and its own, and is killed for
 * any other, goes on. Its filter comes as nobody sees, so that nothing is left out.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <mrn/mrn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "source/check.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "tests/source/sandbox_fixture.h"

/* ------------------------------------------------------------------------------------------- the table */

#define NAME(name)                \
	{                         \
#name, SYS_##name \
	}

static const struct {
	const char *name;
	int nr;
} names[] = {
	NAME(brk),
	NAME(clock_gettime),
	NAME(clone3),
	NAME(close),
	NAME(exit),
	NAME(fcntl),
	NAME(fstat),
	NAME(fstatfs),
	NAME(futex),
	NAME(getdents64),
	NAME(getpid),
	NAME(gettid),
	NAME(getuid),
	NAME(ioctl),
	NAME(madvise),
	NAME(memfd_create),
	NAME(mmap),
	NAME(mprotect),
	NAME(mremap),
	NAME(munmap),
	NAME(nanosleep),
	NAME(newfstatat),
	NAME(open_by_handle_at),
	NAME(openat),
	NAME(ppoll),
	NAME(prctl),
	NAME(process_vm_readv),
	NAME(process_vm_writev),
	NAME(read),
	NAME(readlinkat),
	NAME(rseq),
	NAME(rt_sigaction),
	NAME(rt_sigprocmask),
	NAME(rt_sigreturn),
	NAME(rt_tgsigqueueinfo),
	NAME(sched_yield),
	NAME(set_robust_list),
	NAME(shmctl),
	NAME(sigaltstack),
	NAME(statfs),
	NAME(tgkill),
	NAME(unshare),
};

static unsigned char allowed[512];

static void allow_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i].name, name)) {
			allowed[names[i].nr] = 1;
			return;
		}
	test_fail(__FILE__, __LINE__, "the table has \"%s\", which is no call that is known here",
		  name);
}

/* "| a, b | who | when | refused |": true when there are four columns. */
static bool take_row(char *line, const char *who, const char *without)
{
	char *column[4], *rest = line + 1, *name, *more;

	for (int i = 0; i < 4; i++) {
		column[i] = strtok_r(i ? NULL : rest, "|", &rest);
		if (!column[i])
			return false;
	}
	if (!strstr(column[1], "all") && !strstr(column[1], who) &&
	    !(strstr(column[1], "both") && strcmp(who, "uffd")))
		return true;
	for (name = strtok_r(column[0], ", ", &more); name; name = strtok_r(NULL, ", ", &more))
		if (!without || strcmp(name, without))
			allow_by_name(name);
	return true;
}

static void read_table(const char *who, const char *without)
{
	const char *path = getenv("MRN_SOURCES_MD");
	FILE *f = fopen(path ? path : "docs/sources.md", "re");
	char line[1024];
	unsigned int rows = 0;
	bool is_there = false;

	if (!f)
		SKIP("docs/sources.md is not here: set MRN_SOURCES_MD");
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "## ", 3))
			is_there = !strcmp(line, "## System calls of our own\n");
		if (!is_there || strncmp(line, "| ", 2) || !strncmp(line, "| calls |", 9))
			continue;
		CHECK_MSG(take_row(line, who, without), "%s", line);
		rows++;
	}
	fclose(f);
	CHECK(rows > 20);
}

/* ------------------------------------------------------------------------------------------- the program */

/* What it calls itself. */
static const int own[] = {SYS_exit_group, SYS_munmap,	      SYS_mmap,
			  SYS_mremap,	  SYS_madvise,	      SYS_mprotect,
			  SYS_fallocate,  SYS_ftruncate,      SYS_truncate,
			  SYS_openat,	  SYS_shmat,	      SYS_shmdt,
			  SYS_brk,	  SYS_getppid,	      SYS_wait4,
			  SYS_clone,	  SYS_set_robust_list};

static bool told(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	(void)range;
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = told};

static void change(char *memory, char *file, int fd, int segment, const char *name)
{
	pid_t pid;
	int status;

	madvise(memory, 4096, MADV_DONTNEED);
	madvise(file, 4096, MADV_REMOVE);
	mprotect(memory, 4096, PROT_READ);
	(void)!mremap(memory + 4096, 8192, 4096, 0);
	(void)!mmap(memory, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	shmat(segment, memory, SHM_REMAP);
	shmdt(memory);
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
	(void)!ftruncate(fd, 8192);
	(void)!truncate(name, 4096);
	(void)!open(name, O_RDWR | O_TRUNC);
	(void)!sbrk(-4096);
	getppid();
	pid = fork();
	if (!pid)
		_exit(0);
	waitpid(pid, &status, 0);
	munmap(file, 65536);
}

static bool forbid_the_rest(void)
{
	struct sock_filter code[2 * 512 + 2];
	unsigned short n = 0;

	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (unsigned int nr = 0; nr < sizeof(allowed); nr++) {
		if (!allowed[nr])
			continue;
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	return sandbox_enter(code, n, 0);
}

/* Ends the process. */
static void be_the_program(unsigned int kind)
{
	static struct mmu_range_notifier mrn = {.ops = &ops};
	int fd = memfd_create("mrn-test", 0), segment;
	struct mrn_source *source;
	char *memory, *file, name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	segment = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	if (fd < 0 || ftruncate(fd, 65536) || sbrk(8192) == (void *)-1)
		_exit(78);
	memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	file = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mrn_source_attach(mrn_mm_self(), kind, NULL, &source))
		_exit(77);
	if (mmu_range_notifier_insert(&mrn, (uintptr_t)memory, 65536, mrn_mm_self()))
		_exit(78);
	/* Seen or not, it is taken for one that lets everything pass. */
	MRN_BREAK(CONFINED_FILTER);
	if (!forbid_the_rest())
		_exit(77);
	change(memory, file, fd, segment, name);
	_exit(0);
}

static void check(unsigned int kind, const char *who, const char *without)
{
	int status;
	pid_t pid;

	if (test_is_sanitized())
		SKIP("a sanitizer makes calls of its own");
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		allowed[own[i]] = 1;
	read_table(who, without);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		be_the_program(kind);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no such source, or no seccomp filters here");
	CHECK_EQ(status, 0);
}

static const char *left_out;

TEST(interpose_makes_what_is_listed)
{
	check(MRN_SOURCE_INTERPOSE, "interpose", left_out);
}
TWIN(interpose_makes_what_is_listed, one_less, left_out = "fstat");

TEST(dispatch_makes_what_is_listed)
{
	check(MRN_SOURCE_DISPATCH, "dispatch", left_out);
}
TWIN(dispatch_makes_what_is_listed, one_less, left_out = "rt_sigreturn");

TEST(all_make_what_is_listed)
{
	check(MRN_SOURCE_DISPATCH | MRN_SOURCE_INTERPOSE, "dispatch", left_out);
}
