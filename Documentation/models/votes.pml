/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Votes, quarantine and grants: Documentation/byzantine.rst and "Vote" in wire-format.rst. README.rst
 * beside this file says what is modelled and what the claims mean.
 *
 * `scripts/test model` reads the lines below, as state.pml explains.
 *
 * holds quorum: -DREQUESTS=1 -DEVIDENCE -DCALMS=1 -DREADMITS=1
 * holds majority: -DBYZANTINE=2 -DSIGNS=1 -DRAISED=75
 * holds restart: -DREQUESTS=1 -DSIGNS=1 -DEVIDENCE -DREADMITS=1 -DRESTARTS=1
 * holds cpus: -DCPUS=2 -DTASKS=2 -DN=2 -DREQUESTS=1 -DSIGNS=1
 * holds clocks: -DCLOCKS -DN=2 -DTASKS=0 -DSIGNS=1 -DREADMITS=1
 * holds held: -DCLOCKS -DFOREIGN=1 -DN=2 -DTASKS=0 -DSIGNS=1 -DOWN=2
 * holds pairs: -DN=2 -DREQUESTS=1 -DEVIDENCE -DREADMITS=2 -DNODES=3
 * holds journal: -DLIES -DCRASHES -DN=1 -DBYZANTINE=0 -DCPUS=0 -DTASKS=0 -DFOREIGN=1 -DSIGNS=3 -DRESTARTS=1
 * holds progress: -DPROGRESS -DW2=5 -DW3=5 -DREQUESTS=1 -DEVIDENCE
 * holds order: -DPROGRESS -DN=2 -DW2=10 -DSIGNS=3
 *
 * fails unbacked: -DNO_SIGNATURE -DREQUESTS=1
 * fails unbacked: -DCOUNT_TWICE -DREQUESTS=1
 * fails unbacked: -DNO_RECHECK -DCPUS=2 -DN=2 -DREQUESTS=1 -DSIGNS=1
 * fails unbacked: -DSHRINKS -DREQUESTS=1 -DEVIDENCE -DW1=2 -DW2=1
 * fails shrank: -DSHRINKS -DREQUESTS=1 -DEVIDENCE
 * fails unbacked: -DBARRED_COUNTS -DREQUESTS=1 -DEVIDENCE
 * fails unbacked: -DNO_BAR -DREQUESTS=1 -DEVIDENCE -DCALMS=1
 * fails unbacked: -DGRANT_STAYS -DREQUESTS=1 -DEVIDENCE
 * fails unbacked: -DSINKS -DREQUESTS=1 -DEVIDENCE -DCALMS=1
 * fails unbacked: -DFORGETS_QUARANTINE -DREQUESTS=1 -DSIGNS=1 -DEVIDENCE -DRESTARTS=1
 * fails used_twice: -DNOT_CONSUMED -DREQUESTS=1
 * fails used_twice: -DRACY_USE -DTASKS=2 -DREQUESTS=1
 * fails framed: -DUNSIGNED_NOISE -DREQUESTS=1
 * fails framed: -DEVIDENCE_UNVERIFIED -DREQUESTS=1 -DEVIDENCE
 * fails framed: -DNO_JOURNAL -DN=1 -DBYZANTINE=0 -DCPUS=0 -DTASKS=0
 * fails framed: -DSIGN_FIRST -DCRASHES -DN=1 -DBYZANTINE=0 -DCPUS=0 -DTASKS=0
 * fails framed: -DSECOND_VERDICT -DN=1 -DBYZANTINE=0 -DCPUS=0 -DTASKS=0
 * fails framed: -DTRUST_NODE -DN=1 -DBYZANTINE=0 -DCPUS=0 -DTASKS=0
 * fails framed: -DOLDER_EPOCH -DLIES -DN=1 -DBYZANTINE=0 -DCPUS=0 -DTASKS=0 -DSIGNS=3
 * fails framed: -DJOURNALS=2 -DN=1 -DBYZANTINE=0 -DREQUESTS=1 -DCPUS=0 -DTASKS=0
 * fails expired: -DNO_PAIR -DN=2 -DREQUESTS=1 -DEVIDENCE -DREADMITS=1
 * fails expired: -DNO_OTHER_PAIR -DN=2 -DREQUESTS=1 -DEVIDENCE -DREADMITS=2 -DNODES=2
 * fails expired: -DEVICTS -DN=2 -DREQUESTS=1 -DEVIDENCE -DREADMITS=3 -DNODES=3
 * fails expired: -DANY_ENTRY -DN=2 -DREQUESTS=1 -DEVIDENCE -DREADMITS=1
 * fails missed: -DNO_JUDGE -DCLOCKS -DN=2 -DREQUESTS=1 -DTASKS=0 -DSIGNS=1
 * fails missed: -DONE_NEIGHBOUR -DCLOCKS -DN=2 -DTASKS=0 -DSIGNS=1 -DOWN=2
 * fails missed: -DNO_REQUEST_INDEX -DCLOCKS -DN=2 -DTASKS=0 -DSIGNS=1
 * fails missed: -DMEMORY_STAYS -DCLOCKS -DN=2 -DTASKS=0 -DSIGNS=1 -DOWN=2 -DREADMITS=1
 * fails contradicted: -DNO_CLOCK -DCLOCKS -DN=2 -DTASKS=0 -DSIGNS=1 -DOWN=2
 * fails progress: -DPROGRESS -DMARK_FIRST -DN=2 -DW2=10 -DREQUESTS=1
 * fails progress: -DPROGRESS -DNO_RESIGN -DN=2 -DW2=10 -DSIGNS=3
 * fails progress: -DPROGRESS -DN=2 -DW2=2 -DREQUESTS=1
 */

