// SPDX-License-Identifier: GPL-2.0

#include <net/genetlink.h>

struct nlattr *tcp_helper_nla_nest_start(struct sk_buff *skb, int attrtype)
{
	return nla_nest_start(skb, attrtype);
}

/* Fails with -EMSGSIZE, and cancels the nest, if it is too long for its header. */
int tcp_helper_nla_nest_end(struct sk_buff *skb, struct nlattr *start)
{
	if (skb_tail_pointer(skb) - (unsigned char *)start > U16_MAX) {
		nla_nest_cancel(skb, start);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, start);
	return 0;
}

void tcp_helper_nla_nest_cancel(struct sk_buff *skb, struct nlattr *start)
{
	nla_nest_cancel(skb, start);
}

/* Consumes @skb. */
int tcp_helper_genlmsg_unicast_init_net(struct sk_buff *skb, u32 portid)
{
	return genlmsg_unicast(&init_net, skb, portid);
}
