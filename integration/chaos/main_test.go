// Package chaos injects faults into gateways and their servers at random times, while
// clients work, and checks the responses to clients for contradictions.
package chaos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

var (
	seed      = flag.Uint64("seed", 0, "seed of what happens when; 0: a new one each time")
	kills     = flag.Int("kills", 25, "how often a gateway is killed, on each backend")
	stops     = flag.Int("stops", 5, "how often a gateway is stopped for longer than two leases")
	restarts  = flag.Int("restarts", 6, "number of graceful restarts of a gateway, on each backend")
	redis     = flag.Int("redis", 7, "how many faults Redis has")
	postgres  = flag.Int("postgres", 8, "how many faults PostgreSQL has")
	histories = flag.Int("histories", 500, "how many batches are cancelled, deleted, expired and finished at once")
	expire    = flag.Bool("expire", true, "whether some of these batches expire, which takes a minute")
	only      = flag.String("only", "", "of the faults of Redis and PostgreSQL, those whose name matches")
	patience  = flag.Duration("patience", 5*time.Minute, "how long a client waits for a batch to end, and for any gateway to answer")
	duration  = flag.Duration("for", 0, "how long faults are made; 0: until there were as many as the other flags say")
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }

// rounds returns the numbers from 0 on: n of them, or as many as fit in -for.
func rounds(n int) func(yield func(int) bool) {
	start := time.Now()
	return func(yield func(int) bool) {
		for i := 0; *duration == 0 && i < n || *duration > 0 && time.Since(start) < *duration; i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// newRandom returns a random source and logs its seed.
func newRandom(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed: -seed=%d", s)
	return rand.New(rand.NewPCG(s, s))
}

// between is a time of a range.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// fault is a fault of a server. It has ended when do returns.
type fault struct {
	name string
	do   func(w *world) error
	// alone is set if it affects one gateway, whose lines others claim.
	alone bool
}

// series returns faults in random order, repeatedly. Those that affect one gateway are
// last: before them no call may be repeated.
func series(r *rand.Rand, faults []fault) func(i int) fault {
	some := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !regexp.MustCompile(*only).MatchString(f.name) })
	r.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	slices.SortStableFunc(some, func(f, g fault) int {
		switch {
		case f.alone == g.alone:
			return 0
		case g.alone:
			return -1
		default:
			return 1
		}
	})
	return func(i int) fault { return some[i%len(some)] }
}

// newChance derives a random source from another.
func newChance(r *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }

// TestSeedDecides checks that the seed determines the order, that all faults occur, and
// that those of one gateway are last.
func TestSeedDecides(t *testing.T) {
	names := func(seed uint64) (all []string) {
		next := series(rand.New(rand.NewPCG(seed, seed)), postgresFaults)
		for i := range postgresFaults {
			all = append(all, next(i).name)
		}
		return all
	}
	orders := make(map[string]bool)
	for seed := range uint64(20) {
		order := names(seed)
		if again := names(seed); !slices.Equal(order, again) {
			t.Errorf("seed %d: %q and %q", seed, order, again)
		}
		if different := slices.Compact(slices.Sorted(slices.Values(order))); len(different) != len(postgresFaults) {
			t.Errorf("seed %d has only %q", seed, different)
		}
		if last := order[len(order)-1]; last != "a black hole for one gateway" {
			t.Errorf("seed %d ends with %s", seed, last)
		}
		orders[fmt.Sprint(order)] = true
	}
	if len(orders) < 10 {
		t.Errorf("20 seeds: got %d orders", len(orders))
	}
}