/* Bounds of a search. */
#ifndef N
#define N 3		/* validators */
#endif
#ifndef BYZANTINE
#define BYZANTINE 1	/* of them: the first ones */
#endif
#ifndef REQUESTS
#define REQUESTS 2	/* at most 4, those that the root made up included */
#endif
#ifndef SIGNS
#define SIGNS 2		/* votes that an honest validator signs */
#endif
#ifndef OWN
#define OWN 3		/* greatest own entry, at most 7 */
#endif
#ifndef FOREIGN
#define FOREIGN 0	/* greatest entry of another validator in a clock, at most 3 */
#endif
#ifndef MEMORY
#define MEMORY 2	/* votes that the node remembers of each validator */
#endif
#ifndef RESTARTS
#define RESTARTS 0
#endif
#ifndef READMITS
#define READMITS 0
#endif
#ifndef NODES
#define NODES 1		/* whose evidence there is: this one is 0 */
#endif
#ifndef PAIRS
#define PAIRS 2		/* of node and entry that are kept for each validator */
#endif
#ifndef CALMS
#define CALMS 0		/* how often an alert ends */
#endif
#ifndef CPUS
#define CPUS 1		/* that take in votes at a time */
#endif
#ifndef TASKS
#define TASKS 1		/* that use a grant */
#endif
#ifndef JOURNALS
#define JOURNALS 1	/* of one key */
#endif

/* Weights, and the thresholds in percent: the rule's, and while an alert holds. */
#ifndef W1
#define W1 1
#endif
#ifndef W2
#define W2 2
#endif
#ifndef W3
#define W3 1
#endif
#ifndef RAISED
#define RAISED 90
#endif
#define BASE 75
#define BIT(s) (1 << (s))
#if N == 1
#define ENROLLED W1
#elif N == 2
#define ENROLLED (W1 + W2)
#else
#define ENROLLED (W1 + W2 + W3)
#endif
#define WEIGHT(s) ((s) == 1 -> W1 : ((s) == 2 -> W2 : W3))
#define SUM(set) ((((set) >> 1) & 1) * W1 + (((set) >> 2) & 1) * W2 + (((set) >> 3) & 1) * W3)
#define IS_BYZANTINE(s) ((s) <= BYZANTINE)

/*
 * A vote is a number: request, verdict, and of its clock the entry of the node, the validator's own
 * and that of one other validator. Node, slot and epoch are those of the request.
 */
#define VOTE(r, verdict, seen, own, foreign) ((r) | ((verdict) << 2) | ((seen) << 4) | ((own) << 8) | ((foreign) << 11))
#define REQUEST(v) ((v) & 3)
#define VERDICT(v) (((v) >> 2) & 3)
#define SEEN(v) (((v) >> 4) & 15)
#define OWN_OF(v) (((v) >> 8) & 7)
#define FOREIGN_OF(v) (((v) >> 11) & 3)
#define APPROVE 1
#define DENY 2
#define OTHER(s) ((s) == 1 -> (N > 1 -> 2 : 0) : 1)
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* "Provable faults". */
#define REGRESSES(a, b) (OWN_OF(a) < OWN_OF(b) && OWN_OF(a) >= 1 && \
	(SEEN(a) > SEEN(b) || FOREIGN_OF(a) > FOREIGN_OF(b)))
