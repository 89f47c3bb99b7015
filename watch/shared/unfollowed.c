/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/shared/unfollowed.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "os/syscall.h"
#include "source/confined.h"
#include "watch/shared/text.h"

#include "os/event_path.h"

/* Takes the place and fills it, if it was free. */
static bool fill(struct watch_reason *r, const char *text)
{
	__typeof__(r->state) none = WATCH_REASON_NONE;
	size_t n = strlen(text);

	if (!__atomic_compare_exchange_n(&r->state, &none, WATCH_REASON_WRITTEN, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return false;
	if (n >= sizeof(r->text))
		n = sizeof(r->text) - 1;
	memcpy(r->text, text, n);
	/* Release pairs with the acquire of a reader that finds the sentence. */
	__atomic_store_n(&r->state, WATCH_REASON_THERE, __ATOMIC_RELEASE);
	return true;
}

static bool says(struct watch_reason *r, const char *text)
{
	return __atomic_load_n(&r->state, __ATOMIC_ACQUIRE) == WATCH_REASON_THERE &&
	       !strncmp(r->text, text, sizeof(r->text) - 1);
}

struct watch_reason *watch_unfollowed_add(struct watch_header *header, const char *text)
{
	struct watch_reason *r = header->reason, *last = &header->reason[WATCH_REASONS - 1];

	while (r < last && !says(r, text) && !fill(r, text))
		r++;
	if (r == last)
		fill(r, "for more reasons than there is room to tell");
	__atomic_fetch_add(&r->processes, 1, __ATOMIC_RELAXED);
	return r;
}

void watch_unfollowed_take_back(struct watch_reason *reason)
{
	if (reason)
		__atomic_fetch_sub(&reason->processes, 1, __ATOMIC_RELAXED);
}

void watch_unfollowed_doubt(struct watch_header *header, uint32_t pid, struct watch_reason *reason)
{
	const uint64_t entry = (uint64_t)(reason - header->reason) << 32 | pid;

	for (unsigned int i = 0; i < WATCH_DOUBTED; i++) {
		uint64_t none = 0;

		if (__atomic_compare_exchange_n(&header->doubted[i], &none, entry, false,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			return;
	}
}

bool watch_unfollowed_arrives(struct watch_header *header, uint32_t pid)
{
	for (unsigned int i = 0; i < WATCH_DOUBTED; i++) {
		uint64_t entry = __atomic_load_n(&header->doubted[i], __ATOMIC_SEQ_CST);

		if ((uint32_t)entry != pid ||
		    !__atomic_compare_exchange_n(&header->doubted[i], &entry, 0, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			continue;
		watch_unfollowed_take_back(&header->reason[entry >> 32]);
		return true;
	}
	return false;
}

void watch_unfollowed_say_log(int err, char *text, size_t size)
{
	struct watch_text w = {text, size, 0};
	const bool is_refused = err == -EACCES || err == -EPERM || err == -ENOENT;

	if (is_refused && mrn_is_confined()) {
		watch_text_add(
			&w, "the sandbox (seccomp) that it was in does not let it open the log of "
			    "mrn watch");
		return;
	}
	switch (err) {
	case -EUSERS:
		watch_text_add_number(&w, WATCH_LANES);
		watch_text_add(&w, " others ran at the same time, and there is room for no more");
		break;
	case -EACCES:
	case -EPERM:
		watch_text_add(&w, "user ");
		watch_text_add_number(&w, (uint64_t)mrn_sys0(SYS_geteuid));
		watch_text_add(&w, ", with the rights that it had, may not open the log");
		break;
	case -ENOENT:
	case -ENOTDIR:
		watch_text_add(&w, "in its namespace, or root folder, the log is not to be "
				   "found");
		break;
	case -EMFILE:
		watch_text_add(&w,
			       "no descriptor was left for its log: raise its limit (ulimit -n)");
		break;
	case -ENOMEM:
		watch_text_add(&w,
			       "no addresses were left for its records: raise its limit (ulimit "
			       "-v)");
		break;
	default:
		watch_text_add(&w, "the log could not be opened there: error ");
		watch_text_add_number(&w, (uint64_t)-err);
		break;
	}
}
