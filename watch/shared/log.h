/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log that a watched program writes and `mrn watch` or `mrn check` reads: shared memory that the tool has made.
 *
 *	struct watch_header		what the tool asks for
 *	lane 0, lane 1, ...		one for each process: struct watch_lane, then its ring of slots, and then what
 *					the command has there besides: check/shared/log.h
 *
 * A lane has many writers (threads, and signal handlers inside them) and one reader, the tool. Nobody waits for
 * anybody: a writer that finds the ring full counts what it drops. Each process has a lane of its own, so that one
 * which is killed during a record holds up nobody else.
 *
 * A slot (a record's place) goes round: in round g of the ring it is free when turn == 2g, and full when turn is one
 * more. Zeroed pages are an empty ring. The writer that has moved head past a free slot owns it until it moves the turn
 * on (release); the reader's acquire of that sees the record, and its own release of the next turn is what the next
 * writer acquires.
 *
 * A writer may never come back: a signal handler that interrupts it may leave by longjmp. When the ring fills up behind
 * its slot, the reader takes the slot away, from 2g to WATCH_SKIPPED. Whether the writer is gone or only slow cannot be
 * known, so from then on the slot belongs to nobody: writers and reader pass over it, and a late writer changes nothing
 * that anybody reads. Both move the turn by compare-and-swap from 2g, so that one of them wins: the record is either
 * read or counted.
 *
 * A record does not wake the reader, which looks every few milliseconds: so there is no store of a writer that the
 * reader must see before it sleeps, and no barrier but the turn's. Only a program that begins wakes it, by the futex
 * that it sleeps on.
 *
 * Both sides come from one build; the version is for a tool that meets another build's library.
 */
#ifndef MRN_WATCH_LOG_H
#define MRN_WATCH_LOG_H

#include <stddef.h>
#include <stdint.h>

#define WATCH_MAGIC   UINT64_C(0x6863746177206e72) /* "rn watch" */
#define WATCH_VERSION 5

/* In the environment: "COOKIE:PATH", the header's cookie in hexadecimal and the log's path. */
#define WATCH_ENVIRONMENT "MRN_WATCH"

/* Also in the environment: lets AddressSanitizer's runtime be loaded behind the recorder. */
#define WATCH_ASAN_OPTION "verify_asan_link_order=0"

#define WATCH_LANES   256
#define WATCH_MODULES 448
#define WATCH_REASONS 16
#define WATCH_DOUBTED 256

/* A range of this length or more, larger than any machine's memory, means everything. */
#define WATCH_EVERYTHING (UINT64_C(1) << 56)

/* One invalidation. Times are nanoseconds of CLOCK_MONOTONIC, addresses are the program's. */
struct watch_record {
	uint64_t begin, end;
	uint64_t start, stop;
	/*
	 * Return addresses: into the first function outside libmrn, libc and ld.so, and, if that one called a function
	 * of libc, into the latter. 0: not found.
	 */
	uint64_t site, via;
	uint32_t pid, tid;
	uint16_t flags; /* of struct mmu_notifier_range */
	uint8_t event, cause;
	uint32_t turn; /* the slot's */
};

/* An executable mapping, as in /proc/self/maps. A later one replaces what it overlaps. */
struct watch_module {
	uint64_t since; /* when it was seen */
	uint64_t until; /* when a part of it was unmapped; 0: not yet */
	uint64_t start, end, offset;
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	char path[224]; /* "" for memory without a name */
};

/*
 * A program that is being executed. If the exec works, nobody is left to write the record: so the tool has it from
 * here, and adds whether the new program got a lane.
 */
struct watch_exec_mark {
	uint64_t token; /* atomic; 0: free */
	uint32_t told;	/* it is counted as unwatched already */
	struct watch_record record;
};
#define WATCH_EXECS 4

struct watch_lane {
	uint32_t nr_modules; /* stored (release) when the entry is complete */
	uint32_t seen;	     /* futex: the tool has looked at the first modules */
	uint64_t full_since; /* when the first one came without room; 0: all had room */
	uint64_t dropped;    /* the ring was full */
	/* Starts whose end is not recorded: too many were open at once, or a handler has cut them off. */
	uint64_t unpaired;
	struct watch_exec_mark exec[WATCH_EXECS];
	uint64_t head __attribute__((aligned(64)));
	uint64_t tail __attribute__((aligned(64))); /* the tool's */
	struct watch_module module[WATCH_MODULES] __attribute__((aligned(64)));
};

/*
 * How many modules a lane has. The program, whose memory it is, may have written there by mistake: there are never more
 * than have room.
 */
static inline uint32_t watch_modules_of(const struct watch_lane *lane)
{
	uint32_t n = __atomic_load_n(&lane->nr_modules, __ATOMIC_ACQUIRE);

	return n < WATCH_MODULES ? n : WATCH_MODULES;
}

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
	uint64_t lane_size;  /* bytes, with all that is in it */
	uint32_t uid, gid;   /* the tool's */
	/* The program's. Without children only this process is watched. */
	uint32_t pid;
	uint64_t log_dev, log_ino;	 /* the log's own, as from fstat */
	uint64_t loader_dev, loader_ino; /* of a loader that is known to load the recorder */
	/* Our libraries, separated by colons: the beginning of LD_PRELOAD. */
	char preload[2048];
	char library[512]; /* one of them, by its plain path */

	/* Written by the program. */
	/* 1 + the first process's kind (source/kinds.h); 0: none yet. */
	uint32_t attached;
	/* Sanitizers in processes with interpose alone: a bit for each of WATCH_RUNTIMES. */
	uint32_t runtimes;
	uint32_t sources; /* the sources of all processes, as kinds */
	uint32_t knocks;  /* futex: the tool sleeps on it */
	uint32_t lost;	  /* with mrn check: some source sees less by now than it did */
	uint32_t failed;  /* the first process could not attach a source */
	char why[512];	  /* why */
	struct watch_reason reason[WATCH_REASONS];
	uint64_t doubted[WATCH_DOUBTED]; /* see watch/shared/unfollowed.h */
	struct {
		/*
		 * The process's number, and WATCH_AGAIN: in one word, so that they are always seen together. 0: free.
		 */
		uint64_t owner;
		uint64_t ended; /* when it went on in another lane, after exec; 0: not yet */
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

/* With this many bytes besides. */
static inline size_t watch_lane_size(uint32_t shift, size_t besides)
{
	size_t size = sizeof(struct watch_lane) + (sizeof(struct watch_record) << shift) + besides;

	return (size + WATCH_HEADER_SIZE - 1) & ~(size_t)(WATCH_HEADER_SIZE - 1);
}

/* What a lane has besides its ring; aligned as a record. */
static inline void *watch_lane_besides(struct watch_lane *lane, uint32_t shift)
{
	return watch_ring(lane) + (UINT64_C(1) << shift);
}

/* The offset of lane i in bytes. */
static inline size_t watch_lane_offset(unsigned int i, size_t lane_size)
{
	return WATCH_HEADER_SIZE + i * lane_size;
}

/* The turn of a skipped slot. Odd, and larger than any turn that a ring can reach. */
#define WATCH_SKIPPED UINT32_MAX

/* The turn of a slot that is free for the writer of position pos. */
static inline uint32_t watch_free_turn(uint64_t pos, uint32_t shift)
{
	return (uint32_t)(pos >> shift) * 2;
}

#endif