#define CONTRADICT(a, b) ((a) != 0 && (b) != 0 && epoch_of[REQUEST(a)] == epoch_of[REQUEST(b)] && ( \
	(REQUEST(a) == REQUEST(b) && VERDICT(a) != VERDICT(b)) || \
	(OWN_OF(a) == OWN_OF(b) && OWN_OF(a) >= 1 && (a) != (b)) || \
	REGRESSES(a, b) || REGRESSES(b, a)))

/* Requests. */
#define NONE 0
#define FAKE 1		/* the root made it up: the node does not know it */
#define OPEN 2
#define GRANTED 3
#define ENDED 4		/* the grant is used up or over */
#define DENIED 5	/* or expired, or cancelled */
byte made;
byte status[REQUESTS];
byte epoch_of[REQUESTS];
byte created[REQUESTS];
byte threshold[REQUESTS];
byte approving[REQUESTS], denying[REQUESTS];	/* weights */
byte yes[REQUESTS], no[REQUESTS];		/* whose */
byte uses[REQUESTS];

/* The node. */
byte epoch = 1;
byte clock;			/* its own entry: ticks where an order matters */
byte total = ENROLLED;
short last[N + 1];		/* last accepted vote of each validator: the clocks */
short memory[(N + 1) * MEMORY];	/* in order of acceptance */
short held[N + 1];		/* waits for its causes */
byte quarantined;
byte q_node[N + 1], q_entry[N + 1];	/* of the evidence */
byte pair[(N + 1) * NODES];	/* entry of the pair of each node, 0: none */
bool alert;
byte calmed;			/* entry at which the last alert ended */
byte restarts, readmits, calms;

/* Honest validators: what they have signed, and their journals. */
/* `machine` is that of the process: which journal of the key's. */
#define J(s) ((s) * JOURNALS + machine)
#define JV(s, r) (J(s) * REQUESTS + (r))
short issued[(N + 1) * SIGNS];
byte signs[N + 1];
byte j_epoch[(N + 1) * JOURNALS], j_own[(N + 1) * JOURNALS], j_seen[(N + 1) * JOURNALS], j_foreign[(N + 1) * JOURNALS];
byte j_verdict[(N + 1) * JOURNALS * REQUESTS];

/* Ghosts, which only the claims read. */
byte g_yes[REQUESTS];		/* whose signed approval exists */
byte g_quarantined;
byte g_raised;			/* requests in whose life an alert held */
byte g_used;			/* requests whose grant was used */
byte g_settled[(N + 1) * NODES];	/* evidence up to this entry was there at a readmission */

/* The claims. Each is false for ever. */
bool unbacked, used_twice, framed, shrank, expired, missed, contradicted;

#define CLAIM(condition, broken) \
	if \
	:: !(condition) -> broken = true; assert(!broken) \
	:: else \
	fi
/* The approval that a request needs, reckoned from what was signed and nothing that the node keeps. */
#define BACKED(r) (SUM(g_yes[r] & ~g_quarantined) * 100 >= ENROLLED * ((g_raised & BIT(r)) != 0 -> RAISED : BASE))
/* For a live grant: the threshold that it was given under. */
#define STILL_BACKED(r) (SUM(g_yes[r] & ~g_quarantined) * 100 >= ENROLLED * threshold[r])

#define EXPIRED(s, node, entry) (pair[(s) * NODES + (node)] != 0 && (entry) <= pair[(s) * NODES + (node)])

/* The state that the votes on a request amount to. */
inline settle(q)
{
	if
	:: approving[q] * 100 >= threshold[q] * total ->
		CLAIM(BACKED(q), unbacked);
		status[q] = GRANTED;
		uses[q] = 1
	:: else ->
		if
		:: (total - denying[q] - SUM(quarantined)) * 100 < threshold[q] * total -> status[q] = DENIED
		:: else
		fi
	fi
}

