/* Where things stand in the headers of IPv4 (RFC 791), IPv6 (RFC 8200) and TCP (RFC 9293): bytes from their begin. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define IP_MAX 65535 /* bytes of a packet */

#define IP4_HEADER	   20 /* without options; the low half of its first byte counts all of it in units of 4 */
#define IP4_TOTAL_LENGTH   2
#define IP4_ID		   4
#define IP4_FRAGMENT	   6
#define IP4_PROTOCOL	   9
#define IP4_SUM		   10
#define IP4_ADDRESSES	   12
#define IP4_ADDRESSES_SIZE 8

/* In IP4_FRAGMENT: what only a part of a packet has, an offset or that more follow. */
#define IP4_FRAGMENT_MASK 0x3FFF

#define IP6_HEADER	   40
#define IP6_LENGTH	   4
#define IP6_NEXT	   6
#define IP6_ADDRESSES	   8
#define IP6_ADDRESSES_SIZE 32

/* In IP4_PROTOCOL and IP6_NEXT. */
enum ip_protocol { IP_TCP = 6, IP_UDP = 17 };

#define TCP_HEADER   20U /* without options */
#define TCP_SEQUENCE 4
#define TCP_OFFSET   12
#define TCP_FLAGS    13
#define TCP_SUM	     16
#define TCP_FIN	     BIT(0)
#define TCP_PSH	     BIT(3)
#define TCP_CWR	     BIT(7)
