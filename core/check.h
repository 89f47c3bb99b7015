/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking builds (-DMRN_CHECK): the library with parts that a test can take out, one at a time, to
 * see that the test notices; and with places where a test can look in. In a release build all of it
 * is a constant that the compiler removes.
 */
#ifndef MRN_CORE_CHECK_H
#define MRN_CORE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "os/thread.h"

/* What a known-bad twin takes out. */
enum mrn_broken_part {
	MRN_BROKEN_A1_CALLBACKS,   /* start calls no range notifier */
	MRN_BROKEN_A2_WAIT,	   /* read_begin does not wait for tokens */
	MRN_BROKEN_A3_FIRST_READ,  /* a new notifier's first read does not look at all tokens */
	MRN_BROKEN_A4_EARLY_END,   /* the token is withdrawn as soon as start returns */
	MRN_BROKEN_A5_REMOVE_WAIT, /* remove does not wait for running callbacks */
	MRN_BROKEN_A5_GRACE,	/* nor for walks that have found the notifier, and not pinned it */
	MRN_BROKEN_INDEX_AHEAD, /* a walk calls whom it has looked up ahead, erased meanwhile or not */
	MRN_BROKEN_FILTER_SPILT,    /* a mark without room in its line is forgotten */
	MRN_BROKEN_FILTER_HIGHEST,  /* of marks that are alike the highest one goes */
	MRN_BROKEN_FILTER_ORDER,    /* a reader looks at a line from its end */
	MRN_BROKEN_A6_TOLD,	    /* end goes by who was registered, not by whom start told */
	MRN_BROKEN_A6_END_LIST,	    /* a refusal does not end the list notifiers that started */
	MRN_BROKEN_A6_TOKEN,	    /* a refusal does not withdraw the token */
	MRN_BROKEN_P1_LATER_TOKENS, /* read_begin waits for tokens that started later, too */
	MRN_BROKEN_P4_OWN_TOKEN,    /* a thread waits for its own token */
	MRN_BROKEN_SEQ_PROCESS,	    /* the first seqs of notifiers are their mm's own numbers */
	MRN_BROKEN_CANCEL_HOLD,	    /* a thread may be cancelled inside a callback */
	MRN_BROKEN_FORK_WIPE,	    /* a child keeps its parent's mm */
	MRN_BROKEN_FORK_ROOM,	    /* and the room that the index of that mm takes */
	MRN_BROKEN_UFFD_LATE_TOKEN, /* the monitor reads an event, and publishes a token afterwards */
	MRN_BROKEN_UFFD_REMOVE_TRAP, /* the monitor treats REMOVE as if the zap were over */
	MRN_BROKEN_UFFD_HOLES,	     /* a range counts as armed without a look for holes */
	MRN_BROKEN_UFFD_PAGEMAP,     /* as on a kernel without PAGEMAP_SCAN: not a defect */
	MRN_BROKEN_UFFD_TAKES_ALL,   /* as on a kernel before Linux 6.17: not a defect */
	MRN_BROKEN_UFFD_NUMBERS, /* numbers are taken for what they meant: the keeper's are in the program's table */
	MRN_BROKEN_UFFD_OVERFLOW,    /* what does not fit into a batch is forgotten */
	MRN_BROKEN_BRACKET_PRE_ONLY, /* an interposed call invalidates before, and holds no token */
	MRN_BROKEN_BRACKET_POST_ONLY, /* an interposed call invalidates only afterwards */
	MRN_BROKEN_BRACKET_FRESH,     /* an address that comes back is not taken for a new one */
	MRN_BROKEN_BRACKET_HULL,   /* one token over all mappings of a file, and what is between */
	MRN_BROKEN_BRACKET_NESTED, /* a fork in a handler that interrupts a fork has the same token */
	MRN_BROKEN_BRACKET_SIGNALS, /* a handler may jump out of the announcement of a file's change */
	MRN_BROKEN_BRACKET_LOOKS, /* it is asked what a call changes though nobody is to be told */
	MRN_BROKEN_BRACKET_FREE,  /* free and realloc are not bracketed */
	MRN_BROKEN_SOURCE_LOSS,	  /* nobody looks whether the wrappers have been written over */
	MRN_BROKEN_SOURCE_HALF, /* of kinds that are attached together, some stay where one fails */
	MRN_BROKEN_SOURCE_NAMES,      /* dispatch answers the interposer's self-test */
	MRN_BROKEN_SOURCE_FILES,      /* a file on disk is taken for memory like any other */
	MRN_BROKEN_CONFINED_TRIAL,    /* filters that nobody has seen come are taken for none */
	MRN_BROKEN_CONFINED_FILTER,   /* a filter is taken to let everything pass */
	MRN_BROKEN_DISPATCH_LEAVE,    /* dispatch stays where a filter will not let it go on */
	MRN_BROKEN_DISPATCH_NO_STACK, /* rsp is taken for a stack's, whatever it is */
	MRN_BROKEN_DISPATCH_OWN, /* our handler stays where the program has a dispatch of its own */
	MRN_BROKEN_DISPATCH_TRIAL,	/* it is not tried whether dispatch works */
	MRN_BROKEN_DISPATCH_TRACER,	/* a thread is caught though it is traced */
	MRN_BROKEN_DISPATCH_SHARED,	/* of threads that have one storage, one alone is armed */
	MRN_BROKEN_DISPATCH_ASK,	/* threads that are there already are not armed */
	MRN_BROKEN_DISPATCH_LIBCS,	/* threads are asked by a signal that they may wait for */
	MRN_BROKEN_DISPATCH_NEW,	/* new threads are not armed */
	MRN_BROKEN_DISPATCH_MASKS,	/* the program may block SIGSYS */
	MRN_BROKEN_DISPATCH_SIGNALS,	/* signals may come while a caught call is made */
	MRN_BROKEN_DISPATCH_SIGSYS,	/* the program may take SIGSYS */
	MRN_BROKEN_DISPATCH_SETTLE,	/* nobody waits for calls on their way to the handler */
	MRN_BROKEN_DISPATCH_RINGS,	/* an io_uring is made and nobody knows */
	MRN_BROKEN_DISPATCH_GUESTS,	/* a vfork's child changes memory and nobody minds */
	MRN_BROKEN_DISPATCH_STAND_BACK, /* the interposer stands back in it, too */
	MRN_BROKEN_DISPATCH_ALTSTACK,	/* the handler stays where the program changes memory */
	MRN_BROKEN_DISPATCH_OTHERS,	/* or another's alternate one */
	MRN_BROKEN_DISPATCH_OWN_STACK,	/* and where a thread takes its own stack away */
	MRN_BROKEN_CACHE_RETRY,		/* the cache publishes without the retry check */
	MRN_BROKEN_CACHE_NOTIFIER,	/* the cache inserts no notifier */
	MRN_BROKEN_CACHE_TOKENS,	/* a hit does not look at the tokens */
	MRN_BROKEN_CACHE_RETIRED, /* a dead entry is retired each time that it loses a reference */
	MRN_BROKEN_CACHE_QUEUING, /* an entry that is about to be retired is taken for one in use */
	MRN_BROKEN_CACHE_REFS,	  /* an invalidated entry is deregistered while in use */
	MRN_BROKEN_HMM_OWN_RETRY, /* hmm_range_fault of own memory does not look for collisions */
	MRN_BROKEN_HMM_OWN_FD,	  /* nor whether its descriptors are still its own */
	MRN_BROKEN_PAGEMAP_SCAN,  /* as on a kernel without PAGEMAP_SCAN: not a defect */
	MRN_BROKEN_PROCMAP_QUERY, /* as on a kernel without PROCMAP_QUERY: not a defect */
	MRN_BROKEN_MADV_POPULATE, /* as on a kernel without MADV_POPULATE_*: not a defect */
	MRN_BROKEN_HMM_NO_START,  /* a change of managed memory is not announced */
	MRN_BROKEN_HMM_EARLY_END, /* the end is announced before anything has changed */
	MRN_BROKEN_HMM_NO_ZAP,	  /* the CPU keeps its entries */
	MRN_BROKEN_HMM_NO_WRITE_PROTECT, /* the CPU goes on writing */
	MRN_BROKEN_HMM_TOUCHED,		 /* a write in the moment of a rebind is not seen */
	MRN_BROKEN_HMM_REBIND_ZAP,	 /* what came up in that moment stays */
	MRN_BROKEN_HMM_TAKE,		 /* soft-dirty is read first, and then cleared */
	MRN_BROKEN_HMM_DIRTY,		 /* what a device says that it has written is forgotten */
	MRN_BROKEN_HMM_PINS,		 /* pins do not keep frames */
	MRN_BROKEN_HMM_LOCK,		 /* pages are not locked */
	MRN_BROKEN_HMM_OURS,		 /* events are read whatever goes on */
	MRN_BROKEN_HMM_LOST,		 /* lost pages are not marked */
	MRN_BROKEN_HMM_KEEPER,		 /* descriptors are used as the program has them */
	MRN_BROKEN_HMM_FREE,		 /* device memory is not given back */
	MRN_BROKEN_URING_RING,	/* whatever has the ring's descriptor is taken for the ring */
	MRN_BROKEN_HMM_SPARE,	/* a worker leaves nobody behind who could run the next job */
	MRN_BROKEN_WATCH_DROPS, /* what does not fit into the ring is not counted */
	MRN_BROKEN_WATCH_FULL, /* what has no room in the list of code leaves there what it replaces */
	MRN_BROKEN_WATCH_ORIGIN, /* the file at a path is taken for the one that was run */
	MRN_BROKEN_WATCH_OVER,	 /* code that is unmapped is not marked */
	MRN_BROKEN_WATCH_RENEW,	 /* all of a ring is looked at when its lane is given back */
	MRN_BROKEN_WATCH_SKIP,	 /* a slot that is never filled is waited for */
	MRN_BROKEN_WATCH_STACK,	 /* the stack is read whether it is known to be there or not */
	MRN_BROKEN_WATCH_TURN,	 /* a slot is written whether it has been read or not */
	MRN_BROKEN_PARTS
};

