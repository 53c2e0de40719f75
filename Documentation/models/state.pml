/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Save, crash and load of the sealed state: Documentation/sealed-state.rst. README.rst beside this
 * file says what is modelled and what the claims mean.
 *
 * `scripts/test model` reads the lines below. `holds NAME: OPTIONS` is a search that must be
 * exhaustive and find nothing; `fails CLAIM: OPTIONS` is one with a fault built in that must break
 * that claim (or `progress`, which is an acceptance cycle).
 *
 * holds crashes: -DCHANGES=4 -DCRASHES=2 -DKILLS=1 -DERRORS=1
 * holds more-crashes: -DCHANGES=3 -DCRASHES=4
 * holds rollback: -DADVERSARY -DCHANGES=3 -DCRASHES=3 -DKILLS=1
 * holds interloper: -DINTERLOPER=2 -DADVERSARY -DCHANGES=2 -DCRASHES=2 -DKILLS=1
 * holds two: -DTCPCTLS=2 -DCHANGES=2 -DCRASHES=2 -DKILLS=1
 * holds progress: -DPROGRESS -DTCPCTLS=2 -DCHANGES=2 -DCRASHES=1 -DKILLS=1 -DERRORS=1
 *
 * fails bricked: -DINCREMENT_FIRST
 * fails lost: -DACK_BEFORE_ANCHOR
 * fails rolled_back: -DACK_BEFORE_ANCHOR
 * fails bricked: -DANCHOR_BEFORE_FILE
 * fails bricked: -DNO_READBACK -DERRORS=1
 * fails bricked: -DNO_FSYNC
 * fails bricked: -DNO_DIRSYNC
 * fails bricked: -DNO_HALF
 * fails bricked: -DNO_TIDY -DKILLS=1
 * fails bricked: -DREWRITE -DKILLS=1
 * fails bricked: -DNO_FLOCK -DTCPCTLS=2 -DCHANGES=1 -DCRASHES=1
 * fails bricked: -DUNLOCKED_RESTORE -DTCPCTLS=2 -DCHANGES=1
 * fails bricked: -DFIRST_USE_ORDER
 * fails uncommitted: -DACCEPT_STAGED
 * fails rolled_back: -DCOUNTER_ONLY -DADVERSARY
 * fails rolled_back: -DNO_NODE -DADVERSARY
 * fails rolled_back: -DACCEPT_TORN -DADVERSARY
 * fails epoch_fell: -DNO_INCREMENT
 * fails epoch_fell: -DEPOCH_AT_RESTORE
 * fails unnoticed: -DNO_CONFLICT -DINTERLOPER=1
 * fails rolled_back: -DREDEFINE -DADVERSARY -DINTERLOPER=1
 * fails progress: -DNO_RETRY -DPROGRESS -DKILLS=1
 * fails progress: -DNO_RELEASE -DPROGRESS -DTCPCTLS=2 -DKILLS=1 -DCHANGES=1 -DCRASHES=0
 */

/* Bounds of a search. */
#ifndef CHANGES
#define CHANGES 2	/* critical changes, the seal is the first */
#endif
#ifndef CRASHES
#define CRASHES 2	/* power cuts */
#endif
#ifndef KILLS
#define KILLS 0		/* of tcpctl, or TPM commands that fail: the machine goes on */
#endif
#ifndef ERRORS
#define ERRORS 0	/* writes that go wrong: a full or a bad disk */
#endif
#ifndef TCPCTLS
#define TCPCTLS 1
#endif
#ifndef INTERLOPER
#define INTERLOPER 0	/* TPM commands of somebody else */
#endif

/*
 * A state that the kernel ever staged is a number from 1, in order; there is one for each change
 * and at most one restore for each crash. Its head occurs in no other, so the number also stands
 * for its head and its anchor. 0: no file, and the anchor that was never extended.
 */
#define SLOTS (CHANGES + CRASHES + 1)
#define TORN 30		/* content of a file: neither the old nor the new */
#define OTHER 31	/* content of a file: a state of another TPM, the numbers in it as one likes */
#define JUNK 32		/* the anchor: extended with something that makes no state's anchor */
#define REAL(s) (s >= 1 && s <= states)

byte states;			/* how many were staged */
byte s_counter[SLOTS];		/* fields of each: counter */
byte s_previous[SLOTS];		/* previous anchor */
byte s_changes[SLOTS];		/* ghost: the bit of each staged state that this one comes from, itself included */

