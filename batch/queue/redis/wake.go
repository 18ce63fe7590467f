package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// The pause before another subscription.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Notify publishes to all instances.
func (q *Queue) Notify(ctx context.Context) error {
	if q.client == nil {
		return errNotOpen
	}
	ctx, cancel := q.bounded(ctx)
	defer cancel()
	err := q.client.Do(ctx, q.client.B().Publish().Channel(q.cfg.channel()).Message("").Build()).Error()
	return q.failed("waking other instances", err)
}

// Wake delivers a value after one or more publications, and after each subscription, because
// publications before it are unknown.
func (q *Queue) Wake() <-chan struct{} { return q.wake }

func (q *Queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default: // a wake is pending already
	}
}

// listen subscribes, again and again, until ctx is done.
func (q *Queue) listen(ctx context.Context) {
	backoff, deaf, alone := minBackoff, false, 0
	for {
		var confirmed atomic.Bool
		outage := deaf
		hooked := rueidis.WithOnSubscriptionHook(ctx, func(s rueidis.PubSubSubscription) {
			if s.Kind == "subscribe" {
				if !confirmed.Swap(true) && outage {
					q.log.Info("the subscription to Redis is back")
				}
				q.ring()
			}
		})
		subscribe := q.client.B().Subscribe().Channel(q.cfg.channel()).Build()
		err := q.client.Receive(hooked, subscribe, func(rueidis.PubSubMessage) { q.ring() })
		if ctx.Err() != nil {
			return
		}
		if confirmed.Load() {
			backoff, deaf, alone = minBackoff, false, 0
		}
		if !deaf {
			// Once in an outage; batches continue more slowly.
			q.log.Warn("the subscription to Redis was interrupted", zap.Error(q.failed("listening", err)))
			deaf = true
		}
		if _, refused := errors.AsType[*rueidis.RedisError](err); !confirmed.Load() && !refused && q.Ping(ctx) == nil {
			// The server may just have recovered. But without RESP3 the library
			// has a separate connection for subscriptions, and opens a new one
			// only together with a new main connection.
			if alone++; alone > 1 {
				q.links.drop()
				alone = 0
			}
		}
		pause := time.NewTimer(backoff/2 + rand.N(backoff/2))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		backoff = min(2*backoff, maxBackoff)
	}
}