#ifdef MRN_CHECK

#include <stdatomic.h>

/* The parts taken out. A test takes one out when it likes, monitors may be running. */
extern _Atomic bool mrn_broken[MRN_BROKEN_PARTS];
#define MRN_BROKEN(part) atomic_load_explicit(&mrn_broken[MRN_BROKEN_##part], memory_order_relaxed)
#define MRN_BREAK(part)	 atomic_store(&mrn_broken[MRN_BROKEN_##part], true)

/* Token slots in use, at most MRN_TOKEN_SLOTS; fewer makes the overflow path easy to reach. */
extern _Atomic unsigned int mrn_check_slots;

/* Depth of event-path code that this thread is in; a test's malloc aborts when it is not 0. */
extern MRN_TLS unsigned int mrn_check_event_path;
#define MRN_EVENT_PATH_ENTER() (mrn_check_event_path++)
#define MRN_EVENT_PATH_LEAVE() (mrn_check_event_path--)

/* Called, when set, each time read_begin is about to wait for a token with this seq. */
extern void (*_Atomic mrn_check_wait_hook)(uint64_t token_seq);
/* Called, when set, by the first read of this notifier, which has waited, and is about to note that. */
struct mmu_range_notifier;
extern void (*_Atomic mrn_check_read_hook)(const struct mmu_range_notifier *mrn);
/* Called, when set, in a section: a walk has found this entry, and is about to pin it. */
struct mrn_index_entry;
extern void (*_Atomic mrn_check_walk_hook)(const struct mrn_index_entry *e);
/* Called, when set, in a section: a walk is about to look into a leaf. */
extern void (*_Atomic mrn_check_leaf_hook)(void);
/* Called, when set, by a reader that has read n marks of a line of the filter, and has yet to find one. */
extern void (*_Atomic mrn_check_mark_hook)(unsigned int n);
/* Called, when set, with the list's lock held: a list notifier has drawn its number and is about to be linked. */
extern void (*_Atomic mrn_check_link_hook)(void);
/* When n is set: the index's n-th request for memory fails, and every one after it. 0: none. */
extern _Atomic unsigned int mrn_check_alloc_left;
bool mrn_check_alloc_fails(void);
#define MRN_ALLOC_FAILS() mrn_check_alloc_fails()
/* Set: the portable path in place of vectors. */
extern _Atomic bool mrn_check_no_vectors;
#define MRN_NO_VECTORS() atomic_load_explicit(&mrn_check_no_vectors, memory_order_relaxed)
/* When it is set: what the system's vm.max_map_count is taken to be at the first attach. */
extern _Atomic uint64_t mrn_check_max_mappings;
/* Called, when set, by the uffd monitor when there is an event, before it holds lookups and reads it. */
/* Called, when set, by the uffd keeper when there is an event, before it holds lookups and reads it. */
extern void (*_Atomic mrn_check_uffd_event_hook)(void);
/* Called, when set, by the uffd keeper after it has read events, before anybody is told. */
extern void (*_Atomic mrn_check_uffd_hook)(void);
/* Called, when set, by the cache before it claims a dead entry, and (is_ours) before it pushes it. */
extern void (*_Atomic mrn_check_claim_hook)(bool is_ours);
/* Called, when set, by the cache under its lock before it looks whether an entry is idle. */
extern void (*_Atomic mrn_check_evict_hook)(void);
/* Called, when set, by hmm_range_fault of own memory before it looks at what is at addr and after. */
extern void (*_Atomic mrn_check_hmm_own_hook)(uintptr_t addr);
/* Called, when set, by a handler of managed memory that has read a page fault, before it serves it. */
extern void (*_Atomic mrn_check_hmm_fault_hook)(uintptr_t addr);
/* Called, when set, before pages of managed memory at addr, found to be ours, are emptied or hidden. */
extern void (*_Atomic mrn_check_hmm_cpu_hook)(uintptr_t addr);
/* Called, when set, while the mapping at addr shows its new frames and is not watched yet. */
extern void (*_Atomic mrn_check_hmm_rebind_hook)(uintptr_t addr);
/* Called before a system call goes by a number in the program's table, after the number has been looked at. */
extern void (*_Atomic mrn_check_hmm_call_hook)(int fd);
/* Called, when set, when it is watched again, and entries that came up meanwhile are still there. */
extern void (*_Atomic mrn_check_hmm_watched_hook)(uintptr_t addr);

#else

#define MRN_BROKEN(part)       0
#define MRN_EVENT_PATH_ENTER() ((void)0)
#define MRN_EVENT_PATH_LEAVE() ((void)0)
#define MRN_ALLOC_FAILS()      0
#define MRN_NO_VECTORS()       0

#endif

#endif
