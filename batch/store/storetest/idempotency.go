package storetest

import (
	"sync"

	"github.com/tidegate/tidegate/batch"
)

// keyed describes a batch with an idempotency key.
func (e *env) keyed(key, hash string) batch.NewBatch {
	n := e.newBatch()
	n.IdempotencyKey, n.RequestHash = key, hash
	return n
}

var idempotencyTests = []test{
	{"a repeated key gives the first batch as it is now", func(e *env) {
		first, created, err := e.s.CreateBatch(e.Context(), e.keyed("k", "hash"))
		e.ok(err)
		equal(e, "created", created, true)
		first = e.start(first, 3)
		second := e.keyed("k", "hash")
		got, created, err := e.s.CreateBatch(e.Context(), second)
		e.ok(err)
		equal(e, "created again", created, false)
		equal(e, "batch", got, first)
		_, err = e.s.Batch(e.Context(), tenant, second.ID)
		e.is(err, batch.ErrNotFound)
	}},
	{"a key of another request is refused", func(e *env) {
		_, _, err := e.s.CreateBatch(e.Context(), e.keyed("k", "hash"))
		e.ok(err)
		second := e.keyed("k", "other hash")
		_, created, err := e.s.CreateBatch(e.Context(), second)
		e.is(err, batch.ErrKeyReused)
		equal(e, "created", created, false)
		_, err = e.s.Batch(e.Context(), tenant, second.ID)
		e.is(err, batch.ErrNotFound)
	}},
	{"keys are a tenant's own", func(e *env) {
		_, _, err := e.s.CreateBatch(e.Context(), e.keyed("k", "hash"))
		e.ok(err)
		theirs := e.keyed("k", "other hash")
		theirs.Tenant = "rival"
		_, created, err := e.s.CreateBatch(e.Context(), theirs)
		e.ok(err)
		equal(e, "created", created, true)
	}},
	{"no key is no key", func(e *env) {
		for range 3 {
			_, created, err := e.s.CreateBatch(e.Context(), e.keyed("", ""))
			e.ok(err)
			equal(e, "created", created, true)
		}
	}},
	{"of concurrent creations with one key one is made", func(e *env) {
		const clients = 16
		var (
			wg      sync.WaitGroup
			ids     [clients]string
			created [clients]bool
			errs    [clients]error
			news    [clients]batch.NewBatch
		)
		for i := range news {
			news[i] = e.keyed("k", "hash")
		}
		for i := range clients {
			wg.Go(func() {
				var b batch.Batch
				b, created[i], errs[i] = e.s.CreateBatch(e.Context(), news[i])
				ids[i] = b.ID
			})
		}
		wg.Wait()
		made := 0
		for i := range clients {
			e.ok(errs[i])
			equal(e, "id", ids[i], ids[0])
			if created[i] {
				made++
			}
		}
		equal(e, "made", made, 1)
		page, _, err := e.s.Batches(e.Context(), tenant, batch.BatchQuery{Limit: 100})
		e.ok(err)
		equal(e, "batches", len(page), 1)
	}},
}
