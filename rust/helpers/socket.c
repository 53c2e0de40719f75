// SPDX-License-Identifier: GPL-2.0

#include <linux/net.h>
#include <linux/socket.h>
#include <net/af_unix.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/sock.h>

u16 tcp_helper_sk_family(const struct sock *sk)
{
	return READ_ONCE(sk->sk_family);
}

/* The local port in host order, or 0; only for AF_INET and AF_INET6. */
u16 tcp_helper_inet_num(const struct sock *sk)
{
	return READ_ONCE(inet_sk(sk)->inet_num);
}

/*
 * The bytes of `sun_path` that the socket is bound to, an abstract name
 * including its leading NUL. `addr` is set once, and lives as long as the socket.
 */
const char *tcp_helper_unix_name(const struct sock *sk, size_t *len)
{
	const struct unix_address *addr = smp_load_acquire(&unix_sk(sk)->addr);

	if (!addr || addr->len <= offsetof(struct sockaddr_un, sun_path))
		return NULL;
	*len = addr->len - offsetof(struct sockaddr_un, sun_path);
	return addr->name->sun_path;
}

u16 tcp_helper_sk_protocol(const struct sock *sk)
{
	return sk->sk_protocol;
}

/* Whether the socket is an internet one that is bound to an address. */
bool tcp_helper_inet_has_address(const struct sock *sk)
{
	if (sk->sk_family == AF_INET)
		return READ_ONCE(sk->sk_rcv_saddr) != 0;
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		return !ipv6_addr_any(&sk->sk_v6_rcv_saddr);
#endif
	return false;
}
