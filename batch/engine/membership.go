package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// member is this gateway among those that share its store.
type member struct {
	*parts
	self   batch.Peer
	began  time.Time
	others atomic.Pointer[[]batch.Peer] // as announced last
}

// enter registers this gateway with those that share its store. It fails if they use other
// files.
func (m *member) enter(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("finding out the host's name: %w", err)
	}
	m.self = batch.Peer{ID: m.owner, Host: host}
	membership := m.store.Capabilities().Membership
	if membership == nil {
		return nil
	}
	placed := m.files.Capabilities().Place
	if placed == nil {
		return errors.New("these files cannot be shared by several gateways, and the store can")
	}
	place, err := placed.Place(ctx)
	if err != nil {
		return fmt.Errorf("finding out where files lie: %w", err)
	}
	m.self.Place = place
	var others []batch.Peer
	// Twice, because gateways that announce themselves at the same moment do not
	// see each other: by the second time, one of them has been there before.
	for range 2 {
		if others, err = membership.Announce(ctx, m.announcement(), batch.AnnounceTTL); err != nil {
			return fmt.Errorf("announcing this gateway: %w", err)
		}
		if err := m.sameFiles(others); err != nil {
			return errors.Join(err, membership.Withdraw(ctx, m.owner))
		}
	}
	m.others.Store(&others)
	m.log.Info("gateway joined the others on its store", zap.String("gateway_id", m.owner), zap.Int("pid", os.Getpid()), zap.Int("others", len(others)))
	if shared := m.dispatcher.Capabilities().Loads; shared != nil {
		shared.SetPeers(peersOf(others), sumLoads(others)) // before the first line is begun
	}
	return nil
}

// workingGateways returns the number of gateways that work on batches, with this one.
func (m *member) workingGateways() int {
	others := m.others.Load()
	if others == nil {
		return 1
	}
	return 1 + peersOf(*others).Working
}

// announcement returns the announcement of this gateway without its loads.
func (m *member) announcement() batch.Peer {
	a := m.self
	a.Role = m.Role()
	return a
}

// sameFiles returns an error that names a gateway with other files.
func (m *member) sameFiles(others []batch.Peer) error {
	for _, o := range others {
		if o.Place != m.self.Place {
			return fmt.Errorf("a gateway on %s uses the same store with other files (%s) than this one (%s): give all of them the same directory or bucket", o.Host, o.Place, m.self.Place)
		}
	}
	return nil
}

// runMembership announces the load of this gateway to the others, and passes their load to
// the dispatcher.
func (m *member) runMembership(ctx context.Context) {
	membership := m.store.Capabilities().Membership
	if membership == nil {
		for wait.Sleep(ctx, batch.AnnounceInterval) { // a reload may change the role
			m.noteWorkers(ctx)
		}
		return
	}
	shared := m.dispatcher.Capabilities().Loads
	heard, peers := time.Now(), batch.Peers{}
	var lines map[string]int64
	for wait.Sleep(ctx, batch.AnnounceInterval) {
		a := m.announcement()
		if shared != nil {
			a.Loads = shared.Loads()
		}
		if counted := m.linesByModel(ctx); counted != nil {
			lines = counted
		}
		a.Lines = lines
		bounded, cancel := context.WithTimeout(ctx, batch.AnnounceTTL)
		others, err := membership.Announce(bounded, a, batch.AnnounceTTL)
		cancel()
		m.health.noteHousekeeping("announcing this gateway to the others", err)
		if err == nil {
			// A gateway that was silent when the other joined detects it now.
			m.health.Note("files", m.sameFiles(others))
			m.others.Store(&others)
			m.noteWorkers(ctx)
		}
		switch {
		case shared == nil:
		case err == nil:
			heard, peers = time.Now(), peersOf(others)
			shared.SetPeers(peers, sumLoads(others))
		case time.Since(heard) > batch.AnnounceTTL:
			// The announcements are old. The peers still count while the store is
			// unavailable, because they use their share of the servers as this one does.
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

// leave withdraws this gateway.
func (m *member) leave() {
	membership := m.store.Capabilities().Membership
	if membership == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), batch.AnnounceTTL)
	defer cancel()
	if err := membership.Withdraw(ctx, m.owner); err != nil {
		m.log.Warn("announcing the departure failed; other gateways detect it when the heartbeat expires", zap.Error(err))
	}
}