/* The TPM: survives everything. */
bool counter_defined, anchor_defined;
byte counter;			/* 0: unwritten */
byte anchor;			/* 0: unwritten */

/* Storage. A name refers to an inode (0: none); of both there is the cached and the durable one. */
#define INODES 7
byte name_state, name_new, name_tmp;
byte kept_state, kept_new, kept_tmp;
byte cached[INODES];
byte durable[INODES];
#define USED(i) (i == name_state || i == name_new || i == name_tmp || i == kept_state || i == kept_new || i == kept_tmp)
#define STATE cached[name_state]
#define NEW cached[name_new]

/* The kernel's memory: gone with the power. */
mtype = { DOWN, SETUP, LOCKED, SEALED };
mtype phase = DOWN;
byte staged;			/* the staged state, 0: none */
byte effective;			/* the state whose changes are in force */
byte k_counter, k_anchor;	/* what the TPM had when the kernel last had to do with it */
byte k_mutex;			/* one commit at a time */
bool conflict;			/* a commit was refused: the TPM was moved */
bool denied;			/* no file was accepted */

/* User space. */
byte flock;			/* who holds the lock of the directory, 0: nobody */
bool dead[TCPCTLS];		/* has to start again */
byte changes, crashes, kills, errors, meddled;
bool quiet;			/* no crash and no kill will come any more */

/* Ghosts, which only the claims read. */
byte acknowledged;		/* the bit of each state whose commit was acknowledged */
byte begun;			/* the bit of each state that the anchor has ever had */
byte last_epoch;
bool moved;			/* the interloper was there since the kernel read the TPM */
bool moved_at_check;

/* The claims. Each is false for ever. */
bool rolled_back, bricked, lost, epoch_fell, uncommitted, unnoticed;

/* What a save does with the file that it finds in the place of the next state. */
#define KEEP 0
#define PROMOTE 1
#define DROP 2

#define BIT(s) (1 << (s))
#define LACKS(s) ((acknowledged & ~s_changes[s]) != 0)

/* What a load finds: the judgement of a state that is given back. */
#ifdef COUNTER_ONLY
#define IS_CURRENT(s) (REAL(s) && s_counter[s] == counter)
#else
#define IS_CURRENT(s) (REAL(s) && s_counter[s] == counter && s == anchor)
#endif
#ifdef NO_HALF
#define IS_HALF(s) false
#else
#ifdef ACCEPT_STAGED
#define IS_HALF(s) (REAL(s) && s_counter[s] == counter + 1 && (s == anchor || s_previous[s] == anchor))
#else
#define IS_HALF(s) (REAL(s) && s_counter[s] == counter + 1 && s == anchor)
#endif
#endif
#define IS_ACCEPTED(s) (IS_CURRENT(s) || IS_HALF(s))

/* The file in the place of the next state is the one that was committed last. */
#define NEW_IS_COMMITTED (REAL(NEW) && NEW == k_anchor && s_counter[NEW] == k_counter)

inline epoch_is(value)
{
	if
	:: value <= last_epoch -> epoch_fell = true; assert(!epoch_fell)
	:: else -> last_epoch = value
	fi
}

/* TPM2_NV_Extend: only the right head over the right value makes a state's anchor. */
inline extend(s)
{
	if
	:: anchor == s_previous[s] -> anchor = s; begun = begun | BIT(s)
	:: else -> anchor = JUNK
	fi
}

/* The directory as it is now may reach the disk at any time before it is flushed. */
inline flush_directory()
{
	kept_state = name_state; kept_new = name_new; kept_tmp = name_tmp
}
inline maybe_flush_directory()
{
	if
	:: true -> flush_directory()
	:: true
	fi;
	forget_unused()
}
/* An inode without a name is no more. */
inline forget_unused()
{
	for (i : 1 .. INODES - 1) {
		if
		:: !USED(i) ->
			cached[i] = 0; durable[i] = 0
		:: else
		fi
	}
	i = 0
}
inline find_unused()
{
	i = 1;
	do
	:: i < INODES && USED(i) -> i++
	:: else -> break
	od;
	assert(i < INODES)
}

