/* SPDX-License-Identifier: BSD-3-Clause */
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef MRN_HAVE_LIBDW
#include <elfutils/libdwfl.h>
#include <gelf.h>
#endif

#include "watch/tool/symbols.h"

/* ------------------------------------------------------------------------------------------- C++ */

/*
 * libstdc++'s, looked up at the first name to demangle: whoever runs a C++ program has it, and others do not need it.
 */
static char *demangle(const char *name)
{
	static char *(*f)(const char *name, char *buffer, size_t *length, int *status);
	static bool looked;
	int status;

	if (strncmp(name, "_Z", 2))
		return NULL;
	if (!looked) {
		void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);

		looked = true;
		if (library)
			f = (__typeof__(f))dlsym(library, "__cxa_demangle");
	}
	return f ? f(name, NULL, NULL, &status) : NULL;
}

/* ------------------------------------------------------------------------------------------ libdw */

struct found {
	char function[256]; /* "" without a name */
	char line[256];	    /* "file:line", or "" */
};

#ifdef MRN_HAVE_LIBDW

bool symbols_are_there(void)
{
	return true;
}

static Dwfl *session;

static bool begin(void)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};

	session = dwfl_begin(&callbacks);
	return session;
}

static void finish(void)
{
	if (session)
		dwfl_end(session);
	session = NULL;
}

/* libdw's address for the byte at this offset of the file; 0 if no segment has it. */
static Dwarf_Addr address_of(Dwfl_Module *module, uint64_t offset)
{
	GElf_Addr bias;
	Elf *elf = dwfl_module_getelf(module, &bias);
	size_t n;

	if (!elf || elf_getphdrnum(elf, &n))
		return 0;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;

		if (gelf_getphdr(elf, (int)i, &ph) && ph.p_type == PT_LOAD &&
		    offset - ph.p_offset < ph.p_filesz)
			return offset - ph.p_offset + ph.p_vaddr + bias;
	}
	return 0;
}

static void look_up(void *module, uint64_t offset, struct found *f)
{
	Dwarf_Addr addr = address_of(module, offset), where;
	const char *name = addr ? dwfl_module_addrname(module, addr) : NULL, *file, *slash;
	Dwfl_Line *line = addr ? dwfl_module_getsrc(module, addr) : NULL;
	char *plain = name ? demangle(name) : NULL;
	int number;

	if (name)
		snprintf(f->function, sizeof(f->function), "%s", plain ? plain : name);
	free(plain);
	file = line ? dwfl_lineinfo(line, &where, &number, NULL, NULL, NULL) : NULL;
	if (!file)
		return;
	slash = strrchr(file, '/');
	snprintf(f->line, sizeof(f->line), "%s:%d", slash ? slash + 1 : file, number);
}

/* NULL if the file cannot be read: deleted, replaced, or not a library. */
static void *open_module(struct origin *o)
{
	int fd = origin_open(o);
	void *module;

	if (!session || fd < 0) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	dwfl_report_begin_add(session);
	module = dwfl_report_offline(session, o->path, o->path, fd);
	dwfl_report_end(session, NULL, NULL);
	if (!module)
		close(fd);
	return module;
}

#else

bool symbols_are_there(void)
{
	return false;
}

static bool begin(void)
{
	return demangle("") == NULL;
}

static void finish(void)
{
}

static void look_up(void *module, uint64_t offset, struct found *f)
{
	(void)module;
	(void)offset;
	(void)f;
}

static void *open_module(struct origin *o)
{
	int fd = origin_open(o);

	if (fd >= 0)
		close(fd);
	return NULL;
}

#endif

/* ----------------------------------------------------------------------------------------- labels */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The length without the kernel's mark on the path of a deleted file. */
static int name_length(const char *name)
{
	static const char mark[] = " (deleted)";
	size_t n = strlen(name), m = sizeof(mark) - 1;

	return (int)(n > m && !strcmp(name + n - m, mark) ? n - m : n);
}

/* "function in module", "module+0x123", or what is known of code without a file. */
static void describe(const struct sites *s, void *const *module, const struct code_place *p,
		     char *text, size_t size, struct found *f)
{
	const struct origin *o = &s->file[p->file];
	const char *name = base_name(o->path);

	*f = (struct found){"", ""};
	if (!p->file) {
		snprintf(text, size, p->offset ? "code made at run time" : "unknown");
		return;
	}
	if (module[p->file])
		look_up(module[p->file], p->offset, f);
	if (f->function[0])
		snprintf(text, size, "%s in %.*s", f->function, name_length(name), name);
	else
		snprintf(text, size, "%.*s+0x%" PRIx64 "%s", name_length(name), name, p->offset,
			 o->replaced ? " (replaced since)" : "");
}

static int name_one(const struct sites *s, void *const *module, struct site *t)
{
	char at[512], via[512];
	struct found f, libc;
	char *label = NULL;
	int r;

	describe(s, module, &t->via, via, sizeof(via), &libc);
	describe(s, module, &t->at, at, sizeof(at), &f);
	if (t->via.offset)
		r = asprintf(&label, "%s, via %s", at, libc.function[0] ? libc.function : via);
	else
		r = asprintf(&label, "%s", at);
	t->line = strdup(f.line);
	t->label = r < 0 ? NULL : label;
	return t->label && t->line ? 0 : -ENOMEM;
}

static bool is_named(const struct site *t)
{
	return t->label && t->line;
}

/* True if there is code of the file that has no name yet. */
static bool is_needed(const struct sites *s, uint32_t file)
{
	for (uint32_t i = 0; i < s->nr; i++)
		if (!is_named(&s->site[i]) &&
		    (s->site[i].at.file == file || s->site[i].via.file == file))
			return true;
	return false;
}

int symbols_name(struct sites *s)
{
	void **module = calloc(s->nr_files, sizeof(*module));
	int r = 0;

	if (!module)
		return -ENOMEM;
	if (begin())
		for (uint32_t i = 1; i < s->nr_files; i++)
			if (is_needed(s, i))
				module[i] = open_module(&s->file[i]);
	for (uint32_t i = 0; i < s->nr && !r; i++)
		if (!is_named(&s->site[i]))
			r = name_one(s, module, &s->site[i]);
	free(module);
	finish();
	return r;
}

void symbols_forget(struct sites *s)
{
	for (uint32_t i = 0; i < s->nr; i++) {
		free((char *)(uintptr_t)s->site[i].label);
		free((char *)(uintptr_t)s->site[i].line);
		s->site[i].label = s->site[i].line = NULL;
	}
}
