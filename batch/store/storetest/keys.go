package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
)

// newKey describes a key that never expires.
func (e *env) newKey() access.Key {
	id := e.id("key_")
	return access.Key{ID: id, Name: "Team ü", Tenant: tenant, Hash: access.Sum(id), Scopes: []access.Scope{access.Live, access.Batch}}
}

// key makes a key; change may be nil.
func (e *env) key(change func(*access.Key)) access.Key {
	e.Helper()
	n := e.newKey()
	if change != nil {
		change(&n)
	}
	k, err := e.s.CreateKey(e.Context(), n, nil)
	e.ok(err)
	return k
}

// keys returns all keys.
func (e *env) keys() []access.Key {
	e.Helper()
	keys, version, err := e.s.Keys(e.Context())
	e.ok(err)
	equal(e, "version", version, e.keysVersion())
	return keys
}

func (e *env) keysVersion() int64 {
	e.Helper()
	version, err := e.s.KeysVersion(e.Context())
	e.ok(err)
	return version
}

// changes checks that do changes the version of the keys.
func (e *env) changes(what string, do func()) {
	e.Helper()
	before := e.keysVersion()
	do()
	if after := e.keysVersion(); after == before {
		e.Fatalf("%s: the version of the keys is still %d", what, after)
	}
}