/* A file of that content under a name of its own, flushed. */
inline write_tmp(s)
{
	atomic {
		find_unused();
		name_tmp = i;
		cached[name_tmp] = TORN; durable[name_tmp] = TORN;
		i = 0;
		maybe_flush_directory()
	};
	atomic {
		if
		:: name_tmp == 0
		:: name_tmp != 0 -> cached[name_tmp] = s
		:: name_tmp != 0 && errors < ERRORS -> errors++; cached[name_tmp] = TORN
		fi;
		if
		:: durable[name_tmp] = cached[name_tmp]
		:: true
		fi
	};
#ifndef NO_FSYNC
	durable[name_tmp] = cached[name_tmp]
#else
	skip
#endif
}
/* Atomic, as every journalling file system has it. */
inline rename(from, to)
{
	atomic {
		if
		:: from != 0 -> to = from; from = 0
		:: else
		fi;
		maybe_flush_directory()
	}
}
inline sync_directory()
{
#ifndef NO_DIRSYNC
	atomic { flush_directory(); forget_unused() }
#else
	skip
#endif
}

inline power_cut()
{
	crashes++;
	name_state = kept_state; name_new = kept_new; name_tmp = kept_tmp;
	for (i : 1 .. INODES - 1) {
		cached[i] = durable[i]
	}
	i = 0;
	forget_unused();
	phase = DOWN;
	staged = 0; effective = 0; k_counter = 0; k_anchor = 0; k_mutex = 0;
	conflict = false; denied = false;
	moved = false; moved_at_check = false;
	flock = 0;
	for (i : 0 .. TCPCTLS - 1) {
		dead[i] = true
	}
	i = 0;
	booting_again = true
}
bool booting_again;

inline unmoved()
{
	if
	:: anchor == 0 -> moved = false
	:: else
	fi
}

/* The module is loaded: the first table of "What a load finds". */
active proctype Load()
{
	byte i;
end:
	do
	:: atomic { phase == DOWN && !booting_again -> skip };
		{
			if
			:: atomic { anchor != 0 ->
				/* Claim: never bricked. */
#if !defined(ADVERSARY) && INTERLOPER == 0
				if
				:: !(IS_ACCEPTED(STATE) || IS_ACCEPTED(NEW)) -> bricked = true; assert(!bricked)
				:: else
				fi;
#endif
				phase = LOCKED }
#ifdef FIRST_USE_ORDER
			:: atomic { anchor == 0 && counter != 0 && !anchor_defined ->
				bricked = true; assert(!bricked) }
			:: atomic { anchor == 0 && (counter == 0 || anchor_defined) -> counter_defined = true };
				atomic { counter++; k_counter = counter; unmoved() };
				anchor_defined = true;
#else
			:: atomic { anchor == 0 && counter != 0 && !anchor_defined ->
				/* Locked, anchor_missing: somebody undefined it, or our own order was wrong. */
				bricked = true; assert(!bricked) }
			:: atomic { anchor == 0 && (counter == 0 || anchor_defined) -> counter_defined = true };
				anchor_defined = true;
				atomic {
#ifdef NO_INCREMENT
					if :: counter == 0 -> counter++ :: else fi;
#else
					counter++;
#endif
					k_counter = counter; unmoved() };
#endif
				atomic { k_anchor = 0; epoch_is(k_counter); phase = SETUP }
			fi
		} unless { booting_again }
	:: atomic { booting_again -> booting_again = false }
	od
}

inline stage(base)
{
	states++;
	s_counter[states] = k_counter + 1;
	s_previous[states] = k_anchor;
	s_changes[states] = s_changes[base] | BIT(states);
	staged = states
}

/* Step 7 of a commit. */
inline acknowledge()
{
	if
	:: LACKS(staged) -> lost = true; assert(!lost)
	:: else
	fi;
	if
#ifndef REDEFINE
	:: moved_at_check -> unnoticed = true; assert(!unnoticed)
#endif
	:: else
	fi;
	acknowledged = acknowledged | BIT(staged);
	if
	:: phase == LOCKED ->
#ifndef EPOCH_AT_RESTORE
		epoch_is(s_counter[staged])
#else
		skip
#endif
	:: else
	fi;
	effective = staged;
	k_counter = s_counter[staged]; k_anchor = staged;
	/* He may have done exactly what the kernel was about to do; that is no move. */
	if
	:: counter == k_counter && anchor == k_anchor -> moved = false
	:: else
	fi;
	phase = SEALED;
	staged = 0
}