/* The threshold never falls within the life of a request. */
inline raise(q)
{
	if
#ifdef SINKS
	:: true -> threshold[q] = (alert -> RAISED : BASE)
#else
	:: alert || calmed > created[q] -> threshold[q] = RAISED
	:: else
#endif
	fi
}

/* Evidence of a node, whose greatest entry 0 is `entry`, is found good. */
inline quarantine(s, node, entry)
{
	CLAIM(IS_BYZANTINE(s), framed);
	CLAIM(entry > g_settled[(s) * NODES + node] || g_settled[(s) * NODES + node] == 0, expired);
	quarantined = quarantined | BIT(s);
	g_quarantined = g_quarantined | BIT(s);
	q_node[s] = node; q_entry[s] = entry;
	held[s] = 0;
#ifdef SHRINKS
	total = total - WEIGHT(s);
#endif
	CLAIM(total == ENROLLED, shrank);
	for (i : 0 .. REQUESTS - 1) {
		if
		:: status[i] == OPEN || status[i] == GRANTED ->
#ifndef BARRED_COUNTS
			if
			:: (yes[i] & BIT(s)) != 0 -> yes[i] = yes[i] & ~BIT(s); approving[i] = approving[i] - WEIGHT(s)
			:: (no[i] & BIT(s)) != 0 -> no[i] = no[i] & ~BIT(s); denying[i] = denying[i] - WEIGHT(s)
			:: else
			fi;
#endif
			if
			:: status[i] == OPEN -> settle(i); g_raised = g_raised | BIT(i)
#ifndef GRANT_STAYS
			:: status[i] == GRANTED && approving[i] * 100 < threshold[i] * total -> status[i] = ENDED
#endif
			:: else
			fi
		:: else
		fi
	}
	i = 0;
	alert = true
}

/* Requests and grants are over: after a change of validators, a restart. */
inline cancel_all()
{
	for (i : 0 .. REQUESTS - 1) {
		if
		:: status[i] == OPEN -> status[i] = DENIED
		:: status[i] == GRANTED -> status[i] = ENDED
		:: else
		fi
	}
	i = 0
}
inline forget(s)
{
	for (i : 0 .. MEMORY - 1) {
		memory[(s) * MEMORY + i] = 0
	}
	i = 0
}

/* Neighbours by own entry, the vote on the same request, and the one that is held. */
inline find_contradicting(s, v)
{
	before = 0; after = 0; same = 0;
	for (i : 0 .. MEMORY - 1) {
		against = memory[(s) * MEMORY + i];
		if
		:: against != 0 && OWN_OF(against) <= OWN_OF(v) -> before = against
		:: against != 0 && OWN_OF(against) > OWN_OF(v) && after == 0 -> after = against
		:: else
		fi;
		if
		:: against != 0 && REQUEST(against) == REQUEST(v) && VERDICT(against) != VERDICT(v) -> same = against
		:: else
		fi
	}
	i = 0;
	if
	:: CONTRADICT(before, v) -> against = before
#ifndef ONE_NEIGHBOUR
	:: else ->
		if
		:: CONTRADICT(after, v) -> against = after
#endif
#ifndef NO_REQUEST_INDEX
		:: else ->
			if
			:: same != 0 -> against = same
#endif
			:: else -> against = (CONTRADICT(held[s], v) -> held[s] : 0)
#ifndef NO_REQUEST_INDEX
			fi
#endif
#ifndef ONE_NEIGHBOUR
		fi
#endif
	fi;
	before = 0; after = 0; same = 0
}

/* A refused or held vote is compared with what is remembered. */
inline judge(s, v, genuine)
{
	find_contradicting(s, v);
	entry = MAX(SEEN(against), SEEN(v));
#ifdef UNSIGNED_NOISE
	guilty = against != 0 && !EXPIRED(s, 0, entry);
#else
	guilty = against != 0 && genuine && !EXPIRED(s, 0, entry);
#endif
	against = 0
}

