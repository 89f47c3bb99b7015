/* SPDX-License-Identifier: BSD-3-Clause */
/* Filters run here are what the kernel makes of them: of programs drawn at random each does what the kernel's does. */
#include <linux/audit.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "tests/source/sandbox_fixture.h"
#include "source/filter_run.h"

#ifdef __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#define LENGTH_MAX 48
#define TRIED	   SYS_getppid /* with arguments that the kernel does not look at */
#define DIED	   0x10000

/* The first instructions leave something in each of the first words of memory, or the kernel would refuse to read those. */
#define WORDS 4

static unsigned int begin(struct test_rand *r, struct sock_filter *code)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < WORDS; i++) {
		code[n++] =
			(struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, (unsigned int)test_rand(r));
		code[n++] = (struct sock_filter)BPF_STMT(BPF_ST, i);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LDX | BPF_IMM, test_rand(r) % 3);
	return n;
}

static struct sock_filter any(struct test_rand *r, unsigned int left)
{
	static const unsigned short alu[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_AND,
					     BPF_OR,  BPF_XOR, BPF_LSH, BPF_RSH, BPF_NEG};
	static const unsigned short jmp[] = {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET};
	const unsigned short by = test_rand(r) % 2 ? BPF_X : BPF_K;
	const unsigned int k = (unsigned int)test_rand(r);
	unsigned short op;

	switch (test_rand(r) % 9) {
	case 0:
		return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, k % 16 * 4);
	case 1:
		return (struct sock_filter)BPF_STMT(BPF_LDX | BPF_MEM, k % WORDS);
	case 2:
		return (struct sock_filter)BPF_STMT(k % 2 ? BPF_ST : BPF_STX, k / 2 % WORDS);
	case 3:
		return (struct sock_filter)BPF_STMT(BPF_MISC | (k % 2 ? BPF_TAX : BPF_TXA), 0);
	case 4:
		return (struct sock_filter)BPF_STMT(BPF_LD | (k % 2 ? BPF_W | BPF_LEN : BPF_IMM),
						    k % 2 ? 0 : k);
	case 5:
		return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, k % left, 0, 0);
	case 6:
		op = jmp[k % (sizeof(jmp) / sizeof(jmp[0]))];
		return (struct sock_filter)BPF_JUMP((unsigned short)(BPF_JMP | op | by), k >> 16,
						    (unsigned char)(k % left),
						    (unsigned char)(k / 7 % left));
	default:
		op = alu[k % (sizeof(alu) / sizeof(alu[0]))];
		if (op == BPF_NEG)
			return (struct sock_filter)BPF_STMT(BPF_ALU | BPF_NEG, 0);
		if (op == BPF_LSH || op == BPF_RSH)
			return (struct sock_filter)BPF_STMT((unsigned short)(BPF_ALU | op | by),
							    by == BPF_K ? k % 32 : 0);
		return (struct sock_filter)BPF_STMT((unsigned short)(BPF_ALU | op | by),
						    by == BPF_K ? k | 1 : 0);
	}
}

/* What is in A at the end is the call's error, which the kernel hands on up to 4095. */
static unsigned int draw(struct test_rand *r, struct sock_filter *code)
{
	const unsigned int length = 14 + test_rand(r) % (LENGTH_MAX - 14);
	unsigned int n = begin(r, code);

	for (; n < length - 4; n++)
		code[n] = any(r, length - 4 - n);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x7ff);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_MISC | BPF_TAX, 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0);
	return n;
}

/* All else passes: a child that could not end would be no answer. */
static unsigned int guard(struct sock_filter *code)
{
	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					       offsetof(struct seccomp_data, nr));
	code[1] =
		(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)TRIED, 1, 0);
	code[2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return 3;
}

/* The kernel's answer: an error, DIED, or -1 for a program that it does not take. */
static int ask_kernel(const struct sock_filter *code, unsigned int length, const long *arg,
		      int *answer)
{
	int status;
	pid_t pid;

	*answer = -1;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		if (sandbox_enter(code, length, 0))
			*answer = (int)-test_raw4(TRIED, arg[0], arg[1], arg[2], arg[3]);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? DIED : *answer;
}

static int ask_us(const struct sock_filter *code, unsigned int length, const long *arg)
{
	struct seccomp_data data = {.nr = TRIED, .arch = ARCHITECTURE};
	uint32_t result;

	for (unsigned int i = 0; i < 4; i++)
		data.args[i] = (uint64_t)arg[i];
	result = mrn_filter_run(code, length, &data);
	return (result & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO
		       ? (int)(result & SECCOMP_RET_DATA)
		       : DIED;
}

/* Of the call's data these are not the same in both. */
static bool looks_at_place(const struct sock_filter *code, unsigned int length)
{
	for (unsigned int i = 0; i < length; i++)
		if (code[i].code == (BPF_LD | BPF_W | BPF_ABS) &&
		    (code[i].k == offsetof(struct seccomp_data, instruction_pointer) ||
		     code[i].k == offsetof(struct seccomp_data, instruction_pointer) + 4 ||
		     code[i].k >= offsetof(struct seccomp_data, args[4])))
			return true;
	return false;
}

TEST(as_the_kernel_does)
{
	struct test_rand r;
	int *answer = mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int taken = 0, died = 0;

	CHECK(answer != MAP_FAILED);
	test_rand_init(&r, 1);
	if (test_is_sanitized())
		SKIP("a sanitizer's fork takes too long");
	for (unsigned int i = 0; i < 500; i++) {
		struct sock_filter code[3 + LENGTH_MAX];
		unsigned int n = guard(code);
		const long arg[4] = {(long)test_rand(&r), (long)test_rand(&r), 7, -1};
		int kernels;

		do
			n = 3 + draw(&r, code + 3);
		while (looks_at_place(code + 3, n - 3));
		kernels = ask_kernel(code, n, arg, answer);
		if (kernels < 0)
			continue;
		CHECK_EQ(ask_us(code, n, arg), kernels);
		taken++;
		died += kernels == DIED;
	}
	if (!taken)
		SKIP("no seccomp filters here");
	NOTE("filters %u, of which killed %u", taken, died);
	CHECK(taken > 100);
}

/* What the kernel does not take is a refusal, and ends. */
TEST(nonsense_refuses)
{
	static const struct sock_filter nonsense[][2] = {
		{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 3), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)},
		{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)},
		{BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)},
		{BPF_STMT(BPF_LD | BPF_MEM, 16), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)},
		{BPF_STMT(BPF_ST, 1u << 31), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)},
		{BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)},
		{BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)},
		{BPF_STMT(BPF_JMP | BPF_JA, UINT32_MAX), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)},
		{BPF_STMT(BPF_MISC | 0x30, 0), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)},
		{BPF_STMT(BPF_MISC, 0), BPF_STMT(BPF_MISC, 0)},
	};
	const struct seccomp_data data = {.nr = TRIED};

	for (unsigned int i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		bool passes = mrn_filter_lets_pass(nonsense[i], 2, &data);

		CHECK_EQ(passes, false);
	}
}
