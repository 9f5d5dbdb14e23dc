/*
 * The words that everything else is written in: address types, error numbers, a few macros.
 *
 * An address in host memory, in guest-physical space and in a guest's linear space are three different
 * things, so each is a one-member struct: passing one for another does not compile.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
	uint64_t value;
} hpa_t; /* host-physical address */
typedef struct {
	uint64_t value;
} gpa_t; /* guest-physical address */
typedef struct {
	uint64_t value;
} gva_t; /* guest-linear (virtual) address */

#define HPA(v) ((hpa_t){(v)})
#define GPA(v) ((gpa_t){(v)})
#define GVA(v) ((gva_t){(v)})

/* No page lives at the top of the address space; allocators answer this when they have nothing. */
#define HPA_NONE HPA(~0ULL)
static inline bool hpa_is_none(hpa_t a)
{
	return a.value == ~0ULL;
}

#define PAGE_SIZE  4096ULL
#define PAGE_SHIFT 12
#define KIB	   (1ULL << 10)
#define MIB	   (1ULL << 20)
#define GIB	   (1ULL << 30)

#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define BIT(n)				(1ULL << (n))
#define ALIGN_UP(v, a)			(((v) + (a)-1) & ~((a)-1))
#define ALIGN_DOWN(v, a)		((v) & ~((a)-1))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define NOINLINE			__attribute__((noinline)) /* rare: its registers are no burden on its caller */
/* On the way of every turn, and without an array: the address of a local leaves it, to who writes that one object. */
#define NO_CANARY __attribute__((no_stack_protector))
#define FLATTEN	  __attribute__((flatten)) /* often: what it calls becomes a part of it */
/* Not for speed: it must run in its caller's own frame. */
#define ALWAYS_INLINE inline __attribute__((always_inline))
#ifdef VIREO_HOST /* AddressSanitizer watches no variable that lies in a section of its own */
#define RO_AFTER_INIT
#else
/* A variable of zeros that is written while Vireo starts and never again: paging_seal(). `.bss`: in memory only. */
#define RO_AFTER_INIT __attribute__((section(".bss.ro_after_init")))
#endif
#define MUST_CHECK	       __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Errors are returned negative: `return -E_INVAL;`. The numbers mean nothing outside Vireo. */
enum {
	E_INVAL = 1,   /* the caller's value is not allowed */
	E_NOMEM = 2,   /* no memory left */
	E_NOENT = 3,   /* no such thing */
	E_RANGE = 4,   /* outside the guest's memory or a table's bounds */
	E_EXIST = 5,   /* there is one already, or they overlap */
	E_NOTSUP = 6,  /* the machine or Vireo lacks the feature */
	E_FAULT = 7,   /* a guarded access faulted (#GP, #PF) */
	E_FORMAT = 8,  /* a file's contents are not what they should be */
	E_TIMEOUT = 9, /* the other side did not answer */
	E_AGAIN = 10,  /* not yet: ask again */
};