/* What the checks of "Vote" in wire-format.rst say. */
#define REFUSE 0	/* before anything is compared */
#define JUDGE 1
#define HOLD 2
#define ACCEPT 3
#define CLOCK_LATER(s, v) (OWN_OF(v) > OWN_OF(last[s]) && SEEN(v) >= SEEN(last[s]) && FOREIGN_OF(v) >= FOREIGN_OF(last[s]))
inline check(s, v)
{
	if
	:: epoch_of[REQUEST(v)] != epoch -> found = REFUSE
	:: else ->
		if
#ifndef NO_BAR
		:: (quarantined & BIT(s)) != 0 -> found = REFUSE
#endif
		:: else ->
			if
			:: status[REQUEST(v)] != OPEN -> found = JUDGE
			:: else ->
				if
#ifndef COUNT_TWICE
				:: ((yes[REQUEST(v)] | no[REQUEST(v)]) & BIT(s)) != 0 -> found = JUDGE
#endif
#ifndef NO_CLOCK
				:: !CLOCK_LATER(s, v) || SEEN(v) < created[REQUEST(v)] || SEEN(v) > clock -> found = JUDGE
#endif
				:: else -> found = (FOREIGN_OF(v) > OWN_OF(last[OTHER(s)]) -> HOLD : ACCEPT)
				fi
			fi
		fi
	fi
}

inline accept(s, v)
{
	for (i : 0 .. MEMORY - 1) {
		CLAIM(!CONTRADICT(memory[(s) * MEMORY + i], v), contradicted)
	}
	for (i : 1 .. MEMORY - 1) {
		/* Make room for the newest: the last place is free from here on, if it was not. */
		if
		:: memory[(s) * MEMORY + MEMORY - 1] != 0 -> memory[(s) * MEMORY + i - 1] = memory[(s) * MEMORY + i]
		:: else
		fi
	}
	i = 0;
	do
	:: i < MEMORY - 1 && memory[(s) * MEMORY + i] != 0 -> i++
	:: else -> break
	od;
	memory[(s) * MEMORY + i] = v;
	i = 0;
	last[s] = v;
	r = REQUEST(v);
	if
	:: VERDICT(v) == APPROVE -> yes[r] = yes[r] | BIT(s); approving[r] = approving[r] + WEIGHT(s)
	:: else -> no[r] = no[r] | BIT(s); denying[r] = denying[r] + WEIGHT(s)
	fi;
	raise(r);
	settle(r);
	r = 0
}

/* Under the lock, after the signature was verified outside it. */
inline apply(s, v, genuine)
{
	if
	:: genuine && VERDICT(v) == APPROVE -> g_yes[REQUEST(v)] = g_yes[REQUEST(v)] | BIT(s)
	:: else
	fi;
	/* Claim: what is remembered and contradicted leads to quarantine. */
	owed = false;
	for (i : 0 .. MEMORY - 1) {
		if
		:: genuine && epoch_of[REQUEST(v)] == epoch && CONTRADICT(memory[(s) * MEMORY + i], v) &&
		   !EXPIRED(s, 0, MAX(SEEN(memory[(s) * MEMORY + i]), SEEN(v))) -> owed = true
		:: else
		fi
	}
	i = 0;
	if
	/* One that is accepted is compared with the held one when that is let go. */
	:: genuine && found != ACCEPT && found != REFUSE && CONTRADICT(held[s], v) -> owed = true
	:: else
	fi;
	if
#ifdef MARK_FIRST
	/* The place is taken before the signature is looked at. */
	:: found == ACCEPT && !genuine -> no[REQUEST(v)] = no[REQUEST(v)] | BIT(s)
#endif
#ifdef NO_SIGNATURE
	:: found == ACCEPT -> accept(s, v)
#else
	:: found == ACCEPT && genuine -> accept(s, v)
#endif
#ifndef NO_JUDGE
	:: found == JUDGE || found == HOLD ->
		judge(s, v, genuine);
		if
		:: found == HOLD && genuine && !guilty && held[s] == 0 -> held[s] = v
		:: else
		fi
#endif
	:: else
	fi;
	CLAIM(!owed || guilty || (quarantined & BIT(s)) != 0, missed);
	owed = false; found = REFUSE
}
inline convict(s)
{
	if
	:: guilty -> quarantine(s, node, entry)
	:: else
	fi;
	s = 0; node = 0; entry = 0; vote = 0; genuine = false; guilty = false
}

#define PICK(variable, low, high) \
	variable = low; \
	do \
	:: variable < (high) -> variable++ \
	:: break \
	od

