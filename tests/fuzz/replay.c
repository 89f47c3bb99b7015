/* SPDX-License-Identifier: BSD-3-Clause */
/* What fuzzing has found worth keeping, and some new bytes: tests/fuzz/index.c, without libFuzzer. */
#include <dirent.h>

#include "tests/core/fixture.h"
#include "tests/fuzz/index.h"
#include "tests/index/model.h"

enum { LARGEST = 8192 };

_Noreturn void index_model_fail(const char *file, int line, const char *what)
{
	test_fail(file, line, "CHECK(%s)", what);
}

struct input {
	size_t size;
	uint8_t data[LARGEST];
};

static void read_input(const char *folder, const char *name, struct input *in)
{
	char path[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK_MSG(fd >= 0, "%s", path);
	n = read(fd, in->data, sizeof(in->data));
	CHECK(n > 0 && n < LARGEST);
	in->size = (size_t)n;
	close(fd);
}

static void nothing(struct input *in, struct test_rand *seed)
{
	(void)in;
	(void)seed;
}

static void flip(struct input *in, struct test_rand *seed)
{
	for (unsigned int i = 0; i < 4; i++)
		in->data[below(seed, in->size)] = (uint8_t)test_rand(seed);
}

/* Each input, changed. */
static void run_corpus(void (*change)(struct input *in, struct test_rand *seed))
{
	const char *folder = getenv("MRN_FUZZ_CORPUS");
	struct test_rand seed = rand_stream(1);
	struct input in;
	unsigned int n = 0;
	struct dirent *e;
	DIR *d;

	if (!folder)
		SKIP("MRN_FUZZ_CORPUS does not say where the corpus is");
	d = opendir(folder);
	CHECK_MSG(d != NULL, "%s", folder);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		read_input(folder, e->d_name, &in);
		change(&in, &seed);
		LLVMFuzzerTestOneInput(in.data, in.size);
		n++;
	}
	closedir(d);
	NOTE("%u inputs", n);
	CHECK(n > 0);
}

TEST(fuzz_index_corpus, .timeout_s = 60)
{
	run_corpus(nothing);
}
TWIN(fuzz_index_corpus, looked_up_ahead, BREAK(INDEX_AHEAD));
TWIN(fuzz_index_corpus, marks_forgotten, BREAK(FILTER_SPILT));

TEST(fuzz_index_corpus_changed, .timeout_s = 60)
{
	run_corpus(flip);
}

TEST(fuzz_index_random_bytes)
{
	struct test_rand seed = rand_stream(2);
	struct input in;

	for (unsigned int round = 0; round < ROUNDS(200u); round++) {
		in.size = 1 + below(&seed, 1000);
		for (size_t i = 0; i < in.size; i++)
			in.data[i] = (uint8_t)test_rand(&seed);
		LLVMFuzzerTestOneInput(in.data, in.size);
	}
}
