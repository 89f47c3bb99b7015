/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What caches of registrations keep too long, mrn check finds, and nothing else: the real libfabric's and UCX's under each
 * change of coverage/cause. coverage/peers compares the bytes that the device moves; mrn check knows nothing of them, and
 * has to say the same. MRN_PEER_* say where the peers are.
 *
 * A checker that finds nothing fails over these caches alone, and one that finds too much over the same with mrn.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coverage/cause/cause.h"
#include "tests/tools/fixture.h"

struct tally {
	unsigned int changes, stale, found, unseen;
};

/* Each kind of change that some cache misses, and one that pins stand. */
static const char *const some[] = {"munmap",	    "munmap_raw", "mremap_onto",  "dontneed_locked",
				   "guard_install", "punch_hole", "ftruncate",	  "dlclose",
				   "shmdt_raw",	    "fork_write", "mprotect_raw", "pageout"};

static bool is_one_of_some(const char *name)
{
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		if (!strcmp(name, some[i]))
			return true;
	return false;
}

/*
 * What mrn check does not see (docs/check.md): what io_uring itself changes, and pins of a file on disk, which are vmsplice's.
 */
static bool is_unseen(const struct cause *cause)
{
	return cause->by_ring || !strncmp(cause->name, "collapse_range", 14) ||
	       !strncmp(cause->name, "insert_range", 12) || !strncmp(cause->name, "zero_range", 10);
}

/* How many findings there are in which a registration was used; there are no others. */
static unsigned int read_findings(const char *path)
{
	char *line = NULL;
	size_t room = 0;
	unsigned int n = 0;
	FILE *in = fopen(path, "re");

	CHECK(in);
	while (getline(&line, &room, in) > 0) {
		struct json_object *finding = json_tokener_parse(line);

		CHECK_MSG(finding, "%s", line);
		CHECK_MSG(!strcmp("use", json_object_get_string(
						 member(finding, "grade", json_type_string))),
			  "%s", line);
		json_object_put(finding);
		n++;
	}
	free(line);
	fclose(in);
	return n;
}

static bool says(struct json_object *row, const char *key, const char *what)
{
	return !strcmp(json_object_get_string(member(row, key, json_type_string)), what);
}

/* False if the peer cannot tell. */
static bool is_told(struct json_object *row, bool *stale)
{
	bool kept = json_object_get_boolean(member(row, "keeps_page", json_type_boolean));

	*stale = (says(row, "result", "missed") && !kept) || figure(row, "race_missed");
	return says(row, "result", "missed") || says(row, "result", "caught");
}

static void try_cause(const char *const *peer, const struct cause *cause, struct tally *t)
{
	static struct outcome o;
	char path[128];
	const char *file = test_path(path, sizeof(path), "findings");
	const char *argv[16] = {"check", "--children", "--json", file, "--"};
	struct json_object *row;
	unsigned int n = 5, found;
	bool told, stale;

	for (; *peer; peer++)
		argv[n++] = *peer;
	argv[n] = cause->name;
	run_tool(&o, argv);
	row = json_tokener_parse(o.out);
	CHECK_MSG(row, "%s: %s%s", cause->name, o.out, o.err);
	told = is_told(row, &stale);
	json_object_put(row);
	if (!told)
		return;
	found = read_findings(file);
	CHECK_MSG(stale || !found, "%s: %s", cause->name, o.err);
	CHECK_MSG(found || !stale || is_unseen(cause), "%s: %s%s", cause->name, o.out, o.err);
	t->changes++;
	t->stale += stale;
	t->found += found > 0;
	t->unseen += stale && !found;
}

static const char *path_of(const char *variable)
{
	const char *path = getenv(variable);

	if (!path || !*path)
		SKIP("%s is not set: the library was not there when it was built", variable);
	return path;
}

/* Without a second thread, for whose races the peer has to wait. */
static void leave_alone(bool alone)
{
	CHECK(!(alone ? setenv("PEER_ALONE", "1", 1) : unsetenv("PEER_ALONE")));
}

static void try_some(const char *const *peer)
{
	struct tally t = {0};

	leave_alone(true);
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		try_cause(peer, cause_find(some[i]), &t);
	CHECK(t.changes);
}

static void try_all(const char *const *peer)
{
	struct tally t = {0};

	for (size_t i = 0; i < cause_count; i++) {
		leave_alone(!is_one_of_some(cause_table[i].name));
		try_cause(peer, &cause_table[i], &t);
	}
	NOTE("%u changes, %u left something stale, %u found, %u not seen", t.changes, t.stale,
	     t.found, t.unseen);
}

#define PEER(name, ...)                                        \
	TEST(name, .timeout_s = 300)                           \
	{                                                      \
		try_some((const char *[]){__VA_ARGS__, NULL}); \
	}                                                      \
	TEST(name##_all, .slow = true, .timeout_s = 1800)      \
	{                                                      \
		try_all((const char *[]){__VA_ARGS__, NULL});  \
	}
PEER(libfabric_memhooks, path_of("MRN_PEER_LIBFABRIC"), "memhooks")
PEER(libfabric_with_mrn, path_of("MRN_PEER_LIBFABRIC_MRN"), "mrn")
PEER(ucx, path_of("MRN_PEER_UCX"))
PEER(ucx_with_mrn, path_of("MRN_TOOL"), "run", "--quiet", "--for", "ucx", "--",
     path_of("MRN_PEER_UCX"))
/* Many changes make this one hang. */
TEST(libfabric_uffd_all, .slow = true, .timeout_s = 1800)
{
	try_all((const char *[]){path_of("MRN_PEER_LIBFABRIC"), "uffd", NULL});
}