/* Anything that a Byzantine validator may sign, that an honest one has signed, that somebody forged. */
inline pick_vote()
{
	PICK(s, 1, N);
	if
	:: IS_BYZANTINE(s) -> genuine = true
	:: !IS_BYZANTINE(s) && signs[s] > 0 -> genuine = true
	:: !IS_BYZANTINE(s) -> genuine = false
	fi;
	if
	:: genuine && !IS_BYZANTINE(s) ->
		PICK(i, 0, signs[s] - 1);
		vote = issued[s * SIGNS + i]
#if FOREIGN > 0
	/* A held vote is let go: its causes are there, or its request is over. */
	:: held[s] != 0 && (status[REQUEST(held[s])] != OPEN || FOREIGN_OF(held[s]) <= OWN_OF(last[OTHER(s)])) ->
		genuine = true;
		vote = held[s];
		held[s] = 0
#endif
	:: !genuine || IS_BYZANTINE(s) ->
		PICK(r, 0, made - 1);
		PICK(verdict, APPROVE, DENY);
#ifdef CLOCKS
		PICK(own, 1, OWN);
		PICK(seen, 1, clock + 1);
		PICK(foreign, 0, FOREIGN);
#else
		/* The clock that the next vote needs, or the last one's. */
		own = OWN_OF(last[s]);
		if
		:: own < OWN -> own++
		:: own > 0
		fi;
		seen = clock;
		foreign = FOREIGN_OF(last[s]);
#endif
		vote = VOTE(r, verdict, seen, own, foreign)
	fi;
	r = 0; verdict = 0; own = 0; seen = 0; foreign = 0; i = 0
}

#if CPUS > 0
/* The network and the helper: order, repetition and choice are theirs. */
active [CPUS] proctype Helper()
{
	byte s, r, i, verdict, own, seen, foreign, found, entry, node;
	short vote, against, before, after, same;
	bool genuine, owed, guilty;
end:
	do
	:: atomic {
		if
		:: made > 0 ->
			pick_vote();
			check(s, vote)
#ifdef EVIDENCE
		/* Two votes of a Byzantine validator that contradict each other, for this node or another. */
		:: BYZANTINE > 0 ->
			PICK(s, 1, BYZANTINE);
			PICK(node, 0, NODES - 1);
			PICK(entry, 1, clock + 2);
			guilty = (quarantined & BIT(s)) == 0 && !EXPIRED(s, node, entry)
#endif
#ifdef EVIDENCE_UNVERIFIED
		/* Two that name an honest one, which it never signed. */
		:: BYZANTINE < N -> PICK(s, BYZANTINE + 1, N); entry = clock; guilty = true
#endif
		fi;
#if CPUS > 1
		/* Here the signature is verified, outside the lock. */
		skip };
		atomic {
#ifndef NO_RECHECK
		check(s, vote);
#endif
#endif
		if
		:: vote != 0 -> apply(s, vote, genuine)
		:: else
		fi;
		convict(s) }
	od
}
#endif

#if TASKS > 0
/* An agent uses what was granted. */
active [TASKS] proctype Agent()
{
	byte r;
	bool may;
end:
	do
	:: atomic { made > 0 ->
		PICK(r, 0, made - 1);
		may = status[r] == GRANTED && uses[r] > 0;
#ifdef RACY_USE
		skip };
		atomic {
#endif
		if
		:: may ->
			CLAIM(STILL_BACKED(r), unbacked);
			CLAIM((g_used & BIT(r)) == 0, used_twice);
			g_used = g_used | BIT(r);
#ifndef NOT_CONSUMED
			uses[r] = 0;
			status[r] = ENDED
#endif
		:: else
		fi;
		r = 0; may = false }
	od
}
#endif

/* An entry that the node cannot have had makes no pair that tells such evidence from later one. */
#ifdef ANY_ENTRY
#define IN_REACH(s) true
#else
#define IN_REACH(s) (q_node[s] != 0 || q_entry[s] <= clock + 1)
#endif

