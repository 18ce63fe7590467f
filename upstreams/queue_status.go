package upstreams

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// queueCounts counts the requests of a model that were queued or refused.
type queueCounts struct {
	queued   atomic.Int64 // had to wait
	full     atomic.Int64 // refused: the queue was full
	timedOut atomic.Int64 // refused after queue_timeout
	left     atomic.Int64 // their client disconnected
}

// QueueStatus describes the requests that wait in the gateway for a server of a
// model.
type QueueStatus struct {
	Model string `json:"model"`
	// Class is "live", or "flex" for requests with that service tier.
	Class   string `json:"class"`
	Waiting int    `json:"waiting"`
	// Oldest is the waiting time of the oldest of them, in seconds.
	Oldest float64 `json:"oldest_seconds"`
}

// queueNames are the names of the classes of waiting requests.
var queueNames = [2]string{Live: Live.String(), Batch: "flex"}

// Queues returns the models with waiting requests, live ones first, sorted by name.
func (p *Pool) Queues() []QueueStatus {
	q := &p.queue
	if q.empty() {
		return nil
	}
	var all []QueueStatus
	now := time.Now()
	q.mu.Lock()
	for class := range q.queues {
		for _, l := range q.queues[class] {
			all = append(all, QueueStatus{Model: l.model, Class: queueNames[class], Waiting: l.length, Oldest: now.Sub(l.oldest(now)).Seconds()})
		}
	}
	q.mu.Unlock()
	slices.SortFunc(all, func(a, b QueueStatus) int {
		return cmp.Or(-cmp.Compare(a.Class, b.Class), cmp.Compare(a.Model, b.Model))
	})
	return all
}

// oldest returns the arrival time of the request that waits longest, now for none.
// queue.mu is held.
func (l *modelQueue) oldest(now time.Time) time.Time {
	oldest := now
	look := func(t *ticket) {
		if t.since.Before(oldest) {
			oldest = t.since
		}
	}
	for e := l.retried.Front(); e != nil; e = e.Next() {
		look(e.Value.(*ticket))
	}
	for e := l.ring.Front(); e != nil; e = e.Next() {
		look(e.Value.(*keyQueue).tickets.Front().Value.(*ticket))
	}
	return oldest
}

// Metrics of the queues, by Class.
var (
	descQueueLength = [2]*prometheus.Desc{
		Live:  prometheus.NewDesc("tidegate_live_queue_length", "Live requests that wait in the gateway because every server of the model is at its limit.", []string{"model"}, nil),
		Batch: prometheus.NewDesc("tidegate_flex_queue_length", "Requests of the service tier flex that wait in the gateway for capacity that live requests leave.", []string{"model"}, nil),
	}
	descQueueOldest = [2]*prometheus.Desc{
		Live:  prometheus.NewDesc("tidegate_live_queue_oldest_seconds", "How long the oldest waiting live request of the model has waited.", []string{"model"}, nil),
		Batch: prometheus.NewDesc("tidegate_flex_queue_oldest_seconds", "How long the oldest waiting flex request of the model has waited.", []string{"model"}, nil),
	}
	descQueueTotal = [2]*prometheus.Desc{
		Live:  prometheus.NewDesc("tidegate_live_queue_requests_total", "Live requests that found every server of the model at its limit: queued, refused because the queue was full (full) or queue_timeout had passed (timeout), given up by their client (left).", []string{"model", "outcome"}, nil),
		Batch: prometheus.NewDesc("tidegate_flex_queue_requests_total", "Flex requests that found no room: queued, refused because the queue was full (full) or queue_timeout had passed (timeout), given up by their client (left).", []string{"model", "outcome"}, nil),
	}
)

func describeQueues(ch chan<- *prometheus.Desc) {
	for class := range queueNames {
		ch <- descQueueLength[class]
		ch <- descQueueOldest[class]
		ch <- descQueueTotal[class]
	}
}

// queueSum sums the queues of the models that share one label.
type queueSum struct {
	waiting  int
	oldest   float64
	outcomes map[string]int64
}

// collectQueues collects the queues of all models that servers have. Zero counters
// are omitted.
func (p *Pool) collectQueues(ch chan<- prometheus.Metric) {
	waiting := make(map[[2]string]QueueStatus)
	for _, s := range p.Queues() {
		waiting[[2]string{s.Class, s.Model}] = s
	}
	models := p.now.Load().models
	label := p.metrics.labeller(len(models))
	for class, name := range queueNames {
		sums := make(map[string]*queueSum)
		for model, at := range models {
			sum := sums[label(model)]
			if sum == nil {
				sum = &queueSum{outcomes: make(map[string]int64)}
				sums[label(model)] = sum
			}
			s := waiting[[2]string{name, model}]
			sum.waiting += s.Waiting
			sum.oldest = max(sum.oldest, s.Oldest)
			counts := &at.record.queues[class]
			sum.outcomes["queued"] += counts.queued.Load()
			sum.outcomes["full"] += counts.full.Load()
			sum.outcomes["timeout"] += counts.timedOut.Load()
			sum.outcomes["left"] += counts.left.Load()
		}
		for of, sum := range sums {
			ch <- prometheus.MustNewConstMetric(descQueueLength[class], prometheus.GaugeValue, float64(sum.waiting), of)
			ch <- prometheus.MustNewConstMetric(descQueueOldest[class], prometheus.GaugeValue, sum.oldest, of)
			for outcome, n := range sum.outcomes {
				if n > 0 {
					ch <- prometheus.MustNewConstMetric(descQueueTotal[class], prometheus.CounterValue, float64(n), of, outcome)
				}
			}
		}
	}
}