/* What the kernel does with the digest of what was read back. */
inline commit(digest)
{
	atomic { k_mutex == 0 -> k_mutex = me + 1; state = staged };
	if
#ifdef NO_READBACK
	:: atomic { state == 0 -> k_mutex = 0 }
	:: else ->
#else
	:: atomic { state == 0 || digest != state -> k_mutex = 0 }
	:: else ->
#endif
		/* Step 4, or where an earlier attempt ended. */
		if
#ifdef NO_CONFLICT
		:: atomic { anchor != state -> moved_at_check = moved; next = 5 }
#else
		:: atomic { counter == k_counter && anchor == k_anchor -> moved_at_check = moved; next = 5 }
#endif
		:: atomic { counter == k_counter && anchor == state -> next = 6 }
		:: atomic { counter == k_counter + 1 && anchor == state -> next = 7 }
		:: atomic { else -> conflict = true; next = 8 }
		fi;
#ifdef ACK_BEFORE_ANCHOR
		atomic { next <= 6 -> acknowledge() };
		atomic { extend(state) };
		atomic { counter++; next = 8 };
#endif
#ifdef INCREMENT_FIRST
		if
		:: atomic { next == 5 -> counter++ }; atomic { extend(state); next = 7 }
		:: else
		fi;
#endif
		if
		:: atomic { next == 5 -> extend(state); next = 6 }
		:: else
		fi;
		if
		:: atomic { next == 6 -> counter++; next = 7 }
		:: else
		fi;
		if
		:: atomic { next == 7 -> acknowledge(); next = 8 }
		:: else
		fi;
		atomic { next = 0; state = 0; moved_at_check = false; k_mutex = 0 }
	fi;
	atomic { next = 0; state = 0 }
}

/* A state is written to the node `state`: the second table, then the successor is staged. */
inline restore(s)
{
	if
	:: atomic { phase == LOCKED && staged == 0 && IS_CURRENT(s) -> accepted = true }
	:: atomic { phase == LOCKED && staged == 0 && !IS_CURRENT(s) && IS_HALF(s) -> counter++; accepted = true }
#ifdef NO_NODE
	:: atomic { phase == LOCKED && staged == 0 && s == OTHER -> accepted = true }
#endif
#ifdef ACCEPT_TORN
	:: atomic { phase == LOCKED && staged == 0 && s == TORN -> accepted = true }
#endif
	:: atomic { else -> accepted = false }
	fi;
	if
	:: atomic { accepted && phase == LOCKED && staged == 0 ->
		if
		:: !REAL(s) || LACKS(s) -> rolled_back = true; assert(!rolled_back)
		:: else
		fi;
		if
		:: (begun & BIT(s)) == 0 -> uncommitted = true; assert(!uncommitted)
		:: else
		fi;
		k_counter = counter; k_anchor = s; moved = false;
#ifdef EPOCH_AT_RESTORE
		epoch_is(k_counter);
#endif
		stage(s) }
	:: else
	fi
}

/* What user space does about the staged state. The caller holds the lock. */
inline save()
{
	/* What is in the place of the next state? */
	atomic {
		content = staged;
		if
#ifndef REWRITE
		/* The staged one, by an attempt that ended later; it may be half committed. */
		:: content != 0 && NEW == content -> act = KEEP
#endif
#ifndef NO_TIDY
		/* The current one: a commit ended before its rename. It is the only copy. */
		:: NEW_IS_COMMITTED -> act = PROMOTE
#endif
		:: else -> act = DROP
		fi
	};
	if
	:: atomic { act == PROMOTE -> act = DROP }; rename(name_new, name_state); sync_directory()
	:: atomic { act == DROP && name_new != 0 -> name_new = 0; maybe_flush_directory() }; sync_directory()
	:: atomic { else -> skip }
	fi;
	if
	:: atomic { content == 0 -> skip }
	:: else ->
#ifdef ANCHOR_BEFORE_FILE
		commit(content);
#endif
		if
		:: atomic { act == KEEP -> skip }
		:: else -> write_tmp(content); rename(name_tmp, name_new)
		fi;
		sync_directory();
		content = NEW;
		commit(content);
		if
		:: atomic { NEW_IS_COMMITTED -> skip }; rename(name_new, name_state); sync_directory()
		:: else
		fi
	fi;
	atomic { content = 0; act = KEEP }
}

/* The accepted state gets the place of the state, wherever it came from. */
inline install()
{
	if
	:: atomic { STATE == content -> skip }
	:: else -> write_tmp(content); rename(name_tmp, name_state); sync_directory()
	fi
}