/* What the node does by itself or because it was told to, and the root's lies. */
active proctype World()
{
	byte s, i, n, entry, e;
end:
	do
	/* An agent asks. */
	:: atomic { made < REQUESTS ->
		clock++;
		status[made] = OPEN; epoch_of[made] = epoch; created[made] = clock; threshold[made] = BASE;
		if
		:: alert -> g_raised = g_raised | BIT(made)
		:: else
		fi;
		raise(made);
		made++;
		settle(made - 1) }
#ifndef PROGRESS
	/* Silence is a denial. */
	:: atomic { made > 0 ->
		PICK(i, 0, made - 1);
		if
		:: status[i] == OPEN -> status[i] = DENIED
		:: else
		fi;
		i = 0 }
#endif
#ifdef LIES
	/* The root shows a request that the node never made. */
	:: atomic { made < REQUESTS ->
		PICK(e, 1, epoch + 1);
		PICK(entry, 1, clock + 1);
		status[made] = FAKE; epoch_of[made] = e; created[made] = entry;
		made++;
		e = 0; entry = 0 }
#endif
#if CALMS > 0
	:: atomic { alert && calms < CALMS -> calms++; clock++; calmed = clock; alert = false }
#endif
#if READMITS > 0
	/* A quorum, which is not modelled here, wants a validator back. What is remembered of it goes. */
	:: atomic { quarantined != 0 && readmits < READMITS ->
		PICK(s, 1, N);
		n = 0;
		for (i : 0 .. NODES - 1) {
			if
			:: i == 0 || i == q_node[s] || pair[s * NODES + i] != 0 -> n++
			:: else
			fi
		}
		i = 0;
		if
#ifdef EVICTS
		:: IN_REACH(s) && (quarantined & BIT(s)) != 0 ->
			i = 1;
			do
			:: n > PAIRS && i < NODES ->
				if
				:: i != q_node[s] && pair[s * NODES + i] != 0 -> pair[s * NODES + i] = 0; n--
				:: else
				fi;
				i++
			:: else -> break
			od;
			i = 0;
#else
		:: IN_REACH(s) && (quarantined & BIT(s)) != 0 && n <= PAIRS ->
#endif
			readmits++;
			clock++;
			quarantined = quarantined & ~BIT(s);
			g_quarantined = g_quarantined & ~BIT(s);
			g_settled[s * NODES] = clock;
			g_settled[s * NODES + q_node[s]] = MAX(g_settled[s * NODES + q_node[s]], q_entry[s]);
#ifndef NO_PAIR
			pair[s * NODES] = clock;
#ifndef NO_OTHER_PAIR
			if
			:: q_node[s] != 0 -> pair[s * NODES + q_node[s]] = q_entry[s]
			:: else
			fi;
#endif
#endif
			q_node[s] = 0; q_entry[s] = 0;
#ifndef MEMORY_STAYS
			forget(s);
#endif
			cancel_all()
		:: else
		fi;
		s = 0; n = 0 }
#endif
#if RESTARTS > 0
	/* The module is loaded again: clocks, quarantine and pairs are part of the sealed state. */
	:: atomic { restarts < RESTARTS ->
		restarts++;
		epoch++;
		clock++;
		cancel_all();
		for (s : 1 .. N) {
			forget(s);
			held[s] = 0
		}
		s = 0;
		alert = false;
		calmed = 0;
#ifdef FORGETS_QUARANTINE
		quarantined = 0
#endif
		}
#endif
	od
}

/* An honest validator decides what to sign, from what it is shown and its journal. */
inline prepare(s)
{
#ifdef PROGRESS
	verdict = APPROVE;
#else
	PICK(verdict, APPROVE, DENY);
#endif
#if JOURNALS > 1
	PICK(machine, 0, JOURNALS - 1);
#endif
	may = true;
	if
#ifndef OLDER_EPOCH
	:: epoch_of[r] < j_epoch[J(s)] -> may = false
	:: epoch_of[r] > j_epoch[J(s)] ->
#else
	:: epoch_of[r] != j_epoch[J(s)] ->
#endif
		/* A new epoch: the own entry stays. */
		j_epoch[J(s)] = epoch_of[r]; j_seen[J(s)] = 0; j_foreign[J(s)] = 0;
		for (i : 0 .. REQUESTS - 1) {
			j_verdict[JV(s, i)] = 0
		}
		i = 0
	:: else
	fi;
	if
#ifndef SECOND_VERDICT
	:: j_verdict[JV(s, r)] != 0 && j_verdict[JV(s, r)] != verdict -> may = false
#endif
	:: else
	fi;
#ifdef TRUST_NODE
	/* The clock that the node shows, instead of the journal's. */
	PICK(own, 1, OWN);
	seen = created[r];
	foreign = 0;
#else
	own = j_own[J(s)] + 1;
	seen = MAX(j_seen[J(s)], created[r]);
	foreign = j_foreign[J(s)];
#ifdef LIES
	PICK(seen, seen, clock + 1);
	PICK(foreign, foreign, FOREIGN);
#else
	seen = MAX(seen, SEEN(last[s]));
	foreign = MAX(foreign, FOREIGN_OF(last[s]));
#endif
#endif
	if
	:: own > OWN -> may = false
	:: else
	fi;
	vote = VOTE(r, verdict, seen, own, foreign)
}
inline write_journal(s)
{
	j_own[J(s)] = own; j_seen[J(s)] = seen; j_foreign[J(s)] = foreign; j_verdict[JV(s, r)] = verdict
}
inline sign(s)
{
	/* Claim, besides that of the node: whoever has all that was signed has no evidence. */
	for (i : 0 .. SIGNS - 1) {
		CLAIM(!CONTRADICT(issued[s * SIGNS + i], vote), framed)
	}
	i = 0;
	issued[s * SIGNS + signs[s]] = vote;
	signs[s]++
}
inline done()
{
	r = 0; verdict = 0; own = 0; seen = 0; foreign = 0; vote = 0; may = false; machine = 0
}

