/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log that a watched program writes and `mrn watch` reads: shared memory that the tool has made.
 *
 *	struct watch_header		what the tool asks for
 *	lane 0, lane 1, ...		one for each process: struct watch_lane, then its ring of slots
 *
 * A lane has many writers (threads, and signal handlers inside them) and one reader, the tool. Nobody
 * waits for anybody: a writer that finds the ring full counts what it drops. Each process has a lane of
 * its own, so that one which is killed in the middle of a record holds up nobody else.
 *
 * A slot (a record's place) goes round: in round g of the ring it is free when turn == 2g, and full when turn == 2g + 1.
 * Zeroed pages are an empty ring. The writer that has moved head past a free slot owns it until it
 * moves the turn on (release); the reader's acquire of that sees the record, and its own release of the
 * next turn is what the next writer acquires.
 *
 * A writer may never come back: a signal handler in the middle of it leaves by longjmp. When the ring fills up behind
 * its slot, the reader takes that away, from 2g to WATCH_SKIPPED. Whether the writer is gone or only slow cannot be known, so
 * the slot is nobody's from then on: writers and reader pass over it, and a late writer changes nothing that anybody reads.
 * Both move the turn by compare-and-swap from 2g, so that one of them wins: the record is either read or counted.
 *
 * No record wakes the reader, which looks every few milliseconds: so there is no store of a writer that the reader must see
 * before it goes to sleep, and no barrier but the turn's. Only a program that begins wakes it, by the word that it sleeps on.
 *
 * Both sides come from one build; the version is for a tool that meets another's library.
 */
#ifndef MRN_WATCH_LOG_H
#define MRN_WATCH_LOG_H

#include <stddef.h>
#include <stdint.h>

#define WATCH_MAGIC   UINT64_C(0x6863746177206e72) /* "rn watch" */
#define WATCH_VERSION 4

/* In the environment: "COOKIE:PATH", the header's cookie in hexadecimal and where to open the log. */
#define WATCH_ENVIRONMENT "MRN_WATCH"

/* In the environment, too: AddressSanitizer's runtime is not to refuse to be loaded behind the recorder. */
#define WATCH_ASAN_OPTION "verify_asan_link_order=0"

#define WATCH_LANES   256
#define WATCH_MODULES 448
#define WATCH_REASONS 16
#define WATCH_DOUBTED 256

/* A range that is so long or longer, more than any machine's memory, is everything. */
#define WATCH_EVERYTHING (UINT64_C(1) << 56)

/* One invalidation. Times are nanoseconds of CLOCK_MONOTONIC, addresses are the program's. */
struct watch_record {
	uint64_t begin, end;
	uint64_t start, stop;
	/*
	 * Return addresses: into the first function outside libmrn, libc and ld.so, and, where that one
	 * called a function of libc, into the latter. 0: not found.
	 */
	uint64_t site, via;
	uint32_t pid, tid;
	uint16_t flags; /* of struct mmu_notifier_range */
	uint8_t event, cause;
	uint32_t turn; /* the slot's */
};

/* An executable mapping, as /proc/self/maps has it. A later one replaces what it overlaps. */
struct watch_module {
	uint64_t since; /* when it was seen */
	uint64_t until; /* when something of it was unmapped; 0: not yet */
	uint64_t start, end, offset;
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	char path[224]; /* "" for memory that has no name */
};

/*
 * A program that is being executed. If that works nobody is left who could write the record: then the tool has it from here, and
 * whether the new program has come to have a lane.
 */
struct watch_exec_mark {
	uint64_t token; /* atomic; 0: free */
	uint32_t told;	/* if not, that is known already */
	struct watch_record record;
};
#define WATCH_EXECS 4

struct watch_lane {
	uint32_t nr_modules; /* stored (release) when the entry is complete */
	uint32_t seen;	     /* futex: the tool has looked at the first of them */
	uint64_t full_since; /* when the first came for whom there was no room; 0: there has been */
	uint64_t dropped;    /* the ring was full */
	uint64_t
		unpaired; /* too many invalidations at once: the end would not have found its start */
	struct watch_exec_mark exec[WATCH_EXECS];
	uint64_t head __attribute__((aligned(64)));
	uint64_t tail __attribute__((aligned(64))); /* the tool's */
	struct watch_module module[WATCH_MODULES] __attribute__((aligned(64)));
};

/* Why processes run unwatched: see watch/shared/unfollowed.h. */
struct watch_reason {
	enum { WATCH_REASON_NONE, WATCH_REASON_WRITTEN, WATCH_REASON_THERE } state; /* atomic */
	uint32_t processes;
	char text[248];
};

struct watch_header {
	uint64_t magic;
	uint32_t version;
	uint32_t children; /* follow them */
	uint64_t cookie;
	uint32_t kinds;	     /* sources to try: MRN_SOURCE_... */
	uint32_t ring_shift; /* a ring has 1 << ring_shift slots */
	uint64_t lane_size;  /* bytes, with the ring */
	uint32_t uid, gid;   /* the tool's */
	uint32_t pid; /* the program's: without children all that is watched is this process */
	uint64_t log_dev, log_ino;	 /* the log's own, as fstat has them */
	uint64_t loader_dev, loader_ino; /* of a loader that is known to load the recorder */
	char preload
		[2048]; /* our libraries, with colons between them: what stands first in LD_PRELOAD */
	char library[512]; /* one of them, by its plain path */

	/* From the program. */
	uint32_t
		attached; /* 1 + the kind (source/kinds.h) that the first process has got; 0: none yet */
	uint32_t
		runtimes; /* that processes with interpose alone have: a bit for each of WATCH_RUNTIMES */
	uint32_t sources; /* what any process has got, as kinds */
	uint32_t knocks;  /* futex: what the tool sleeps on */
	uint32_t failed;  /* the first process could not attach a source */
	char why[512];	  /* why */
	struct watch_reason reason[WATCH_REASONS];
	uint64_t doubted[WATCH_DOUBTED]; /* see watch/shared/unfollowed.h */
	struct {
		/* The process's number, and WATCH_AGAIN: in one word, so that whoever sees one sees the other. 0: free. */
		uint64_t owner;
		uint64_t ended; /* when it has gone on in another lane, after exec; 0: not yet */
	} lane[WATCH_LANES];
};

/* This lane is the other one, after exec. */
#define WATCH_AGAIN (UINT64_C(1) << 32)

#define WATCH_HEADER_SIZE 16384

_Static_assert(sizeof(struct watch_header) <= WATCH_HEADER_SIZE, "the header fits");
_Static_assert(sizeof(struct watch_record) == 64, "one line of the cache");

static inline struct watch_record *watch_ring(struct watch_lane *lane)
{
	return (struct watch_record *)(lane + 1);
}

static inline size_t watch_lane_size(uint32_t shift)
{
	size_t size = sizeof(struct watch_lane) + (sizeof(struct watch_record) << shift);

	return (size + WATCH_HEADER_SIZE - 1) & ~(size_t)(WATCH_HEADER_SIZE - 1);
}

/* Where lane i begins, in bytes. */
static inline size_t watch_lane_offset(unsigned int i, size_t lane_size)
{
	return WATCH_HEADER_SIZE + i * lane_size;
}

/* Of a slot that is out of use. Odd, and no ring goes round so often that it were a turn. */
#define WATCH_SKIPPED UINT32_MAX

/* The turn of a slot that is free for the writer of position pos. */
static inline uint32_t watch_free_turn(uint64_t pos, uint32_t shift)
{
	return (uint32_t)(pos >> shift) * 2;
}

#endif
