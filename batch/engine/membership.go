package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// enter makes this gateway known to those that share its store, and refuses to
// stand beside them with files that they do not see.
func (e *Engine) enter(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("finding out the host's name: %w", err)
	}
	e.self = batch.Peer{ID: e.owner, Host: host}
	membership := e.store.Capabilities().Membership
	if membership == nil {
		return nil
	}
	placed := e.files.Capabilities().Place
	if placed == nil {
		return errors.New("these files cannot be shared by several gateways, and the store can")
	}
	place, err := placed.Place(ctx)
	if err != nil {
		return fmt.Errorf("finding out where files lie: %w", err)
	}
	e.self.Place = place
	var others []batch.Peer
	// Twice, because gateways that announce themselves at the same moment do not
	// see each other: by the second time, one of them has been there before.
	for range 2 {
		if others, err = membership.Announce(ctx, e.announcement(), batch.AnnounceTTL); err != nil {
			return fmt.Errorf("announcing this gateway: %w", err)
		}
		if err := e.sameFiles(others); err != nil {
			return errors.Join(err, membership.Withdraw(ctx, e.owner))
		}
	}
	e.others.Store(&others)
	e.log.Info("gateway joined those on its store", zap.String("gateway_id", e.owner), zap.Int("pid", os.Getpid()), zap.Int("others", len(others)))
	if shared := e.dispatcher.Capabilities().Loads; shared != nil {
		shared.SetPeers(peersOf(others), sumLoads(others)) // before the first line is begun
	}
	return nil
}

// workingGateways returns the number of gateways that work on batches, with this one.
func (e *Engine) workingGateways() int {
	others := e.others.Load()
	if others == nil {
		return 1
	}
	return 1 + peersOf(*others).Working
}

// announcement is what this gateway tells the others of itself, without its loads.
func (e *Engine) announcement() batch.Peer {
	a := e.self
	a.Role = e.Role()
	return a
}

// sameFiles says which of the other gateways does not see the files of this one.
func (e *Engine) sameFiles(others []batch.Peer) error {
	for _, o := range others {
		if o.Place != e.self.Place {
			return fmt.Errorf("a gateway on %s uses the same store with other files (%s) than this one (%s): give all of them the same directory or bucket", o.Host, o.Place, e.self.Place)
		}
	}
	return nil
}

// runMembership announces to the other gateways what this one has in flight, and the
// pool what they have.
func (e *Engine) runMembership(ctx context.Context) {
	membership := e.store.Capabilities().Membership
	if membership == nil {
		for wait.Sleep(ctx, batch.AnnounceInterval) { // a reload may change the role
			e.noteWorkers(ctx)
		}
		return
	}
	shared := e.dispatcher.Capabilities().Loads
	heard, peers := time.Now(), batch.Peers{}
	var lines map[string]int64
	for wait.Sleep(ctx, batch.AnnounceInterval) {
		a := e.announcement()
		if shared != nil {
			a.Loads = shared.Loads()
		}
		if counted := e.linesByModel(ctx); counted != nil {
			lines = counted
		}
		a.Lines = lines
		bounded, cancel := context.WithTimeout(ctx, batch.AnnounceTTL)
		others, err := membership.Announce(bounded, a, batch.AnnounceTTL)
		cancel()
		e.health.noteHousekeeping("telling the other gateways", err)
		if err == nil {
			// One that was silent when the other came finds out now.
			e.health.Note("files", e.sameFiles(others))
			e.others.Store(&others)
			e.noteWorkers(ctx)
		}
		switch {
		case shared == nil:
		case err == nil:
			heard, peers = time.Now(), peersOf(others)
			shared.SetPeers(peers, sumLoads(others))
		case time.Since(heard) > batch.AnnounceTTL:
			// What they said is old. But they are no fewer because the store is
			// away, and take their share of the servers as this one does.
			shared.SetPeers(peers, nil)
		}
	}
}

func sumLoads(others []batch.Peer) map[string]batch.Load {
	sum := make(map[string]batch.Load)
	for _, o := range others {
		for url, l := range o.Loads {
			s := sum[url]
			sum[url] = batch.Load{
				Live: s.Live + l.Live, Batch: s.Batch + l.Batch,
				Prefill: s.Prefill + max(0, l.Prefill), LivePrefill: s.LivePrefill + max(0, l.LivePrefill),
			}
		}
	}
	return sum
}

// leave tells the other gateways that this one is gone.
func (e *Engine) leave() {
	membership := e.store.Capabilities().Membership
	if membership == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), batch.AnnounceTTL)
	defer cancel()
	if err := membership.Withdraw(ctx, e.owner); err != nil {
		e.log.Warn("telling the other gateways that this one leaves; they find out by themselves", zap.Error(err))
	}
}