var keyTests = []test{
	{"a key is stored with all fields, also after a restart", func(e *env) {
		equal(e, "none", e.keys(), nil)
		began := e.now()
		first, second := e.newKey(), e.newKey()
		first.Models, first.ExpiresAt, first.CreatedBy = []string{"m", "ü/\"\u202e"}, began.Add(time.Hour), "key_0"
		first.Limits = access.Limits{RequestsPerMinute: 1, TokensPerMinute: access.MaxLimit, RequestsInFlight: 3, LinesQueued: 4, TokensQueued: 5, BatchesPerHour: 6}
		var made []access.Key
		for _, n := range []access.Key{second, first} {
			e.changes("creation", func() {
				k, err := e.s.CreateKey(e.Context(), n, nil)
				e.ok(err)
				e.during("created at", k.CreatedAt, began, e.now())
				n.CreatedAt = k.CreatedAt
				equal(e, "made", k, n)
				made = append([]access.Key{k}, made...)
			})
		}
		e.reopen()
		equal(e, "keys, the newest first", e.keys(), made)
		for _, want := range made {
			got, err := e.s.Key(e.Context(), want.ID)
			e.ok(err)
			equal(e, "key", got, want)
		}
	}},
	{"a key with a known id or hash is a conflict", func(e *env) {
		k := e.key(nil)
		for _, change := range []func(*access.Key){
			func(n *access.Key) { n.ID = k.ID },
			func(n *access.Key) { n.Hash = k.Hash },
		} {
			n := e.newKey()
			change(&n)
			_, err := e.s.CreateKey(e.Context(), n, nil)
			e.is(err, batch.ErrConflict)
		}
		equal(e, "keys", e.keys(), []access.Key{k})
	}},
	{"a key is revoked once", func(e *env) {
		k, other := e.key(nil), e.key(nil)
		began := e.now()
		e.changes("revocation", func() {
			got, err := e.s.RevokeKey(e.Context(), k.ID, nil)
			e.ok(err)
			e.during("revoked at", got.RevokedAt, began, e.now())
			k.RevokedAt = got.RevokedAt
			equal(e, "revoked", got, k)
		})
		e.db.Advance(time.Minute)
		again, err := e.s.RevokeKey(e.Context(), k.ID, nil)
		e.ok(err)
		equal(e, "revoked again", again, k)
		equal(e, "keys", e.keys(), []access.Key{other, k})
	}},
	{"a rotated key keeps its previous hash for a time", func(e *env) {
		k := e.key(nil)
		began := e.now()
		for i, overlap := range []time.Duration{time.Hour, 0} {
			hash := access.Sum(fmt.Sprint("rotated", i))
			e.changes("rotation", func() {
				got, err := e.s.RotateKey(e.Context(), k.ID, hash, overlap)
				e.ok(err)
				e.during("previous until", got.PreviousUntil, began.Add(overlap), e.now().Add(overlap))
				k.PreviousHash, k.Hash, k.PreviousUntil = k.Hash, hash, got.PreviousUntil
				equal(e, "rotated", got, k)
			})
		}
		equal(e, "keys", e.keys(), []access.Key{k})
	}},
	{"a revoked or expired key is not rotated", func(e *env) {
		revoked := e.key(nil)
		_, err := e.s.RevokeKey(e.Context(), revoked.ID, nil)
		e.ok(err)
		expired := e.key(func(k *access.Key) { k.ExpiresAt = e.now().Add(time.Minute) })
		e.db.Advance(time.Minute)
		for _, k := range []access.Key{revoked, expired} {
			_, err := e.s.RotateKey(e.Context(), k.ID, access.Sum("other"), 0)
			e.is(err, batch.ErrConflict)
		}
	}},
	{"limits of a key are changed and removed, also after a restart", func(e *env) {
		k, other := e.key(func(k *access.Key) { k.Limits.RequestsPerMinute = 60 }), e.key(nil)
		_, err := e.s.RotateKey(e.Context(), k.ID, access.Sum("rotated"), time.Hour)
		e.ok(err)
		k, err = e.s.Key(e.Context(), k.ID)
		e.ok(err)
		for _, want := range []access.Limits{
			{RequestsPerMinute: 60, CostPerMonth: access.MaxCost},
			{TokensPerMinute: access.MaxLimit},
			{},
			{LinesQueued: 1},
		} {
			e.changes("limits", func() {
				got, err := e.s.ChangeKeyLimits(e.Context(), k.ID, func(before access.Limits) (access.Limits, error) {
					equal(e, "before", before, k.Limits)
					return want, nil
				})
				e.ok(err)
				k.Limits = want
				equal(e, "changed", got, k)
			})
			e.reopen()
			equal(e, "keys", e.keys(), []access.Key{other, k})
		}
		got, err := e.s.ChangeKeyLimits(e.Context(), k.ID, func(before access.Limits) (access.Limits, error) { return before, nil })
		e.ok(err)
		equal(e, "unchanged", got, k)
	}},
	{"concurrent changes of different limits all remain", func(e *env) {
		k := e.key(nil)
		fields := new(access.Limits).Fields()
		errs := make([]error, len(fields))
		var all sync.WaitGroup
		for i := range fields {
			all.Go(func() {
				_, errs[i] = e.s.ChangeKeyLimits(e.Context(), k.ID, func(l access.Limits) (access.Limits, error) {
					*l.Fields()[i].Value = int64(i + 1)
					return l, nil
				})
			})
		}
		all.Wait()
		got, err := e.s.Key(e.Context(), k.ID)
		e.ok(err)
		for i, f := range got.Limits.Fields() {
			e.ok(errs[i])
			equal(e, f.Name, *f.Value, int64(i+1))
		}
	}},
	{"limits of a revoked or expired key, and those that are refused, are not changed", func(e *env) {
		limits := access.Limits{RequestsPerMinute: 5}
		revoked := e.key(func(k *access.Key) { k.Limits = limits })
		revoked, err := e.s.RevokeKey(e.Context(), revoked.ID, nil)
		e.ok(err)
		expired := e.key(func(k *access.Key) { k.Limits, k.ExpiresAt = limits, e.now().Add(time.Minute) })
		e.db.Advance(time.Minute)
		valid := e.key(func(k *access.Key) { k.Limits = limits })
		for _, k := range []access.Key{revoked, expired} {
			_, err := e.s.ChangeKeyLimits(e.Context(), k.ID, func(access.Limits) (access.Limits, error) { return access.Limits{}, nil })
			e.is(err, batch.ErrConflict)
		}
		refused := errors.New("refused")
		_, err = e.s.ChangeKeyLimits(e.Context(), valid.ID, func(access.Limits) (access.Limits, error) { return access.Limits{}, refused })
		e.is(err, refused)
		equal(e, "keys", e.keys(), []access.Key{valid, expired, revoked})
	}},
	{"a refused change of keys is not made", func(e *env) {
		k := e.key(nil)
		before := e.keysVersion()
		refused := errors.New("refused")
		check := func(keys []access.Key) error {
			equal(e, "keys before the change", keys, []access.Key{k})
			return refused
		}
		_, err := e.s.CreateKey(e.Context(), e.newKey(), check)
		e.is(err, refused)
		_, err = e.s.RevokeKey(e.Context(), k.ID, check)
		e.is(err, refused)
		equal(e, "keys", e.keys(), []access.Key{k})
		equal(e, "version", e.keysVersion(), before)
		_, err = e.s.RevokeKey(e.Context(), k.ID, func([]access.Key) error { return nil })
		e.ok(err)
	}},
	{"an unknown key is not found", func(e *env) {
		e.key(nil)
		for _, id := range []string{"key_none", "", "' OR 1=1 --", "\x00"} {
			_, err := e.s.Key(e.Context(), id)
			e.is(err, batch.ErrNotFound)
			_, err = e.s.RevokeKey(e.Context(), id, nil)
			e.is(err, batch.ErrNotFound)
			_, err = e.s.RotateKey(e.Context(), id, access.Sum("other"), 0)
			e.is(err, batch.ErrNotFound)
			_, err = e.s.ChangeKeyLimits(e.Context(), id, func(l access.Limits) (access.Limits, error) { return l, nil })
			e.is(err, batch.ErrNotFound)
		}
	}},
	{"the number of keys is limited, and revoked ones make room", func(e *env) {
		first := e.key(nil)
		e.db.MoreKeys(e.T, batch.KeysKept-1)
		_, err := e.s.CreateKey(e.Context(), e.newKey(), nil)
		e.is(err, batch.ErrTooManyKeys)
		_, err = e.s.RevokeKey(e.Context(), first.ID, nil)
		e.ok(err)
		e.key(nil)
		_, err = e.s.Key(e.Context(), first.ID)
		e.is(err, batch.ErrNotFound)
		equal(e, "number of keys", len(e.keys()), batch.KeysKept)
	}},
	{"a batch has the key that made it and its models", func(e *env) {
		b := e.batch(func(n *batch.NewBatch) { n.KeyID, n.Models = "key_1", []string{"m", "n"} })
		equal(e, "key", b.KeyID, "key_1")
		equal(e, "models", b.Models, []string{"m", "n"})
		equal(e, "read", e.get(b), b)
		equal(e, "claimed", e.claimBatch(b.ID).Batch.Models, b.Models)
	}},
}