#ifdef NO_FLOCK
#define LOCK skip
#define UNLOCK skip
#else
#define LOCK atomic { flock == 0 -> flock = me + 1 }
#define UNLOCK flock = 0
#endif
#ifdef NO_RETRY
#define MAY_RETRY (kills == 0)
#else
#define MAY_RETRY true
#endif

/* tcpctl, which somebody runs again and again. */
active [TCPCTLS] proctype Tcpctl()
{
	byte me = _pid - 1;
	byte i, content, state, next, act;
	bool accepted;

end_again:
	{
end:
		do
		/* A governance command: the kernel stages the change. */
		:: atomic { (phase == SETUP || phase == SEALED) && staged == 0 && changes < CHANGES && !conflict ->
			changes++; stage(effective) }
		:: atomic { staged != 0 && !conflict && MAY_RETRY -> skip };
			LOCK;
			save();
			UNLOCK
#ifndef PROGRESS
		/* tcpctl state discard */
		:: atomic { (phase == SETUP || phase == SEALED) && staged != 0 && k_mutex == 0 && counter == k_counter && anchor == k_anchor ->
			staged = 0 }
#endif
		/* tcpctl state restore */
		:: atomic { phase == LOCKED && staged == 0 && !denied -> skip };
#ifndef UNLOCKED_RESTORE
			LOCK;
#endif
			if
			:: atomic { phase == LOCKED && staged == 0 ->
#ifdef ADVERSARY
				/* The file is whatever he put there. */
				content = 0;
				do
				:: content < states -> content++
				:: content = TORN; break
				:: content = OTHER; break
				:: break
				od };
#else
				content = NEW };
#endif
				restore(content);
				if
				:: atomic { !accepted -> content = STATE };
					restore(content)
				:: else
				fi;
				if
				:: atomic { accepted -> accepted = false };
					install();
#ifdef UNLOCKED_RESTORE
					LOCK;
#endif
					save();
					UNLOCK
				:: atomic { else ->
					if
					:: phase == LOCKED && staged == 0 -> denied = true
					:: else
					fi;
					content = 0 };
#ifndef UNLOCKED_RESTORE
					UNLOCK
#endif
				fi
			:: else ->
#ifndef UNLOCKED_RESTORE
				UNLOCK
#else
				skip
#endif
			fi
		od
	} unless {
		atomic { dead[me] ->
			dead[me] = false; i = 0; content = 0; state = 0; next = 0; act = KEEP; accepted = false; goto end_again }
	}
}

/* Cuts the power, and kills single processes, at any step. */
active proctype Power()
{
	byte i, victim;
	do
	:: atomic { crashes < CRASHES -> power_cut() }
	:: atomic { kills < KILLS ->
		kills++;
		if
		:: victim = 0
#if TCPCTLS > 1
		:: victim = 1
#endif
		fi;
		dead[victim] = true;
#ifndef NO_RELEASE
		if
		:: flock == victim + 1 -> flock = 0
		:: else
		fi;
#endif
		if
		:: k_mutex == victim + 1 -> k_mutex = 0
		:: else
		fi;
		victim = 0 }
	:: quiet = true; break
	od
}

#if INTERLOPER > 0
/* Somebody else with the owner's (empty) authorization. */
active proctype Interloper()
{
	byte i;
end:
	do
	:: atomic { meddled < INTERLOPER && counter != 0 -> meddled++; counter++; moved = true }
	:: atomic { meddled < INTERLOPER && anchor_defined ->
		meddled++;
		if
		:: anchor = JUNK
		:: states > 0 ->
			/* The head of any state is in its file. */
			i = 1;
			do
			:: i < states -> i++
			:: break
			od;
			extend(i)
		fi;
		i = 0;
		moved = true }
#ifdef REDEFINE
	/* Undefines the anchor, defines it anew and extends it up to any state. */
	:: atomic { meddled < INTERLOPER && anchor_defined ->
		meddled++;
		anchor = 0;
		do
		:: anchor < states -> anchor++
		:: break
		od;
		moved = true }
#endif
	od
}
#endif

#ifdef PROGRESS
/* Without more crashes what is staged gets acknowledged, and what is locked gets restored. */
ltl progress {
	[] (((staged != 0 && quiet) -> <> (staged == 0 && phase == SEALED)) &&
	    ((phase == LOCKED && quiet) -> <> (phase == SEALED)))
}
#endif