#ifdef PROGRESS
/* Asked, has not answered, or has with a vote that came too late. */
#ifdef NO_RESIGN
#define WANTED(s, q) (status[q] == OPEN && j_verdict[s * REQUESTS + q] == 0)
#else
#define WANTED(s, q) (status[q] == OPEN && ((yes[q] | no[q]) & BIT(s)) == 0 && \
	(j_verdict[s * REQUESTS + q] == 0 || j_own[s] <= OWN_OF(last[s])))
#endif
#endif

#if BYZANTINE < N
active [N - BYZANTINE] proctype Validator()
{
	byte me = _pid - CPUS - TASKS - 1 + BYZANTINE + 1;
	byte r, i, verdict, own, seen, foreign, machine;
	short vote;
	bool may;
end:
	do
#ifdef PROGRESS
	:: atomic { signs[me] < SIGNS && WANTED(me, 0) -> r = 0; prepare(me); write_journal(me); sign(me); done() }
#if REQUESTS > 1
	:: atomic { signs[me] < SIGNS && WANTED(me, 1) -> r = 1; prepare(me); write_journal(me); sign(me); done() }
#endif
#else
	:: atomic { made > 0 && signs[me] < SIGNS ->
		PICK(r, 0, made - 1);
		prepare(me);
		if
		:: may ->
#ifdef SIGN_FIRST
			sign(me);
#elif defined(NO_JOURNAL)
			skip;
#else
			write_journal(me);
#endif
		:: else -> done(); goto end
		fi;
#ifdef CRASHES
		skip };
		/* Here its machine may lose power. */
		if
		:: atomic { true -> done() }
		:: atomic { true ->
#endif
#ifdef SIGN_FIRST
			write_journal(me);
#else
			sign(me);
#endif
			done() }
#ifdef CRASHES
		fi
#endif
#endif
	od
}
#endif

#ifdef PROGRESS
/* The last vote that an honest validator signed would count. */
#define NEWEST(s) issued[(s) * SIGNS + signs[s] - (signs[s] > 0 -> 1 : 0)]
#define WAITS(s) (signs[s] > 0 && status[REQUEST(NEWEST(s))] == OPEN && OWN_OF(NEWEST(s)) > OWN_OF(last[s]))
inline deliver()
{
	vote = NEWEST(s);
	check(s, vote);
	apply(s, vote, true);
	convict(s)
}

/* Somebody hands in the honest validators' votes. */
active proctype Courier()
{
	byte s, r, i, found, entry, node;
	short vote, against, before, after, same;
	bool genuine, owed, guilty;
end:
	do
	:: atomic { WAITS(2) -> s = 2; deliver() }
#if N > 2
	:: atomic { WAITS(3) -> s = 3; deliver() }
#endif
	od
}

/* What is asked for is granted, while nobody cancels it and honest weight suffices. */
#define DECIDED(q) (status[q] == GRANTED || status[q] == ENDED)
ltl progress {
	[] ((status[0] == OPEN -> <> DECIDED(0)) && (status[REQUESTS - 1] == OPEN -> <> DECIDED(REQUESTS - 1)))
}
#endif
